"""Event loops and threads: one client in many of them, and a stream that is taken from one loop to another."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import httpx
import pytest
import uvloop

from chat_sessions import AsyncTurnStream, ConfigurationError, LlamaCloudChat, Stop, TextDelta, Timeouts, Usage
from tests.faces import do
from tests.wire_server import Connection, Request, WireServer

STOP = Stop(usage=Usage(), is_error=False)
PATIENCE = 60


@pytest.fixture
def wire() -> Iterator[WireServer]:
    with WireServer() as made:
        yield made


@pytest.fixture
def left(wire: WireServer) -> threading.Event:
    """Set when a client has left a stream of one event."""
    gone = threading.Event()

    def stream(_: Request, connection: Connection) -> None:
        connection.start_stream()
        connection.events(TextDelta(content="Hel"))
        connection.wait_until_closed()
        gone.set()

    wire.on("POST", "/messages/stream", stream)
    return gone


@pytest.fixture
def chat(wire: WireServer) -> Iterator[LlamaCloudChat]:
    with LlamaCloudChat(api_key="k", base_url=wire.url, index_ids=["i"], timeouts=Timeouts(recovery=0)) as made:
        yield made


async def first_of(chat: LlamaCloudChat) -> AsyncTurnStream:
    stream = chat.aio.stream("ses-1", "q", index_ids=["i"])
    assert await anext(stream) == TextDelta(content="Hel")
    return stream


async def read_on(stream: AsyncTurnStream) -> None:
    await anext(stream)


def test_a_stream_that_is_read_in_another_loop_says_so_and_is_closed(
    chat: LlamaCloudChat, left: threading.Event
) -> None:
    stream = asyncio.run(first_of(chat))
    with pytest.raises(ConfigurationError, match="opened in another event loop"):
        asyncio.run(read_on(stream))
    assert stream.is_closed
    assert left.wait(PATIENCE)


async def test_a_stream_that_is_read_in_another_threads_loop_is_closed_by_its_own(
    chat: LlamaCloudChat, left: threading.Event
) -> None:
    stream = await first_of(chat)
    with pytest.raises(ConfigurationError, match="opened in another event loop"):
        await asyncio.to_thread(asyncio.run, read_on(stream))
    assert stream.is_closed
    assert await asyncio.to_thread(left.wait, PATIENCE)


def test_a_stream_can_be_closed_in_another_loop(chat: LlamaCloudChat, left: threading.Event) -> None:
    stream = asyncio.run(first_of(chat))
    asyncio.run(stream.close())
    assert stream.is_closed
    assert left.wait(PATIENCE)


def test_after_a_loop_was_closed_with_an_open_stream_the_client_works_in_the_next(
    chat: LlamaCloudChat, left: threading.Event, wire: WireServer
) -> None:
    asyncio.run(first_of(chat))
    assert left.wait(PATIENCE)
    wire.on("POST", "/messages/stream", hello)
    for _ in range(2):
        assert asyncio.run(ask(chat, "ses-2")) == "Hello"


async def leave_by_break(chat: LlamaCloudChat) -> None:
    async for _ in chat.aio.stream("ses-1", "q", index_ids=["i"]):
        break


async def leave_by_return(chat: LlamaCloudChat) -> None:
    async for _ in chat.aio.stream("ses-1", "q", index_ids=["i"]):
        return


async def leave_by_an_error(chat: LlamaCloudChat) -> None:
    with suppress(ZeroDivisionError):
        await divide_by_zero(chat)


async def divide_by_zero(chat: LlamaCloudChat) -> None:
    async for _ in chat.aio.stream("ses-1", "q", index_ids=["i"]):
        raise ZeroDivisionError


async def leave_in_a_cycle(chat: LlamaCloudChat) -> None:
    cycle: list[object] = [await first_of(chat)]
    cycle.append(cycle)
    del cycle
    gc.collect()


LEAVE = [leave_by_break, leave_by_return, leave_by_an_error, leave_in_a_cycle]
LOOPS = [asyncio.new_event_loop, uvloop.new_event_loop]


@pytest.mark.parametrize("leave", LEAVE)
@pytest.mark.parametrize("make_loop", LOOPS, ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("connections", ["own", "given"])
def test_a_stream_that_is_left_without_a_block_as_its_loop_ends_closes_its_socket(
    wire: WireServer, left: threading.Event, leave: Any, make_loop: Any, connections: str
) -> None:
    chat = LlamaCloudChat(
        api_key="k",
        base_url=wire.url,
        timeouts=Timeouts(recovery=0),
        async_http_client=httpx.AsyncClient if connections == "given" else None,
    )
    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(leave(chat))
    assert left.wait(PATIENCE)


@pytest.mark.parametrize("make_loop", LOOPS, ids=["asyncio", "uvloop"])
def test_a_stream_that_is_dropped_after_its_loop_has_stopped_closes_its_socket(
    chat: LlamaCloudChat, left: threading.Event, make_loop: Any
) -> None:
    loop = make_loop()
    stream = loop.run_until_complete(first_of(chat))
    del stream
    assert left.wait(PATIENCE)
    loop.close()


async def test_a_stream_that_is_left_without_a_block_leaves_the_others_alone(
    chat: LlamaCloudChat, wire: WireServer, left: threading.Event
) -> None:
    await leave_by_break(chat)
    go_on = threading.Event()

    def held(_: Request, connection: Connection) -> None:
        connection.start_stream()
        connection.events(TextDelta(content="Hel"))
        assert go_on.wait(PATIENCE)
        connection.events(TextDelta(content="lo"), STOP)
        connection.end_stream()

    assert await asyncio.to_thread(left.wait, PATIENCE)
    wire.on("POST", "/messages/stream", held)
    other = chat.aio.stream("ses-2", "q", index_ids=["i"])
    await anext(other)
    await leave_by_break(chat)
    go_on.set()
    assert (await other.result()).text == "Hello"
    await chat.aio.close()


def test_a_read_that_is_dropped_with_its_loop_ends_without_a_word(chat: LlamaCloudChat, left: threading.Event) -> None:
    loop = asyncio.new_event_loop()
    stream = loop.run_until_complete(first_of(chat))
    task = loop.create_task(read_on(stream))
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    del task, stream, loop
    asyncio.run(chat.aio.close())
    # What is raised while it is dropped would be a warning, and fail the test.
    gc.collect()
    assert left.wait(PATIENCE)


@pytest.mark.parametrize("face", ["sync", "async"])
@pytest.mark.parametrize("is_open", [True, False])
async def test_a_second_reader_of_a_stream_is_refused_and_the_first_reads_on(
    chat: LlamaCloudChat, wire: WireServer, face: str, is_open: bool
) -> None:
    go_on = threading.Event()

    def held(_: Request, connection: Connection) -> None:
        connection.start_stream()
        assert go_on.wait(PATIENCE)
        connection.events(TextDelta(content="Hel"), TextDelta(content="lo"), STOP)
        connection.end_stream()

    wire.on("POST", "/messages/stream", held)
    client: Any = chat if face == "sync" else chat.aio
    stream = client.stream("ses-1", "q", index_ids=["i"], baseline=False)
    if is_open:
        await do(stream.open())

    async def text() -> str:
        if face == "sync":
            return await asyncio.to_thread(lambda: "".join(stream.text_deltas()))
        return "".join([piece async for piece in stream.text_deltas()])

    readers = [asyncio.create_task(text()) for _ in range(2)]
    refused, reading = await asyncio.wait(readers, timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
    with pytest.raises(ConfigurationError, match="another thread or task is already waiting"):
        await refused.pop()
    go_on.set()
    assert await reading.pop() == "Hello"
    assert stream.turn.text == "Hello"


def hello(request: Request, connection: Connection) -> None:
    connection.start_stream()
    connection.events(TextDelta(content="Hel"), TextDelta(content="lo"), STOP)
    connection.end_stream()


async def ask(chat: LlamaCloudChat, session_id: str) -> str:
    return (await chat.aio.stream(session_id, "q", index_ids=["i"]).result()).text


def test_one_client_serves_many_threads_and_each_has_its_own_answer(chat: LlamaCloudChat, wire: WireServer) -> None:
    def echo(request: Request, connection: Connection) -> None:
        connection.start_stream()
        for letter in request.json["prompt"]:
            connection.events(TextDelta(content=letter))
        connection.events(STOP)
        connection.end_stream()

    wire.on("POST", "/messages/stream", echo)

    def turn(number: int) -> tuple[int, str]:
        stream = chat.stream(f"ses-{number % 16}", f"question {number}", index_ids=["i"])
        return number, stream.result().text

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(turn, range(160))) == [(number, f"question {number}") for number in range(160)]
    assert len(wire.posts()) == 160


def test_a_notebook_runs_cells_of_either_kind_on_one_loop_that_goes_on(
    chat: LlamaCloudChat, left: threading.Event, wire: WireServer
) -> None:
    """As IPython does it: each cell is one `run_until_complete`, and plain code runs within the loop, too."""

    async def plain() -> str:
        # No await: a notebook's plain cell runs inside the running loop.
        return chat.stream("ses-1", "q", index_ids=["i"]).result().text

    async def interrupted() -> None:
        async with chat.aio.stream("ses-1", "q", index_ids=["i"]) as stream:
            await anext(stream)
            raise KeyboardInterrupt

    loop = asyncio.new_event_loop()
    try:
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(interrupted())
        wire.on("POST", "/messages/stream", hello)
        for _ in range(2):
            assert loop.run_until_complete(plain()) == "Hello"
            assert loop.run_until_complete(ask(chat, "ses-1")) == "Hello"
        assert left.wait(PATIENCE)
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()
