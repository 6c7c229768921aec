"""Microseconds of CPU for a tool run in a turn of 1,000, beside one in a turn of 10."""

from __future__ import annotations

import asyncio

from benchmarks import langchain, llama_index, ours
from benchmarks.measure import Job, jobs_of, measure
from benchmarks.row import Row, at_most
from benchmarks.subject import Bench

__all__ = ["rows"]

_FEW, _MIDDLE, _MANY = 10, 100, 1_000
_SURFACES = (ours.CLIENT, langchain.CHAT_MODEL, llama_index.ENGINE)


def rows(bench: Bench, runner: asyncio.Runner) -> list[Row]:
    """A row for each surface. What a turn costs by itself is taken off: a small one has little to spread it over."""
    jobs: dict[Job, int] = {}
    for subject in _SURFACES:
        for count, repeats in ((_FEW, 15), (_MIDDLE, 9), (_MANY, 3)):
            jobs |= dict.fromkeys(jobs_of(subject, "tools", count), repeats)
    costs = measure(bench, runner, jobs)
    found: list[Row] = []
    for subject in _SURFACES:
        for is_async in (False, True):
            turns = (
                (costs.of(subject, "tools", count, is_async=is_async) or 0.0) * count
                for count in (_FEW, _MIDDLE, _MANY)
            )
            few, middle, many = turns
            short = (middle - few) / (_MIDDLE - _FEW)
            long = (many - middle) / (_MANY - _MIDDLE)
            surface = f"{subject.title}, {'async' if is_async else 'sync'}: a tool run in a turn of {_MANY:,}"
            found.append(at_most("tool_runs", surface, f"≤ 1.2 of a turn of {_FEW}", long, 1.2 * short, "µs"))
    return found
