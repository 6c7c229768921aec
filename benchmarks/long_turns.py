"""What an event costs in a turn of 200,000, beside one of 10,000."""

from __future__ import annotations

import asyncio

from benchmarks import langchain, llama_index, ours
from benchmarks.measure import Job, jobs_of, measure
from benchmarks.row import Row, at_most
from benchmarks.subject import Bench

__all__ = ["rows"]

_SHORT, _LONG = 10_000, 200_000
_SURFACES = (ours.CLIENT, langchain.CHAT_MODEL, langchain.CHAT_MODEL_EVENTS, llama_index.ENGINE)


def rows(bench: Bench, runner: asyncio.Runner) -> list[Row]:
    """A row for each surface."""
    jobs: dict[Job, int] = {}
    for subject in _SURFACES:
        jobs |= dict.fromkeys(jobs_of(subject, "chunk", _SHORT), 5)
        # A run this long is an average by itself.
        jobs |= dict.fromkeys(jobs_of(subject, "chunk", _LONG), 1)
    costs = measure(bench, runner, jobs)
    found: list[Row] = []
    for subject in _SURFACES:
        for is_async in (False, True):
            short = costs.of(subject, "chunk", _SHORT, is_async=is_async)
            long = costs.of(subject, "chunk", _LONG, is_async=is_async)
            if short is not None:
                surface = f"{subject.title}, {'async' if is_async else 'sync'}: {_LONG:,} events"
                found.append(at_most("long", surface, f"≤ 1.3 of {_SHORT:,}", long, 1.3 * short, "µs"))
    return found
