"""How late a deadline is noticed while keep-alives flow, and how soon a stream that is left closes its socket.

`python -m benchmarks.deadlines` measures against a server on this machine: the deadline for the first event and for
the next one (0.3 s each) with a comment every 20 ms, which any read timeout would wait for; then the time from leaving
a stream, by `break`, an error, `task.cancel()` or `close()` in another thread, to the server's seeing it. Ends with
status 1 if a deadline is noticed more than 250 ms late or a socket is closed more than 100 ms after.
"""

from __future__ import annotations

import argparse
import asyncio
import queue
import statistics
import sys
import threading
import time
from collections.abc import Awaitable, Callable

from tests.wire_server import Connection, Handler, Request, WireServer

from chat_sessions import LlamaCloudChat, TextDelta, Timeouts, TurnStalled

_DEADLINE = 0.3
_PAUSE = 0.02
_LATEST = {"deadline": 250.0, "leaving": 100.0}
_HELLO = TextDelta(content="Hello")

# Seconds: how late, or how long it took.
Measure = Callable[[LlamaCloudChat, "Server"], Awaitable[float]]


class Server:
    """Answers each message in one way, and notes when a client has left."""

    def __init__(self, wire: WireServer) -> None:
        self._wire = wire
        self.left: queue.SimpleQueue[float] = queue.SimpleQueue()

    def say(self, handler: Handler) -> None:
        self._wire.on("POST", "/messages/stream", handler)

    def begin_and_wait(self, _: Request, connection: Connection) -> None:
        """One event, then silence."""
        connection.start_stream()
        connection.events(_HELLO)
        connection.wait_until_closed()
        self.left.put(time.monotonic())

    def ping(self, *, event_first: bool) -> Handler:
        """Comments without end, after one event or none."""

        def stream(_: Request, connection: Connection) -> None:
            connection.start_stream()
            if event_first:
                connection.events(_HELLO)
            while True:
                connection.chunk(b": keep-alive\n\n")
                time.sleep(_PAUSE)

        return stream


async def late_idle(chat: LlamaCloudChat, server: Server) -> float:
    server.say(server.ping(event_first=True))
    with chat.stream("ses-1", "q", index_ids=["i"]) as stream:
        next(stream)
        began = time.monotonic()
        try:
            next(stream)
        except TurnStalled:
            return time.monotonic() - began - _DEADLINE
    raise AssertionError


async def late_idle_async(chat: LlamaCloudChat, server: Server) -> float:
    server.say(server.ping(event_first=True))
    async with chat.aio.stream("ses-1", "q", index_ids=["i"]) as stream:
        await anext(stream)
        began = time.monotonic()
        try:
            await anext(stream)
        except TurnStalled:
            return time.monotonic() - began - _DEADLINE
    raise AssertionError


async def late_first(chat: LlamaCloudChat, server: Server) -> float:
    server.say(server.ping(event_first=False))
    began = time.monotonic()
    try:
        chat.stream("ses-1", "q", index_ids=["i"]).result()
    except TurnStalled:
        return time.monotonic() - began - _DEADLINE
    raise AssertionError


async def late_first_async(chat: LlamaCloudChat, server: Server) -> float:
    server.say(server.ping(event_first=False))
    began = time.monotonic()
    try:
        await chat.aio.stream("ses-1", "q", index_ids=["i"]).result()
    except TurnStalled:
        return time.monotonic() - began - _DEADLINE
    raise AssertionError


async def leave_by_break(chat: LlamaCloudChat, server: Server) -> float:
    server.say(server.begin_and_wait)
    with chat.stream("ses-1", "q", index_ids=["i"]) as stream:
        for _ in stream:
            began = time.monotonic()
            break
    return server.left.get() - began


async def leave_by_break_async(chat: LlamaCloudChat, server: Server) -> float:
    server.say(server.begin_and_wait)
    async with chat.aio.stream("ses-1", "q", index_ids=["i"]) as stream:
        async for _ in stream:
            began = time.monotonic()
            break
    return await asyncio.to_thread(server.left.get) - began


async def leave_by_error(chat: LlamaCloudChat, server: Server) -> float:
    server.say(server.begin_and_wait)
    began = 0.0
    try:
        with chat.stream("ses-1", "q", index_ids=["i"]) as stream:
            for _ in stream:
                began = time.monotonic()
                raise KeyError
    except KeyError:
        pass
    return server.left.get() - began


async def leave_by_close_in_another_thread(chat: LlamaCloudChat, server: Server) -> float:
    server.say(server.begin_and_wait)
    stream = chat.stream("ses-1", "q", index_ids=["i"])
    next(stream)
    reader = threading.Thread(target=lambda: list(stream))
    reader.start()
    began = time.monotonic()
    stream.close()
    left = server.left.get()
    reader.join()
    return left - began


async def leave_by_cancel(chat: LlamaCloudChat, server: Server) -> float:
    server.say(server.begin_and_wait)
    reading = asyncio.Event()

    async def read() -> None:
        async with chat.aio.stream("ses-1", "q", index_ids=["i"]) as stream:
            async for _ in stream:
                reading.set()

    task = asyncio.create_task(read())
    await reading.wait()
    await asyncio.sleep(0)
    began = time.monotonic()
    task.cancel()
    await asyncio.wait([task])
    return await asyncio.to_thread(server.left.get) - began


MEASURES: tuple[tuple[str, str, Measure], ...] = (
    ("deadline", "first event, sync", late_first),
    ("deadline", "first event, async", late_first_async),
    ("deadline", "next event, sync", late_idle),
    ("deadline", "next event, async", late_idle_async),
    ("leaving", "break, sync", leave_by_break),
    ("leaving", "break, async", leave_by_break_async),
    ("leaving", "error, sync", leave_by_error),
    ("leaving", "close in another thread", leave_by_close_in_another_thread),
    ("leaving", "task.cancel()", leave_by_cancel),
)


async def measure(repeats: int) -> bool:
    """Print the table; gives whether all was in time."""
    in_time = True
    timeouts = Timeouts(first_event=_DEADLINE, idle=_DEADLINE, recovery=0)
    print(f"milliseconds, {repeats} times each\n\n{'':12}{'':26}{'p50':>8}{'p95':>8}{'max':>8}{'at most':>10}")
    with WireServer() as wire, LlamaCloudChat(api_key="k", base_url=wire.url, timeouts=timeouts) as deadlines:
        patient = LlamaCloudChat(api_key="k", base_url=wire.url)
        server = Server(wire)
        for kind, name, take in MEASURES:
            chat = deadlines if kind == "deadline" else patient
            taken = sorted([await take(chat, server) * 1000 for _ in range(repeats)])
            p95 = taken[int(0.95 * (len(taken) - 1))]
            print(
                f"{kind:12}{name:26}{statistics.median(taken):8.1f}{p95:8.1f}{taken[-1]:8.1f}{_LATEST[kind]:10.0f}",
                flush=True,
            )
            in_time = in_time and taken[-1] <= _LATEST[kind]
        await patient.aio.close()
        await deadlines.aio.close()
        patient.close()
    return in_time


def main() -> None:
    """Measure, print the table, and say by the exit status whether all was in time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=30)
    sys.exit(0 if asyncio.run(measure(parser.parse_args().repeats)) else 1)


if __name__ == "__main__":
    main()
