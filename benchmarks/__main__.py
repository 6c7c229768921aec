"""Measures what chat-sessions costs beside the floor and beside other projects' clients, and prints goals and figures.

The peers need the dependency group `bench`; what is not installed is left out, and the rows say so.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec

from benchmarks import (
    concurrency,
    fast,
    first_token,
    history,
    imports,
    local_server,
    long_turns,
    memory,
    opening,
    page,
    peers,
    picture,
    silence,
    tokens,
    tool_runs,
    wakeups,
)
from benchmarks.measure import Costs, measure
from benchmarks.replay import Replay
from benchmarks.row import Row, table
from benchmarks.subject import Bench

_GROUPS = (
    *tokens.GROUPS,
    "memory",
    "first_token",
    "wakeups",
    "silence",
    "concurrency",
    "opening",
    "tool_runs",
    "long",
    "history",
    "server",
    "imports",
    "fast",
)
# A figure so many times its limit is a gross regression, which no other work of the machine explains.
_GROSS = 3.0
_SHORT_EVENTS, _SHORT_REPEATS = 3_000, 3


@dataclass(frozen=True)
class _Run:
    """What is to be measured."""

    groups: frozenset[str]
    events: int
    repeats: int
    with_peers: bool
    extent: tokens.Extent


@dataclass(frozen=True)
class _Result:
    rows: list[Row]
    costs: Costs
    beside: Costs


def _groups(text: str) -> frozenset[str]:
    groups = frozenset(name.strip() for name in text.split(","))
    if unknown := sorted(groups - set(_GROUPS)):
        raise argparse.ArgumentTypeError(f"no rows {', '.join(unknown)}; there are {', '.join(_GROUPS)}")
    return groups


def _at_least_one(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 1 or more")
    return int(text)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for and print it; gives back the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument("--rows", type=_groups, help=f"only these, of {', '.join(_GROUPS)}")
    parser.add_argument("--events", type=_at_least_one, default=10_000, help="deltas in a turn (default 10,000)")
    parser.add_argument("--repeats", type=_at_least_one, default=5, help="runs of each subject (default 5)")
    parser.add_argument("--no-peers", action="store_true", help="leave out other projects' clients")
    kinds.add_argument("--short", action="store_true", help="only what a token costs, floor and ours; fails if gross")
    kinds.add_argument("--write", action="store_true", help="put the tables and the picture into docs/")
    asked = parser.parse_args(arguments)
    if asked.short:
        run = _Run(frozenset(tokens.GROUPS), _SHORT_EVENTS, _SHORT_REPEATS, with_peers=False, extent="short")
    else:
        extent: tokens.Extent = "all" if asked.rows is None else "goals"
        groups: frozenset[str] = asked.rows or frozenset(_GROUPS)
        run = _Run(groups, asked.events, asked.repeats, with_peers=not asked.no_peers, extent=extent)
    if asked.write and (problem := _cannot_write(run)):
        parser.error(problem)
    began = time.monotonic()
    result = _measured(run)
    tables = table(result.rows)
    if result.costs.samples:
        tables = f"{tokens.cost_table(result.costs, result.beside, run.events)}\n\n{tables}"
    tables = f"{page.machine()}\n\n{tables}"
    print(f"{tables}\n\n{time.monotonic() - began:.0f} s")
    if asked.write:
        _write(result, run, tables)
    gross = [row for row in result.rows if row.excess > _GROSS] if asked.short else []
    for row in gross:
        print(f"gross regression: {row.surface} is {row.excess:.1f} times its limit", file=sys.stderr)
    return 1 if gross else 0


def _cannot_write(run: _Run) -> str | None:
    """Why the documentation must not have the tables of this run, or None."""
    if not run.with_peers:
        return "--write takes a run with the peers"
    needed = (peers.SDK, peers.CHAT_OPENAI, peers.REMOTE_GRAPH, peers.SIMPLE_ENGINE)
    absent = [module for peer in needed if (module := peers.missing(peer))]
    absent += [] if find_spec("matplotlib") else ["matplotlib"]
    return f"--write needs {', '.join(absent)}: install the dependency group bench" if absent else None


def _measured(run: _Run) -> _Result:
    with Replay() as replay, asyncio.Runner() as runner:
        bench = Bench(replay.url)
        try:
            return _rows(replay, bench, runner, run)
        finally:
            runner.run(bench.aclose())


def _rows(replay: Replay, bench: Bench, runner: asyncio.Runner, run: _Run) -> _Result:
    found: list[Row] = []
    costs, beside = Costs(), Costs()
    if run.groups & set(tokens.GROUPS):
        _say("what a token costs ...")
        costs = measure(bench, runner, tokens.jobs(run.groups, run.events, run.repeats, extent=run.extent))
        if run.with_peers:
            _say("what a token costs beside the peers ...")
            jobs = tokens.jobs_beside(run.groups, run.events, min(run.repeats, 3), extent=run.extent)
            beside = measure(bench, runner, jobs)
        found += tokens.rows(costs, beside, run.groups, run.events, extent=run.extent)
    others: dict[str, Callable[[], list[Row]]] = {
        "memory": lambda: memory.rows(bench, with_peers=run.with_peers),
        "first_token": lambda: first_token.rows(bench, runner, with_peers=run.with_peers),
        "wakeups": lambda: wakeups.rows(replay.url, replay.tls_url, replay.authority),
        "silence": lambda: silence.rows(bench, runner, with_peers=run.with_peers),
        "concurrency": lambda: concurrency.rows(bench),
        "opening": lambda: opening.rows(bench, runner),
        "tool_runs": lambda: tool_runs.rows(bench, runner),
        "long": lambda: long_turns.rows(bench, runner),
        "history": history.rows,
        "server": local_server.rows,
        "imports": imports.rows,
        "fast": lambda: fast.rows(bench, runner),
    }
    for name, rows in others.items():
        if name in run.groups:
            _say(f"{name} ...")
            found += rows()
    return _Result(found, costs, beside)


def _write(result: _Result, run: _Run, tables: str) -> None:
    page.PAGE.write_text(page.with_tables(page.PAGE.read_text(), tables))
    bars = tokens.bars(result.costs, result.beside, run.events)
    picture.draw(page.ASSETS, bars, "CPU per token in µs, one HTTP chunk per event, sync")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
