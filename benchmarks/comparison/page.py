"""The results as a page and as a file: `docs/comparison.md` between its markers, and `results.json` beside this."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from benchmarks.comparison.cases import CASES, Service
from benchmarks.comparison.clients import CLIENTS, Client
from benchmarks.comparison.outcomes import Outcome
from benchmarks.comparison.runs import ComparisonError, Deadlines, Table

__all__ = ["PAGE", "RESULTS", "Results", "cell", "insert", "render", "tables"]

_ROOT = Path(__file__).parents[2]
PAGE = _ROOT / "docs" / "comparison.md"
RESULTS = Path(__file__).with_name("results.json")
_BEGIN = "<!-- What follows is written by `python -m benchmarks.comparison`. -->\n"
_END = "<!-- What comes before is written by `python -m benchmarks.comparison`. -->\n"
# What an answer that was begun for the second time is, by the service.
_SECOND: dict[Service, str] = {"Chat API": "turns", "OpenAI": "completions", "LangGraph": "runs"}


@dataclass(frozen=True)
class Results:
    """A run: when, with which versions and deadlines, and what it came to."""

    date: str
    seconds: int
    versions: dict[str, str]
    deadlines: Deadlines
    table: Table = field(repr=False)

    def save(self, path: Path = RESULTS) -> None:
        """Write it as JSON; what is as usual in an outcome is left out."""
        usual = asdict(Outcome("whole", 1, 1))
        table = {
            client: {
                case: {
                    name: value
                    for name, value in asdict(outcome).items()
                    if name in ("kind", "posts", "answers") or value != usual[name]
                }
                for case, outcome in column.items()
            }
            for client, column in self.table.items()
        }
        path.write_text(json.dumps({**asdict(self), "table": table}, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path = RESULTS) -> Results:
        """The results of a file that `save` wrote."""
        read: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        table = {
            client: {case: Outcome(**outcome) for case, outcome in column.items()}
            for client, column in read.pop("table").items()
        }
        return cls(deadlines=Deadlines(**read.pop("deadlines")), table=table, **read)


def cell(client: Client, outcome: Outcome, *, with_pace: bool = False) -> str:
    """What a reader got, in a few words; bold is what nothing told them of."""
    words: str = "taken" if outcome.kind == "swallowed" else outcome.kind
    if outcome.kind == "error":
        words = f"`{(outcome.error or '').removeprefix(f'{client.root}.')}`"
    elif outcome.is_wrong or outcome.kind == "hangs":
        words = f"**{words}**"
    parts = [words]
    if with_pace and outcome.kind == "whole":
        parts.append("live" if outcome.live else "at its end")
    if outcome.warned:
        parts.append("a warning")
    if outcome.posts > 1:
        parts.append(f"{outcome.posts} POSTs")
    if outcome.answers > 1:
        again = f"{outcome.answers} {_SECOND[client.service]}"
        # A completion leaves nothing behind; a session keeps both.
        parts.append(again if client.service == "OpenAI" else f"**{again}**")
    return ", ".join(parts)


def _markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _cases(table: Table, clients: Sequence[Client]) -> str:
    rows: list[list[str]] = []
    for group, cases in groupby(CASES, lambda case: case.group):
        shown = [case for case in cases if any(case.name in table[client.name] for client in clients)]
        if shown:
            rows.append([f"**{group}**", *[""] * len(clients)])
        for case in shown:
            cells = [
                cell(client, outcome, with_pace=case is CASES[0])
                if (outcome := table[client.name].get(case.name)) is not None
                else "-"
                for client in clients
            ]
            rows.append([case.name, *cells])
    return _markdown(["", *(client.name for client in clients)], rows)


def _totals(table: Table, clients: Sequence[Client]) -> str:
    rows: list[list[str]] = []
    for client in clients:
        outcomes = list(table[client.name].values())
        counts = (
            len(outcomes),
            sum(outcome.kind in ("whole", "corrected", "swallowed") for outcome in outcomes),
            sum(outcome.kind == "error" for outcome in outcomes),
            sum(outcome.kind == "hangs" for outcome in outcomes),
            sum(outcome.answers > 1 for outcome in outcomes),
        )
        wrong = [outcome for outcome in outcomes if outcome.is_wrong]
        warned = sum(outcome.warned for outcome in wrong)
        told = f"{len(wrong)} ({warned} with a warning)" if warned else f"{len(wrong)}"
        rows.append([client.name, client.how, *map(str, counts[:3]), told, *map(str, counts[3:])])
    head = ["Client", "How it is asked", "Cases", "Whole", "Error", "Wrong, no error", "Hangs", "Answered twice"]
    return _markdown(head, rows)


def tables(table: Table) -> str:
    """All tables, of the clients that are in it."""
    clients = [client for client in CLIENTS if client.name in table]
    parts = ["## In numbers\n", _totals(table, clients)]
    for title, services in (
        ("On the Chat API", ("Chat API",)),
        ("On services of their own", ("OpenAI", "LangGraph")),
    ):
        if shown := [client for client in clients if client.service in services]:
            parts += [f"## {title}\n", _cases(table, shown)]
    return "\n".join(parts)


def render(results: Results) -> str:
    """The part of the page that a run writes."""
    versions = ", ".join(f"{package} {version}" for package, version in results.versions.items())
    given = results.deadlines
    return (
        f"Run on {results.date}, in {results.seconds} s, with {versions}. Where only a deadline notices a fault, the "
        f"clients were given {given.silent:g} s, and otherwise {given.patient:g} s; one that had not ended after "
        f"{given.hangs:g} s ({given.hangs_patient:g} s) hangs. The agent pauses for {given.pause:g} s in the middle of "
        f"its answer.\n\n{tables(results.table)}"
    )


def insert(page: str, part: str) -> str:
    """The page with this part between its markers. Raises `ComparisonError` for one without them."""
    before, begin, rest = page.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not (begin and end):
        raise ComparisonError(f"the page has no place for the results: it needs the lines {_BEGIN!r} and {_END!r}")
    return f"{before}{begin}\n{part}\n{end}{after}"
