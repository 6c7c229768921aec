"""Microseconds of CPU per event: every subject in turn, in shuffled order, several times over; medians.

The process's CPU time is taken, that of all its threads, because time on the wall says more about a machine's other
work. The garbage collector is left as Python has it, and run between two measurements. A text that is not the one
that was sent ends the run.
"""

from __future__ import annotations

import asyncio
import gc
import random
import statistics
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from zlib import crc32

from benchmarks.subject import Bench, Subject
from benchmarks.wires import checksum

__all__ = ["Costs", "Job", "WrongText", "all_pieces", "measure"]


class WrongText(SystemExit):
    """A subject gave another text than the server sent."""


@dataclass(frozen=True)
class Job:
    """One subject, one way to read it, one framing and length of the turn."""

    subject: Subject
    is_async: bool
    framing: str
    count: int

    @property
    def plan(self) -> str:
        return f"{self.framing}-{self.count}"


@dataclass
class Costs:
    """Microseconds of CPU per event, by subject, framing and length."""

    samples: dict[Job, list[float]] = field(default_factory=dict[Job, list[float]])

    def of(self, subject: Subject, framing: str, count: int, *, is_async: bool) -> float | None:
        """The median, or None for what was not measured."""
        samples = self.samples.get(Job(subject, is_async, framing, count))
        return statistics.median(samples) if samples else None


def jobs_of(subject: Subject, framing: str, count: int) -> list[Job]:
    """The subject's sync and async forms, where it has them."""
    forms = ((False, subject.sync), (True, subject.aio))
    return [Job(subject, is_async, framing, count) for is_async, form in forms if form is not None]


async def all_pieces(pieces: AsyncIterator[str]) -> list[str]:
    return [piece async for piece in pieces]


def read(bench: Bench, runner: asyncio.Runner, job: Job) -> tuple[float, list[str]]:
    """One turn: seconds of CPU, and its text."""
    if job.is_async:
        assert job.subject.aio is not None
        began = time.process_time()
        pieces = runner.run(all_pieces(job.subject.aio(bench, job.plan)))
    else:
        assert job.subject.sync is not None
        began = time.process_time()
        pieces = list(job.subject.sync(bench, job.plan))
    return time.process_time() - began, pieces


def measure(bench: Bench, runner: asyncio.Runner, jobs: dict[Job, int], *, seed: int = 0) -> Costs:
    """Run each job as often as it says, interleaved. The first of a subject is one of the measured ones: it is one of
    several, and a median takes no notice."""
    costs = Costs()
    shuffle = random.Random(seed)
    for turn in range(max(jobs.values(), default=0)):
        round_ = [job for job, repeats in jobs.items() if turn < repeats]
        shuffle.shuffle(round_)
        for job in round_:
            # Nobody pays for what another has left behind.
            gc.collect()
            seconds, pieces = read(bench, runner, job)
            check(job, pieces)
            costs.samples.setdefault(job, []).append(seconds / job.count * 1e6)
    return costs


def check(job: Job, pieces: Iterable[str]) -> None:
    """Nobody is fast by leaving things out."""
    text = "".join(pieces)
    if crc32(text.encode()) != checksum(job.count):
        raise WrongText(f"{job.subject.name} gave another text than the server sent ({job.plan}): {text[:80]!r}...")
