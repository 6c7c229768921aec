"""A stream that is left, closed, dropped or cancelled keeps no socket, no task and no session."""

from __future__ import annotations

import asyncio
import copy
import gc
import pickle
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import stamina

from chat_sessions import (
    AsyncTurnStream,
    ConfigurationError,
    Event,
    LlamaCloudChat,
    Text,
    Timeouts,
    TurnOutcomeUnknown,
    TurnStream,
    UserInput,
)
from chat_sessions.http.event_response import EventResponse
from chat_sessions.session.backend import TurnRequest
from chat_sessions.session.deadlines import EventClock
from chat_sessions.session.stored.turn_count import TurnCount
from chat_sessions.session.turn_state import PreparedTurn
from tests.faces import AnyChat, AnyStream, do, entered, every, some
from tests.session.streams.service import (
    HELLO,
    STOP,
    break_off,
    client,
    history_of,
    in_one_read,
    refuse,
    service,
    stream_of,
)
from tests.session.test_turn_queue import until_waiting
from tests.wire_server import Connection, Request, WireServer

__all__ = ["service"]


@pytest.mark.parametrize("way", ["break", "error"])
async def test_leaving_the_block_early_closes_the_socket(chat: AnyChat, wire: WireServer, way: str) -> None:
    closed = threading.Event()

    def handle(_: Request, connection: Connection) -> None:
        connection.start_stream()
        connection.events(HELLO[0])
        connection.wait_until_closed()
        closed.set()

    wire.on("POST", "/messages/stream", handle)
    try:
        async with entered(chat.stream("ses-1", "q", index_ids=["idx-1"])) as stream:
            async for _ in some(stream):
                if way == "error":
                    raise KeyError(way)
                break
    except KeyError:
        pass
    assert stream.is_closed
    assert closed.wait(10)
    assert await every(stream) == []
    with pytest.raises(ConfigurationError, match="closed before its turn ended"):
        await do(stream.result())


async def test_cancelling_the_task_that_reads_closes_the_socket(sync_chat: LlamaCloudChat, wire: WireServer) -> None:
    closed = threading.Event()

    def handle(_: Request, connection: Connection) -> None:
        connection.start_stream()
        connection.events(HELLO[0])
        connection.wait_until_closed()
        closed.set()

    wire.on("POST", "/messages/stream", handle)
    reading = asyncio.Event()

    async def read() -> None:
        async with sync_chat.aio.stream("ses-1", "q", index_ids=["idx-1"]) as stream:
            async for _ in stream:
                reading.set()

    task = asyncio.create_task(read())
    await reading.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(closed.wait, 10)
    assert (await sync_chat.aio.get_summary("ses-1")).session_id == "ses-1"


async def test_a_stream_that_is_closed_gives_out_nothing_of_what_has_come(chat: AnyChat, wire: WireServer) -> None:
    def handle(_: Request, connection: Connection) -> None:
        connection.start_stream()
        connection.chunk(in_one_read(*HELLO))
        connection.wait_until_closed()

    wire.on("POST", "/messages/stream", handle)
    async with entered(chat.stream("ses-1", "q", index_ids=["idx-1"], baseline=False)) as stream:
        assert await do(stream.next_update()) == HELLO[0]
        await do(stream.close())
        assert stream.take() is None
        assert await do(stream.next_update()) is None
        assert stream.turn.text == "Hel"


async def test_a_stream_that_is_closed_before_its_answer_begins_is_left_at_the_service_and_the_next_is_answered(
    chat: AnyChat, wire: WireServer
) -> None:
    came, left = threading.Event(), threading.Event()

    def silent(_: Request, connection: Connection) -> None:
        came.set()
        connection.wait_until_closed()
        left.set()

    wire.on("POST", "/messages/stream", silent, stream_of(*HELLO))
    session = chat.session("ses-1", index_ids=["idx-1"], baseline=False)
    stream = session.stream("q")
    opening = asyncio.create_task(asyncio.to_thread(stream.open) if isinstance(stream, TurnStream) else stream.open())
    assert await asyncio.to_thread(came.wait, 10)
    await do(stream.close())
    assert await asyncio.to_thread(left.wait, 10)
    await asyncio.wait([opening])
    assert (await do(session.ask("another"))).text == "Hello"
    assert [request.json["prompt"] for request in wire.posts()] == ["q", "another"]


def test_a_stream_that_is_interrupted_between_two_events_gives_out_no_more(
    sync_chat: LlamaCloudChat, wire: WireServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def handle(_: Request, connection: Connection) -> None:
        connection.start_stream()
        connection.chunk(in_one_read(*HELLO))
        connection.wait_until_closed()

    def interrupt(self: object) -> Event | None:
        raise KeyboardInterrupt

    wire.on("POST", "/messages/stream", handle)
    with sync_chat.stream("ses-1", "q", index_ids=["idx-1"], baseline=False) as stream:
        assert next(stream) == HELLO[0]
        with monkeypatch.context() as patched:
            patched.setattr(EventResponse, "ready_event", interrupt)
            with pytest.raises(KeyboardInterrupt):
                next(stream)
        assert list(stream) == []


async def test_a_stream_that_was_dropped_blocks_no_session_and_keeps_no_connection(
    chat: AnyChat, wire: WireServer
) -> None:
    closed = threading.Semaphore(0)

    def handle(_: Request, connection: Connection) -> None:
        connection.start_stream()
        connection.events(HELLO[0])
        connection.wait_until_closed()
        closed.release()

    for is_read in (True, False):
        wire.on("POST", "/messages/stream", handle)
        stream = chat.stream("ses-1", "one", index_ids=["idx-1"])
        await do(stream.open())
        if is_read:
            async for _ in some(stream):
                break
        del stream
        gc.collect()
        assert await asyncio.to_thread(closed.acquire, timeout=10)
    wire.on("POST", "/messages/stream", stream_of(*HELLO))
    assert (await do(chat.stream("ses-1", "two", index_ids=["idx-1"]).result())).text == "Hello"


@pytest.mark.parametrize("way", [pickle.dumps, copy.deepcopy, copy.copy])
async def test_a_stream_cannot_be_copied_or_pickled_and_goes_on(
    chat: AnyChat, way: Callable[[object], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    ignored: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", ignored.append)
    stream = chat.stream("ses-1", "one", index_ids=["idx-1"])
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=r"cannot be copied or pickled.*take its \.turn"):
            way(stream)
        gc.collect()
        await do(stream.open())
    assert (await do(stream.result())).text == "Hello"
    assert way(await do(stream.result())) is not None
    assert ignored == []


def test_a_stream_that_could_not_be_made_is_dropped_quietly(monkeypatch: pytest.MonkeyPatch) -> None:
    ignored: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", ignored.append)
    made: Any = TurnStream
    with pytest.raises(TypeError, match="missing"):
        made()
    gc.collect()
    assert ignored == []


async def test_a_stream_in_the_frame_of_an_error_that_the_frame_keeps_blocks_no_session(
    chat: AnyChat, wire: WireServer
) -> None:
    """Such a cycle lives until the garbage collector comes."""
    wire.on("POST", "/messages/stream", stream_of(HELLO[0], then=Connection.wait_until_closed), stream_of(*HELLO))

    async def leave() -> None:
        stream = chat.stream("ses-1", "one", index_ids=["idx-1"])
        await do(stream.open())
        try:
            raise ValueError
        except ValueError as error:
            kept = error
        assert kept.__traceback__ is not None

    gc.disable()
    try:
        await leave()
        assert (await do(chat.stream("ses-1", "two", index_ids=["idx-1"]).result())).text == "Hello"
    finally:
        gc.enable()


async def test_a_stream_that_was_dropped_is_counted(wire: WireServer) -> None:
    wire.on("POST", "/messages/stream", stream_of(HELLO[0], then=Connection.wait_until_closed), break_off)
    with client(wire, recovery=0.6) as made:
        session = made.session(index_ids=["idx-1"])
        stream = session.stream("q").open()
        assert next(stream) == HELLO[0]
        del stream
        gc.collect()
        wire.on("POST", "/messages/stream", break_off)
        wire.on("GET", "/ses-1", history_of(UserInput(content="q"), Text(content="of the first"), STOP))
        with pytest.raises(TurnOutcomeUnknown):
            session.ask("q")


async def test_the_task_that_left_an_async_generator_may_ask_for_the_next_turn_at_once(
    sync_chat: LlamaCloudChat, wire: WireServer
) -> None:
    wire.on("POST", "/messages/stream", stream_of(*HELLO[:2], then=Connection.wait_until_closed), stream_of(*HELLO))
    session = sync_chat.aio.session(index_ids=["idx-1"])

    async def shouted(deltas: AsyncIterator[str]) -> AsyncIterator[str]:
        async for delta in deltas:
            yield delta.upper()

    async def twice(deltas: AsyncIterator[str]) -> AsyncIterator[str]:
        async for delta in deltas:
            yield delta * 2

    async for delta in twice(shouted(session.stream("q").text_deltas())):
        assert delta == "HELHEL"
        break
    # The event loop closes what was left: nothing here waits for that.
    assert (await session.ask("again")).text == "Hello"


async def test_leaving_a_stream_leaves_no_task_behind(sync_chat: LlamaCloudChat, wire: WireServer) -> None:
    wire.on("POST", "/messages/stream", stream_of(HELLO[0], then=Connection.wait_until_closed))
    before = asyncio.all_tasks()
    async with sync_chat.aio.stream("ses-1", "q", index_ids=["idx-1"]) as stream:
        assert await anext(stream) == HELLO[0]
    assert asyncio.all_tasks() == before


class SlowToClose:
    """A service whose connections take as long to close as the test likes."""

    def __init__(self) -> None:
        self.may_close = asyncio.Event()
        self.posted: list[str] = []

    async def open_turn(self, request: TurnRequest, clock: EventClock) -> SlowToClose:
        self.posted.append(request.prompt)
        return self

    async def read_back(self, session_id: str, *, timeout: float | None) -> list[Event]:
        raise AssertionError("nothing broke")

    async def __anext__(self) -> Event:
        return STOP if self.posted[-1] == "two" else HELLO[0]

    def ready_event(self) -> Event | None:
        return None

    async def finish(self) -> None:
        pass

    async def close(self) -> None:
        await self.may_close.wait()


async def test_the_task_that_read_a_stream_waits_for_the_task_that_closes_it() -> None:
    service = SlowToClose()

    async def prepare(prompt: str) -> PreparedTurn:
        return PreparedTurn(TurnRequest("ses-slow", prompt, ("idx-1",)), ("slow", "ses-slow"), TurnCount())

    first = AsyncTurnStream(service, lambda: prepare("one"), prompt="one", timeouts=Timeouts())
    assert await anext(first) == HELLO[0]
    closing = asyncio.create_task(first.close())

    async def let_it_close() -> None:
        await asyncio.to_thread(until_waiting, ("slow", "ses-slow"), 2)
        service.may_close.set()

    letting = asyncio.create_task(let_it_close())
    second = AsyncTurnStream(service, lambda: prepare("two"), prompt="two", timeouts=Timeouts())
    assert (await second.result()).is_complete
    await asyncio.gather(closing, letting)
    assert service.posted == ["one", "two"]


async def test_the_task_that_abandons_a_stream_waits_for_its_closing(chat: AnyChat, wire: WireServer) -> None:
    wire.on("POST", "/messages/stream", stream_of(HELLO[0], then=Connection.wait_until_closed), stream_of(*HELLO))
    stream: AnyStream = chat.stream("ses-1", "one", index_ids=["idx-1"])
    stream.abandon()
    await do(stream.open())
    stream.abandon()

    def close() -> None:
        until_waiting(chat.queue_key("ses-1"), 2)
        if isinstance(stream, TurnStream):
            stream.close()
        else:
            loop.call_soon_threadsafe(lambda: closing.append(loop.create_task(stream.close())))

    loop = asyncio.get_running_loop()
    closing: list[asyncio.Task[None]] = []
    thread = threading.Thread(target=close)
    thread.start()
    assert (await do(chat.stream("ses-1", "two", index_ids=["idx-1"]).result())).text == "Hello"
    await asyncio.gather(*closing)
    thread.join()


@pytest.fixture
def retries() -> Iterator[list[Callable[[], None]]]:
    """What is called when an attempt has failed, before the wait for the next one."""
    called: list[Callable[[], None]] = []
    before = stamina.instrumentation.get_on_retry_hooks()
    stamina.instrumentation.set_on_retry_hooks([lambda _: called[-1]()])
    yield called
    stamina.instrumentation.set_on_retry_hooks(before)


def test_a_stream_that_is_closed_while_it_waits_to_try_again_says_that_nothing_was_sent(
    sync_chat: LlamaCloudChat, wire: WireServer, retries: list[Callable[[], None]]
) -> None:
    wire.on("POST", "/messages/stream", refuse(429, retry_after="0"), stream_of(*HELLO))
    stream = sync_chat.stream("ses-1", "q", index_ids=["idx-1"])
    retries.append(stream.close)
    with pytest.raises(ConfigurationError, match="nothing was sent"):
        stream.open()
    assert len(wire.posts()) == 1


async def test_an_async_stream_that_is_closed_while_it_waits_to_try_again_says_that_nothing_was_sent(
    sync_chat: LlamaCloudChat, wire: WireServer, retries: list[Callable[[], None]]
) -> None:
    wire.on("POST", "/messages/stream", refuse(429, retry_after="0.01"), stream_of(*HELLO))
    stream = sync_chat.aio.stream("ses-1", "q", index_ids=["idx-1"])
    closing: list[asyncio.Task[None]] = []
    retries.append(lambda: closing.append(asyncio.ensure_future(stream.close())))
    with pytest.raises(ConfigurationError, match="nothing was sent"):
        await stream.open()
    await asyncio.gather(*closing)
    assert len(wire.posts()) == 1
