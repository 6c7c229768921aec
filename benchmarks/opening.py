"""What it costs to open a stream while many others are open: milliseconds of CPU."""

from __future__ import annotations

import asyncio
import statistics
import time

from benchmarks.row import Row, at_most
from benchmarks.subject import Bench
from chat_sessions.session.async_turn_stream import AsyncTurnStream

__all__ = ["rows"]

_STREAMS = 2_000
# How many of the first and of the last are compared.
_FEW = 100
# Slow enough that hardly anything but the opening is to be done meanwhile.
_PLAN = "paced-0.02-120.0"


def rows(bench: Bench, runner: asyncio.Runner) -> list[Row]:
    """One row, for the client."""
    first, last = runner.run(_opened(bench))
    surface = f"client stream(), async: opening the {_STREAMS:,}th stream (the first: {first:.2f} ms)"
    return [at_most("opening", surface, "≤ 1.5 of the first", last, 1.5 * first, "ms")]


async def _opened(bench: Bench) -> tuple[float, float]:
    streams: list[AsyncTurnStream] = []
    costs: list[float] = []
    try:
        for number in range(_STREAMS):
            stream = bench.chat.aio.stream(f"{_PLAN}~open{number}", "q", index_ids=["idx"])
            streams.append(stream)
            began = time.process_time()
            await stream.open()
            costs.append((time.process_time() - began) * 1e3)
    finally:
        for stream in streams:
            await stream.close()
    return statistics.median(costs[1 : _FEW + 1]), statistics.median(costs[-_FEW:])
