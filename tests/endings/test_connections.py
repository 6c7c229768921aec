"""What one turn does to a connection is nothing to the next one on it, nor to those beside it."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Iterator

import httpx
import pytest

from chat_sessions import ConfigurationError, LlamaCloudChat, Stop, TextDelta, Timeouts, Usage
from chat_sessions.llama_cloud.connection import ResponseEvents
from chat_sessions.session.backend import DeadlinePassed
from chat_sessions.session.deadlines import EventClock
from tests.wire_server import Connection, Request, WireServer

HELLO = b'data: {"type": "text_delta", "content": "a"}\n\n'


class Shared:
    """A connection's stream, as httpcore has it: notes the timeout of each read."""

    def __init__(self) -> None:
        self.timeouts: list[float | None] = []

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        self.timeouts.append(timeout)
        return HELLO

    def get_extra_info(self, name: str) -> object:
        return None


class Reading(httpx.SyncByteStream):
    """A body that is read from the connection, as httpcore reads it."""

    def __init__(self, stream: Shared) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        while True:
            yield self._stream.read(10, timeout=None)


def response(stream: Shared, version: bytes = b"HTTP/1.1", body: httpx.SyncByteStream | None = None) -> httpx.Response:
    return httpx.Response(
        200,
        stream=body or Reading(stream),
        request=httpx.Request("POST", "http://127.0.0.1", extensions={"timeout": {"read": 7.0, "write": 3.0}}),
        extensions={"http_version": version, "network_stream": stream},
    )


def events(made: httpx.Response, clock: EventClock) -> ResponseEvents:
    return ResponseEvents(made, clock, max_event_bytes=1000)


def stopped(limit: float) -> EventClock:
    """A clock that stands still."""
    return EventClock(Timeouts(first_event=limit, idle=limit), now=lambda: 0.0)


def test_a_connection_that_has_gone_to_the_next_turn_is_bounded_by_that_one() -> None:
    stream = Shared()
    first, second = events(response(stream), stopped(10)), events(response(stream), stopped(20))
    next(first)
    next(second)
    # The first one lets go of the connection when the second has it already.
    first.finish()
    next(second)
    assert stream.timeouts == [10, 20, 0.02, 20]
    second.close()
    assert stream.read(1, timeout=5) == HELLO
    assert stream.timeouts[-1] == 5


def test_http_2_is_told_at_each_read_what_is_left_and_its_connection_is_not_broken_by_a_deadline() -> None:
    stream = Shared()
    now = 0.0
    clock = EventClock(Timeouts(first_event=10, idle=10), now=lambda: now)
    looked_up: list[float] = []

    class Frames(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            nonlocal now
            while True:
                # As httpcore does it: pings and other turns' frames come between those of this one.
                now += 4
                looked_up.append(made.request.extensions["timeout"].get("read"))
                if len(looked_up) == 2:
                    yield HELLO

    made = response(stream, b"HTTP/2", Frames())
    reading = events(made, clock)
    assert made.request.extensions["timeout"].get("write") == 3.0
    assert next(reading) == TextDelta(content="a")
    clock.event_arrived()
    with pytest.raises(DeadlinePassed, match=r"timeouts\.idle"):
        next(reading)
    assert looked_up == [6, 2, 6, 2]
    assert "read" not in vars(stream)
    reading.close()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_in_a_forked_process_a_stream_is_neither_read_nor_shut_down(
    monkeypatch: pytest.MonkeyPatch, pair: tuple[socket.socket, socket.socket]
) -> None:
    class Owned(Shared):
        def get_extra_info(self, name: str) -> object:
            return pair[0]

    reading = events(response(Owned()), stopped(10))
    with monkeypatch.context() as child:
        child.setattr(os, "getpid", lambda: -1)
        with pytest.raises(ConfigurationError, match="forked"):
            next(reading)
        reading.close()
    pair[1].sendall(b"still open")
    assert pair[0].recv(100) == b"still open"


async def test_a_second_cancellation_while_the_first_one_closes_leaves_no_socket_behind() -> None:
    left = threading.Semaphore(0)

    def stream(_: Request, connection: Connection) -> None:
        connection.start_stream()
        connection.events(TextDelta(content="a"))
        connection.wait_until_closed()
        left.release()

    with WireServer() as wire, LlamaCloudChat(api_key="k", base_url=wire.url) as chat:
        wire.on("POST", "/messages/stream", stream)

        async def read(reading: asyncio.Event) -> None:
            async with chat.aio.stream("ses-1", "q", index_ids=["i"]) as opened:
                async for _ in opened:
                    reading.set()

        # The second one comes ever later in the course of the clean-up.
        for steps in range(8):
            reading = asyncio.Event()
            task = asyncio.create_task(read(reading))
            await reading.wait()
            await asyncio.sleep(0)
            task.cancel()
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await asyncio.to_thread(left.acquire, timeout=30), steps
        assert len(wire.posts()) == 8
        await chat.aio.close()


async def test_many_tasks_take_turns_on_few_connections_and_keep_their_own_deadlines() -> None:
    def echo(request: Request, connection: Connection) -> None:
        connection.start_stream()
        connection.events(TextDelta(content=request.json["prompt"]), Stop(usage=Usage(), is_error=False))
        connection.end_stream()

    with WireServer() as wire:
        wire.on("POST", "/messages/stream", echo)
        async with httpx.AsyncClient(limits=httpx.Limits(max_connections=2)) as http:
            chat = LlamaCloudChat(
                api_key="k",
                base_url=wire.url,
                async_http_client=http,
                timeouts=Timeouts(connect=60, first_event=60, recovery=0),
            ).aio

            async def turn(number: int) -> str:
                return (await chat.stream(f"ses-{number}", f"q{number}", index_ids=["i"]).result()).text

            assert await asyncio.gather(*map(turn, range(60))) == [f"q{number}" for number in range(60)]
        assert len(wire.posts()) == 60
