"""The CPU that a reader takes while nothing comes, in percent of a core."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Iterator

from benchmarks import langchain, llama_index, ours, peers
from benchmarks.row import Row, at_most
from benchmarks.subject import Bench

__all__ = ["rows"]

_PLAN = "silence-1.0"
_SURFACES = (ours.CLIENT, langchain.CHAT_MODEL, langchain.CHAT_MODEL_EVENTS, llama_index.ENGINE)


def _between(pieces: Iterator[str]) -> float:
    next(pieces)
    wall, cpu = time.perf_counter(), time.process_time()
    next(pieces)
    share = (time.process_time() - cpu) / (time.perf_counter() - wall)
    for _ in pieces:
        pass
    return share


async def _abetween(pieces: AsyncIterator[str]) -> float:
    await anext(pieces)
    wall, cpu = time.perf_counter(), time.process_time()
    await anext(pieces)
    share = (time.process_time() - cpu) / (time.perf_counter() - wall)
    async for _ in pieces:
        pass
    return share


def rows(bench: Bench, runner: asyncio.Runner, *, with_peers: bool, repeats: int = 2) -> list[Row]:
    """A row for each surface, and one for the stock engine if it is installed, which has no goal."""
    found: list[Row] = []
    peer = (peers.SIMPLE_ENGINE,) if with_peers and not peers.missing(peers.SIMPLE_ENGINE) else ()
    for subject in (*_SURFACES, *peer):
        limit = 1.0 if subject in _SURFACES else None
        if (sync := subject.sync) is not None:
            share = statistics.median(_between(sync(bench, _PLAN)) for _ in range(repeats))
            found.append(_row(f"{subject.title}, sync", share, limit))
        if (aio := subject.aio) is not None:
            share = statistics.median(runner.run(_abetween(aio(bench, _PLAN))) for _ in range(repeats))
            found.append(_row(f"{subject.title}, async", share, limit))
    return found


def _row(surface: str, share: float, limit: float | None) -> Row:
    goal = "" if limit is None else "≤ 1 % of a core"
    return at_most("silence", f"{surface}: 1 s of silence", goal, share * 100, limit, "%")
