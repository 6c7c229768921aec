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
from chat_sessions.http.lease import Lease
from tests.wire_server import Connection, Request, WireServer


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_in_a_forked_process_a_stream_is_neither_read_nor_shut_down(
    monkeypatch: pytest.MonkeyPatch, pair: tuple[socket.socket, socket.socket]
) -> None:
    class Owned:
        def get_extra_info(self, name: str) -> object:
            return pair[0]

    lease = Lease(httpx.Response(200, stream=httpx.ByteStream(b"unread"), extensions={"network_stream": Owned()}))
    lease.check()
    with monkeypatch.context() as child:
        child.setattr(os, "getpid", lambda: -1)
        with pytest.raises(ConfigurationError, match="forked"):
            lease.check()
        lease.close()
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
