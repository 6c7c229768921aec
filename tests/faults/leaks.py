"""Streams with random faults on real sockets, and what they leave behind: nothing."""

from __future__ import annotations

import asyncio
import gc
import random
import sys
import threading
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from chat_sessions import AsyncTurnStream, ChatSessionsError
from chat_sessions.testing import (
    Cut,
    Fault,
    Fine,
    HtmlPage,
    Http10,
    LostAnswer,
    NotJson,
    Refuse,
    Split,
    Stall,
    WrongContentType,
)
from tests.faces import AnyChat, entered
from tests.faults.playback import QUESTION, Playback

__all__ = ["Leaks", "run_streams"]


@dataclass
class Leaks:
    """What is there after the streams and was not before them; `ends` says how the streams ended."""

    ends: Counter[str] = field(default_factory=Counter[str])
    sockets: int = 0
    tasks: int = 0
    threads: int = 0
    warnings: list[str] = field(default_factory=list[str])


def open_sockets() -> set[str]:
    """The sockets that this process has open, by their inode; needs /proc."""
    found: set[str] = set()
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            found.add(str(entry.readlink()))
    return {name for name in found if name.startswith("socket:")}


def some_fault(choose: random.Random) -> Fault:
    at = choose.randrange(1500)
    return choose.choice(
        [
            Fine(),
            Cut(at_byte=at, how="reset"),
            Cut(at_byte=at, how="fin"),
            Cut(at_byte=at, how="clean"),
            LostAnswer(at_byte=at % 100),
            Refuse(409),
            Refuse(500),
            HtmlPage(),
            WrongContentType(),
            NotJson(at_event=at % 20),
            Http10(),
            Split(at + 1),
            Stall(at_byte=at, seconds=0.001),
        ]
    )


@contextmanager
def heard(leaks: Leaks) -> Iterator[None]:
    """Notes every warning, and every error in a finalizer, that nobody would see."""
    before = sys.unraisablehook
    sys.unraisablehook = lambda error: leaks.warnings.append(repr(error.exc_value))
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield
            gc.collect()
        leaks.warnings += [str(one.message) for one in caught]
    finally:
        sys.unraisablehook = before


async def run_streams(recording: tuple[bytes, bytes], streams: int, seed: int = 7) -> Leaks:
    """That many streams, sync and async in turn, read to the end, left, cancelled or broken."""
    choose = random.Random(seed)
    leaks = Leaks()
    gc.collect()
    tasks, sockets, threads = asyncio.all_tasks(), open_sockets(), _threads()
    with heard(leaks):
        with Playback(*recording) as played:
            with played.client() as client:
                for number in range(streams):
                    played.faults.clear()
                    # A read that is refused for good ends the look-up at once, whatever became of the turn.
                    played.faults.script(some_fault(choose), Refuse(404, on="history"))
                    stop_after = choose.choice([None, None, 0, 1, 5])
                    face: AnyChat = client.aio if number % 2 else client
                    try:
                        leaks.ends[await asyncio.create_task(_read(face, stop_after))] += 1
                    except (ChatSessionsError, asyncio.CancelledError) as error:
                        leaks.ends[type(error).__name__] += 1
                await client.aio.close()
            await asyncio.to_thread(played.faults.wait_until_left)
        gc.collect()
        # The loop itself closes the async generators that httpx leaves behind, in its next steps.
        for _ in range(10):
            await asyncio.sleep(0)
    leaks.tasks = len(asyncio.all_tasks() - tasks)
    leaks.sockets = len(open_sockets() - sockets)
    leaks.threads = len(_threads() - threads)
    return leaks


async def _read(chat: AnyChat, stop_after: int | None) -> str:
    """How the stream ended: "whole", "left", or it was cancelled or raised."""
    async with entered(chat.session().stream(QUESTION)) as stream:
        seen = 0
        while await _next(stream) is not None:
            seen += 1
            if seen == stop_after:
                return "left"
            if stop_after == 0 and isinstance(stream, AsyncTurnStream):
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
    return "whole"


async def _next(stream: object) -> object:
    return await anext(stream, None) if isinstance(stream, AsyncTurnStream) else next(stream, None)  # type: ignore[call-overload]


def _threads() -> set[threading.Thread]:
    # The default executor keeps its threads.
    return {thread for thread in threading.enumerate() if not thread.name.startswith("asyncio_")}
