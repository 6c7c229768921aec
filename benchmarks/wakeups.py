"""Microseconds of CPU per event where each comes by itself, as a model writes them: one wake-up for each."""

from __future__ import annotations

import asyncio
import ssl
import statistics
import time
from collections.abc import AsyncIterator, Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from typing import cast
from urllib.parse import SplitResult, urlsplit

from benchmarks import ours
from benchmarks.floors import T
from benchmarks.row import Row, at_most
from benchmarks.subject import Bench, Subject
from benchmarks.wires import END

__all__ = ["rows"]

_RATE, _SECONDS = 400, 2.0
_PLAN = f"paced-{_RATE}-{_SECONDS}"
_BARE = "a callback that counts reads, one event per wake-up"
_Loop = Callable[[], asyncio.AbstractEventLoop]


def rows(url: str, tls_url: str, authority: str, *, repeats: int = 3) -> list[Row]:
    """The client beside the floor: sync, on asyncio and on uvloop where it is installed, plain and over TLS."""
    uvloop: _Loop | None = import_module("uvloop").new_event_loop if find_spec("uvloop") else None
    found: list[Row] = []
    for where, bench in (("plain", Bench(url)), ("TLS", Bench(tls_url, authority))):
        loops: list[tuple[str, _Loop | None]] = [("asyncio", asyncio.new_event_loop)]
        loops += [("uvloop", uvloop)] if uvloop else []
        found += _compared(f"sync, {where}", 0.8, _reads(bench, None), repeats)
        for name, loop in loops:
            goal = 0.45 if where == "TLS" and name == "asyncio" else None
            with asyncio.Runner(loop_factory=loop) as runner:
                made = Bench(bench.url, bench.authority)
                bare = statistics.median(runner.run(_bare(made)) for _ in range(repeats))
                found.append(at_most("wakeups", f"{_BARE}, async, {where}, {name}", "", bare, None, "µs"))
                found += _compared(f"async, {where}, {name}", goal, _reads(made, runner), repeats)
                runner.run(made.aclose())
    return found


def _compared(where: str, goal: float | None, read: Callable[[Subject], float], repeats: int) -> list[Row]:
    floors, figures = zip(*((read(T), read(ours.CLIENT)) for _ in range(repeats)), strict=True)
    floor, figure = statistics.median(floors), statistics.median(figures)
    said = "" if goal is None else f"≤ {goal} T"
    limit = None if goal is None else goal * floor
    return [
        at_most("wakeups", f"{T.title}, one event per wake-up, {where}", "", floor, None, "µs"),
        at_most("wakeups", f"{ours.CLIENT.title}, one event per wake-up, {where}", said, figure, limit, "µs"),
    ]


def _reads(bench: Bench, runner: asyncio.Runner | None) -> Callable[[Subject], float]:
    """What reads a subject: sync without a runner."""
    return lambda subject: _read(bench, subject) if runner is None else runner.run(_aread(bench, subject))


def _read(bench: Bench, subject: Subject) -> float:
    assert subject.sync is not None
    pieces: Iterator[str] = subject.sync(bench, _PLAN)
    next(pieces)
    began = time.process_time()
    count = sum(1 for _ in pieces)
    return (time.process_time() - began) / count * 1e6


async def _aread(bench: Bench, subject: Subject) -> float:
    assert subject.aio is not None
    pieces: AsyncIterator[str] = subject.aio(bench, _PLAN)
    await anext(pieces)
    began = time.process_time()
    count = 0
    async for _ in pieces:
        count += 1
    return (time.process_time() - began) / count * 1e6


class _Counter(asyncio.Protocol):
    """Counts reads, and their CPU time: what a wake-up costs by itself, before anybody waits for it."""

    def __init__(self, url: SplitResult) -> None:
        self._request = f"POST {url.path} HTTP/1.1\r\nHost: {url.netloc}\r\nContent-Length: 0\r\n\r\n".encode()
        self._count = 0
        self.cost: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast: uvloop's transport is none of asyncio's classes.
        cast("asyncio.WriteTransport", transport).write(self._request)

    def data_received(self, data: bytes) -> None:
        if self._count == 0:
            self._began = time.process_time()
        self._count += 1
        if data.endswith(END):
            self.cost.set_result((time.process_time() - self._began) / self._count * 1e6)


async def _bare(bench: Bench) -> float:
    url = urlsplit(bench.turn_url(_PLAN))
    tls = ssl.create_default_context(cafile=bench.authority) if bench.authority else None
    assert url.hostname is not None
    assert url.port is not None
    transport, counter = await asyncio.get_running_loop().create_connection(
        lambda: _Counter(url), url.hostname, url.port, ssl=tls
    )
    try:
        return await counter.cost
    finally:
        transport.close()
