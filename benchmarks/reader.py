"""A process that reads turns by itself, so that what it measures is its own: the memory, a full core.

It loads what its subject needs and no more.
"""

from __future__ import annotations

import asyncio
import gc
import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from zlib import crc32

from benchmarks.measure import WrongText
from benchmarks.subject import Bench, Subject
from benchmarks.wires import checksum

__all__ = ["Load", "growth", "load"]

_WARM_UP = 1_000
_STATUS = Path("/proc/self/status")
_MB = 1024 * 1024


@dataclass(frozen=True)
class Load:
    """What came in the window: events a second, lag in ms, growth of the memory in MB, percent of a core."""

    rate: float
    p50: float
    p99: float
    growth: float
    cpu: float


def growth(url: str, subject: Subject, count: int, *, is_async: bool) -> float:
    """How far the memory of a fresh process grows in a turn of `count` deltas, in MB."""
    return float(_run("growth", url, subject, count, int(is_async)))


def load(url: str, subject: Subject, *, streams: int, rate: int, start: float, window: float) -> Load:
    """What a fresh process reads of that many paced streams in `window` seconds, `start` seconds after their start."""
    return Load(**json.loads(_run("load", url, subject, streams, rate, start, window)))


def _run(what: str, url: str, subject: Subject, *arguments: float) -> str:
    command = [sys.executable, "-m", "benchmarks.reader", what, url, subject.module, subject.name]
    command += map(str, arguments)
    done = subprocess.run(command, cwd=Path(__file__).parents[1], stdout=subprocess.PIPE, check=True, text=True)
    return done.stdout.strip()


class _Peak:
    """The highest memory use of this process from here on, beyond what it has now, in MB."""

    def __init__(self) -> None:
        gc.collect()
        if _STATUS.exists():
            # Linux: the peak is that since the process began, unless it is told to forget.
            Path("/proc/self/clear_refs").write_text("5")
        self._before = self._status("VmRSS") if _STATUS.exists() else self._highest()

    def growth(self) -> float:
        highest = self._status("VmHWM") if _STATUS.exists() else self._highest()
        return (highest - self._before) / _MB

    @staticmethod
    def _status(name: str) -> int:
        line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
        return int(line.split()[1]) * 1024

    @staticmethod
    def _highest() -> int:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _grow(bench: Bench, subject: Subject, count: int, *, is_async: bool) -> float:
    with asyncio.Runner() as runner:

        def read(count: int) -> None:
            plan = f"chunk-{count}"
            if is_async:
                text = runner.run(_asum(bench, subject, plan))
            else:
                assert subject.sync is not None
                text = _sum(subject.sync(bench, plan))
            if text != checksum(count):
                raise WrongText(f"{subject.name} gave another text than the server sent ({plan})")

        read(_WARM_UP)
        peak = _Peak()
        read(count)
        return peak.growth()


def _sum(pieces: Iterable[str]) -> int:
    """The checksum, without keeping the text."""
    text = 0
    for piece in pieces:
        text = crc32(piece.encode(), text)
    return text


async def _asum(bench: Bench, subject: Subject, plan: str) -> int:
    assert subject.aio is not None
    text = 0
    async for piece in subject.aio(bench, plan):
        text = crc32(piece.encode(), text)
    return text


@dataclass
class _Meter:
    begins: float
    ends: float
    lags: list[float] = field(default_factory=list[float])

    def note(self, written: str) -> None:
        now = time.perf_counter()
        if self.begins <= now < self.ends:
            self.lags.append(now - float(written))


async def _load(bench: Bench, subject: Subject, streams: int, rate: int, start: float, window: float) -> Load:
    await _read(subject, bench, "paced-50-0.1", _Meter(0, 0))
    peak = _Peak()
    now = time.perf_counter()
    meter = _Meter(now + start, now + start + window)
    plans = [f"paced-{rate}-{start + window + 2}~{number}" for number in range(streams)]
    tasks = [asyncio.ensure_future(_read(subject, bench, plan, meter)) for plan in plans]
    await asyncio.sleep(start)
    cpu = time.process_time()
    await asyncio.sleep(window)
    cpu = time.process_time() - cpu
    grown = peak.growth()
    for task in tasks:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    if broken := next((result for result in results if isinstance(result, Exception)), None):
        raise broken
    lags = sorted(meter.lags)
    p50, p99 = (lags[len(lags) * percent // 100] * 1e3 for percent in (50, 99))
    return Load(rate=len(lags) / window, p50=p50, p99=p99, growth=grown, cpu=cpu / window * 100)


async def _read(subject: Subject, bench: Bench, plan: str, meter: _Meter) -> None:
    assert subject.aio is not None
    async for piece in subject.aio(bench, plan):
        meter.note(piece)


def _main(what: str, url: str, module: str, name: str, *arguments: str) -> None:
    found: list[Subject] = [each for each in vars(import_module(module)).values() if isinstance(each, Subject)]
    subject = next(each for each in found if each.name == name)
    numbers = [float(argument) for argument in arguments]
    if what == "growth":
        print(_grow(Bench(url), subject, int(numbers[0]), is_async=bool(numbers[1])))
    else:
        streams, rate, start, window = numbers
        print(json.dumps(asdict(asyncio.run(_load(Bench(url), subject, int(streams), int(rate), start, window)))))


if __name__ == "__main__":
    _main(*sys.argv[1:])
