"""Milliseconds until the first token of a short turn on a warm connection, beside the floor's.

This is time on the wall, so other work of the machine shows in it, and only ever adds to it: the lowest tenth of the
turns is taken to be the surface's own.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections.abc import AsyncIterator, Iterator

from benchmarks import langchain, llama_index, ours, peers
from benchmarks.floors import T
from benchmarks.row import Row, at_most
from benchmarks.subject import Bench, Subject

__all__ = ["rows"]

_PLAN = "chunk-20"
_WARM_UP = 5
_GOALS = {ours.CLIENT.name: 1.15, langchain.CHAT_MODEL.name: 1.4, llama_index.ENGINE.name: 1.4}
_SUBJECTS = (T, ours.CLIENT, langchain.CHAT_MODEL, llama_index.ENGINE)
_PEERS = (peers.CHAT_OPENAI, peers.SIMPLE_ENGINE)


def _first(pieces: Iterator[str]) -> float:
    began = time.perf_counter()
    next(pieces)
    took = time.perf_counter() - began
    for _ in pieces:
        pass
    return took


async def _afirst(pieces: AsyncIterator[str]) -> float:
    began = time.perf_counter()
    await anext(pieces)
    took = time.perf_counter() - began
    async for _ in pieces:
        pass
    return took


def rows(bench: Bench, runner: asyncio.Runner, *, with_peers: bool, turns: int = 80) -> list[Row]:
    """A row for each surface, and one for each peer that is installed, which has no goal."""
    subjects: list[Subject] = [*_SUBJECTS, *(peer for peer in _PEERS if with_peers and not peers.missing(peer))]
    took: dict[tuple[str, bool], list[float]] = {}
    jobs = [(subject, is_async) for subject in subjects for is_async in (False, True)]
    shuffle = random.Random(1)
    for turn in range(turns + _WARM_UP):
        shuffle.shuffle(jobs)
        for subject, is_async in jobs:
            assert subject.sync is not None
            assert subject.aio is not None
            pieces = subject.aio(bench, _PLAN) if is_async else subject.sync(bench, _PLAN)
            seconds = _first(pieces) if isinstance(pieces, Iterator) else runner.run(_afirst(pieces))
            if turn >= _WARM_UP:
                took.setdefault((subject.name, is_async), []).append(seconds * 1e3)
    lows = {key: statistics.quantiles(samples, n=10)[0] for key, samples in took.items()}
    found: list[Row] = []
    for subject in subjects:
        for is_async in (False, True):
            low = lows[subject.name, is_async]
            mode = "async" if is_async else "sync"
            if subject is T:
                found.append(at_most("first_token", f"{T.title}, {mode}: first token", "", low, None, "ms"))
                continue
            times = _GOALS.get(subject.name)
            goal = "" if times is None else f"≤ {times} T"
            limit = None if times is None else times * lows[T.name, is_async]
            found.append(at_most("first_token", f"{subject.title}, {mode}: first token", goal, low, limit, "ms"))
    return found
