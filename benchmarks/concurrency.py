"""Many slow streams at once in one process: 500 of 50 events a second each.

Each run is a process of its own, the floor and ours in turn. The lag of an event is the time from its writing, in the
server, to its arrival at the reader.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from benchmarks import langchain, reader
from benchmarks.floors import T
from benchmarks.reader import Load
from benchmarks.row import Row, at_least, at_most
from benchmarks.subject import Bench, Subject

__all__ = ["rows"]

_STREAMS = 500
_RATE = 50
# Seconds until all streams run, and then of counting.
_START = 2.5
_WINDOW = 3.0


def rows(bench: Bench, *, repeats: int = 3) -> list[Row]:
    """The chat model beside the floor, and the stock base class once, which has no goal."""

    def run(subject: Subject) -> Load:
        return reader.load(bench.url, subject, streams=_STREAMS, rate=_RATE, start=_START, window=_WINDOW)

    runs = [(run(T), run(langchain.CHAT_MODEL)) for _ in range(repeats)]
    floor, ours = (_median(loads) for loads in zip(*runs, strict=True))
    stock = run(langchain.STOCK_MODEL)
    found: list[Row] = []
    for title, load, goals in (
        ("SessionChatModel.astream", ours, (0.95 * _STREAMS * _RATE, 1.25 * floor.p99, 150.0)),
        (T.title, floor, (None, None, None)),
        ("BaseChatModel.astream over T", stock, (None, None, None)),
    ):
        said = ("≥ 95 % of all", "≤ 1.25 T", "≤ 150 MB") if goals[0] else ("", "", "")
        surface = f"{title}, {_STREAMS} streams at {_RATE} events/s"
        found += [
            at_least("concurrency", surface, said[0], load.rate, goals[0], "/s"),
            at_most("concurrency", f"  lag, p99 (p50 {load.p50:.1f} ms)", said[1], load.p99, goals[1], "ms"),
            at_most("concurrency", f"  memory ({load.cpu:.0f} % of a core)", said[2], load.growth, goals[2], "MB"),
        ]
    return found


def _median(loads: Sequence[Load]) -> Load:
    fields = ("rate", "p50", "p99", "growth", "cpu")
    return Load(**{name: statistics.median(getattr(load, name) for load in loads) for name in fields})
