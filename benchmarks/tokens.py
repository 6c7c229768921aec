"""The goals on what a token costs, and the jobs that they need."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Literal, TypeAlias

from benchmarks import floors, langchain, llama_index, ours, peers
from benchmarks.measure import Costs, Job, jobs_of
from benchmarks.row import Row, aligned, at_most
from benchmarks.subject import Subject

__all__ = ["GROUPS", "SUBJECTS", "bars", "cost_table", "jobs", "jobs_beside", "rows"]

_FRAMINGS = {
    "chunk": "one chunk per event",
    "write": "one write per event",
    "co16": "16 KiB chunks",
    "mixed": "with reasoning and tools",
}
_JUDGED = ("chunk", "co16")

Extent: TypeAlias = Literal["short", "goals", "all"]
"""How much is run: what the goals on one chunk per event need, what all goals need, or all subjects in all framings."""


@dataclass(frozen=True)
class _Goal:
    """At most so many times the costs of other subjects, added."""

    group: str
    subject: Subject
    text: str
    framing: str
    of: tuple[tuple[Subject, float], ...]

    @property
    def bases(self) -> tuple[Subject, ...]:
        """The subjects that it is measured by."""
        return tuple(subject for subject, _ in self.of)

    @property
    def is_beside(self) -> bool:
        """Whether it compares with a peer."""
        return any(subject in _PEERS for subject in self.bases)


_PEERS = (peers.SDK, peers.CHAT_OPENAI, peers.REMOTE_GRAPH, peers.SIMPLE_ENGINE, peers.SIMPLE_ENGINE_HANDLER)


def _goals() -> Iterator[_Goal]:
    t, l_ = floors.T, langchain.L
    model, heard = langchain.CHAT_MODEL, langchain.CHAT_MODEL_HANDLER
    for framing, of_client, of_model in (("chunk", 0.3, 0.5), ("co16", 0.7, 1.2)):
        yield _Goal("client", ours.CLIENT, f"≤ {of_client} T", framing, ((t, of_client),))
        yield _Goal("langchain", model, f"≤ {of_model} T", framing, ((t, of_model),))
        yield _Goal("langchain", heard, "≤ T + 0.75 L", framing, ((t, 1), (l_, 0.75)))
    yield _Goal("langchain", model, "≤ ChatOpenAI / 6", "chunk", ((peers.CHAT_OPENAI, 1 / 6),))
    for framing in _JUDGED:
        stock = ((langchain.STOCK_EVENTS, 1.1),)
        yield _Goal("events", langchain.CHAT_MODEL_EVENTS, "≤ 1.1 stock", framing, stock)
    engine, heard = llama_index.ENGINE, llama_index.ENGINE_HANDLER
    for framing, of_engine in (("chunk", 0.4), ("co16", 0.9)):
        yield _Goal("llama_index", engine, f"≤ {of_engine} T", framing, ((t, of_engine),))
    yield _Goal("llama_index", engine, "≤ SimpleChatEngine / 10", "chunk", ((peers.SIMPLE_ENGINE, 1 / 10),))
    yield _Goal(
        "llama_index", heard, "≤ the same of SimpleChatEngine / 6", "chunk", ((peers.SIMPLE_ENGINE_HANDLER, 1 / 6),)
    )


_GOALS = tuple(_goals())
GROUPS = tuple(dict.fromkeys(goal.group for goal in _GOALS))
SUBJECTS = (
    floors.SOCKET,
    floors.BYTES,
    floors.T,
    ours.CLIENT,
    peers.SDK,
    langchain.L,
    langchain.CHAT_MODEL,
    langchain.CHAT_MODEL_HANDLER,
    langchain.STOCK_MODEL,
    langchain.CHAT_MODEL_EVENTS,
    langchain.STOCK_EVENTS,
    peers.CHAT_OPENAI,
    peers.REMOTE_GRAPH,
    llama_index.ENGINE,
    llama_index.ENGINE_HANDLER,
    llama_index.STOCK_RESPONSE,
    peers.SIMPLE_ENGINE,
    peers.SIMPLE_ENGINE_HANDLER,
)
# Only these are read in every framing: the others tell nothing more there, or do not read all of a mixed turn.
_EVERYWHERE = (
    floors.T,
    ours.CLIENT,
    langchain.CHAT_MODEL,
    langchain.CHAT_MODEL_HANDLER,
    langchain.CHAT_MODEL_EVENTS,
    llama_index.ENGINE,
    llama_index.ENGINE_HANDLER,
)
# What the source is in this process for has no framing.
_UNFRAMED = (langchain.L, llama_index.STOCK_RESPONSE)


def jobs(groups: AbstractSet[str], count: int, repeats: int, *, extent: Extent) -> dict[Job, int]:
    """What has to run for these groups, but for the peers, and how often."""
    wanted: dict[tuple[Subject, str], int] = {}
    for goal in _GOALS:
        if goal.group in groups and not goal.is_beside and _is_in(goal, extent):
            for subject in (goal.subject, *goal.bases):
                wanted[subject, _framing(subject, goal.framing)] = repeats
    if extent == "all":
        for subject in SUBJECTS:
            for framing in _framings(subject):
                wanted.setdefault((subject, _framing(subject, framing)), 3)
    return {job: times for (subject, framing), times in wanted.items() for job in jobs_of(subject, framing, count)}


def _framings(subject: Subject) -> list[str]:
    if subject in _PEERS:
        return []
    return [framing for framing in _FRAMINGS if framing in _JUDGED or subject in _EVERYWHERE]


def jobs_beside(groups: AbstractSet[str], count: int, repeats: int, *, extent: Extent) -> dict[Job, int]:
    """The peers, and what is compared with them. These run after the others: once the peers' modules are loaded, each
    full collection has more to look at, and LangChain's own base class, which keeps every chunk, costs half as much
    again. The goals that L stands in would be easier to reach."""
    found: dict[Job, int] = {}
    for goal in _GOALS:
        if goal.group in groups and goal.is_beside and not any(map(peers.missing, goal.bases)):
            for subject in (goal.subject, *goal.bases):
                found |= dict.fromkeys(jobs_of(subject, goal.framing, count), repeats)
    if extent == "all":
        for subject in _PEERS:
            for job in () if peers.missing(subject) else jobs_of(subject, "chunk", count):
                found.setdefault(job, repeats)
    return found


def _is_in(goal: _Goal, extent: Extent) -> bool:
    return extent != "short" or (goal.framing == "chunk" and not goal.is_beside)


def _framing(subject: Subject, framing: str) -> str:
    return "chunk" if subject in _UNFRAMED else framing


def rows(costs: Costs, beside: Costs, groups: AbstractSet[str], count: int, *, extent: Extent) -> list[Row]:
    """The goals of these groups with their figures; those beside the peers are taken from their own run."""
    found: list[Row] = []
    for goal in _GOALS:
        if goal.group not in groups or not _is_in(goal, extent):
            continue
        for is_async in (False, True):
            if (goal.subject.aio if is_async else goal.subject.sync) is None:
                continue
            run = beside if goal.is_beside else costs
            figure = run.of(goal.subject, goal.framing, count, is_async=is_async)
            limit: float | None = 0.0
            for base, times in goal.of:
                cost = run.of(base, _framing(base, goal.framing), count, is_async=is_async)
                limit = None if limit is None or cost is None else limit + times * cost
            mode = "async" if is_async else "sync"
            surface = f"{goal.subject.title}, {mode}, {_FRAMINGS[goal.framing]}"
            note = "" if limit is not None else "peer not run"
            found.append(at_most(goal.group, surface, goal.text, figure, limit, "µs", note))
    return found


def cost_table(costs: Costs, beside: Costs, count: int) -> str:
    """What each subject costs in each framing."""
    columns = [(framing, is_async) for framing in _FRAMINGS for is_async in (False, True)]
    found = {subject: [_cost(costs, beside, subject, *column, count) for column in columns] for subject in SUBJECTS}
    measured = [number for number in range(len(columns)) if any(line[number] is not None for line in found.values())]
    names = [f"{framing} {'async' if is_async else 'sync'}" for framing, is_async in columns]
    cells = [["µs of CPU per event", *(names[number] for number in measured)]]
    for subject, line in found.items():
        if any(figure is not None for figure in line):
            shown = (line[number] for number in measured)
            cells.append([subject.title, *("-" if figure is None else f"{figure:.1f}" for figure in shown)])
    return aligned(cells, right=range(1, len(cells[0])))


def _cost(costs: Costs, beside: Costs, subject: Subject, framing: str, is_async: bool, count: int) -> float | None:
    run = beside if subject in _PEERS else costs
    return run.of(subject, framing, count, is_async=is_async)


def bars(costs: Costs, beside: Costs, count: int) -> dict[str, list[tuple[str, float, bool]]]:
    """The picture: what a user would choose between, and whether it is ours."""
    groups = {
        "Over HTTP": (floors.T, peers.SDK, ours.CLIENT),
        "LangChain": (peers.CHAT_OPENAI, langchain.STOCK_MODEL, peers.REMOTE_GRAPH, langchain.CHAT_MODEL),
        "LlamaIndex": (peers.SIMPLE_ENGINE, llama_index.ENGINE),
    }
    mine = (ours.CLIENT, langchain.CHAT_MODEL, llama_index.ENGINE)
    found: dict[str, list[tuple[str, float, bool]]] = {}
    for name, subjects in groups.items():
        for subject in subjects:
            if (figure := _cost(costs, beside, subject, "chunk", False, count)) is not None:
                found.setdefault(name, []).append((subject.title, figure, subject in mine))
    return found
