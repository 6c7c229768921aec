"""Many slow streams at once in one process, as a web application has them.

Each run is a process of its own, the floor and ours in turn. The lag of an event is the time from its writing, in the
server, to its arrival at the reader. A stream that is given up for stalled, though its events come, ends the run.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks import langchain, ours, reader
from benchmarks.floors import T
from benchmarks.reader import Load
from benchmarks.row import Row, at_least, at_most
from benchmarks.subject import Bench, Subject

__all__ = ["rows"]

# Seconds until all streams run, and then of counting.
_WINDOW = 3.0


@dataclass(frozen=True)
class _Case:
    """So many streams of so many events a second each; with goals, or to compare with."""

    subject: Subject
    streams: int
    rate: int
    is_judged: bool = False
    start: float = 2.5


_CASES = (
    _Case(T, 500, 25),
    _Case(ours.CLIENT, 500, 25),
    _Case(langchain.CHAT_MODEL, 500, 25),
    _Case(langchain.STOCK_MODEL, 500, 25),
    _Case(T, 2_000, 6, start=8.0),
    _Case(ours.CLIENT, 2_000, 6, is_judged=True, start=8.0),
    _Case(langchain.CHAT_MODEL, 2_000, 6, start=8.0),
    _Case(ours.CLIENT, 5_000, 2, start=20.0),
)


def rows(bench: Bench, *, repeats: int = 3) -> list[Row]:
    """Rate, lag, share of a core and memory of each case; the goals are for the client with 2,000 streams."""
    found: list[Row] = []
    for case in _CASES:
        wanted = case.streams * case.rate
        load = _median(
            [
                reader.load(
                    bench.url, case.subject, streams=case.streams, rate=case.rate, start=case.start, window=_WINDOW
                )
                for _ in range(repeats if case.is_judged else 1)
            ]
        )
        surface = f"{case.subject.title}, async, {case.streams:,} streams at {case.rate} events/s"
        said = ("the whole rate", "≤ 5 ms", "≤ 45 %") if case.is_judged else ("", "", "")
        limits = (0.99 * wanted, 5.0, 45.0) if case.is_judged else (None, None, None)
        found += [
            at_least("concurrency", f"{surface} ({wanted:,}/s)", said[0], load.rate, limits[0], "/s"),
            at_most("concurrency", f"  lag, p99 (p50 {load.p50:.1f} ms)", said[1], load.p99, limits[1], "ms"),
            at_most("concurrency", f"  of a core (memory {load.growth:.0f} MB)", said[2], load.cpu, limits[2], "%"),
        ]
    return found


def _median(loads: Sequence[Load]) -> Load:
    fields = ("rate", "p50", "p99", "growth", "cpu")
    return Load(**{name: statistics.median(getattr(load, name) for load in loads) for name in fields})
