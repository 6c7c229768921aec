"""What one turn does to a connection is nothing to the next one on it, nor to those beside it."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import threading
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from chat_sessions import ConfigurationError, LlamaCloudChat, Stop, TextDelta, Timeouts, Usage
from chat_sessions.core.events import dump_event
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


class SlowToEnd(httpx.AsyncByteStream):
    """One turn, there at once, whose pool cleans up for as long as the test likes."""

    def __init__(self) -> None:
        self.may_end = asyncio.Event()
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def answer(self, request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(404)
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=self)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for event in (TextDelta(content="a"), Stop(usage=Usage(), is_error=False)):
            yield b"data: " + json.dumps(dump_event(event)).encode() + b"\n\n"

    async def aclose(self) -> None:
        try:
            await self.may_end.wait()
        except asyncio.CancelledError:
            self.ended.set_result("cancelled")
            raise
        self.ended.set_result("whole")


async def test_a_pool_that_is_slow_to_take_its_connection_back_is_neither_cut_short_nor_waited_for() -> None:
    body = SlowToEnd()
    async with httpx.AsyncClient(transport=httpx.MockTransport(body.answer)) as http:
        chat = LlamaCloudChat(api_key="k", async_http_client=http).aio
        assert (await chat.stream("ses-1", "q", index_ids=["i"]).result()).text == "a"
        body.may_end.set()
        assert await body.ended == "whole"
