"""Who reads a stream: one at a time, beside other tasks, until somebody closes it."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any, TypeAlias

import pytest

from chat_sessions import (
    AsyncLlamaCloudChat,
    AsyncTurnStream,
    ConfigurationError,
    Event,
    LlamaCloudChat,
    Stop,
    TextDelta,
    ThinkingDelta,
    TurnStream,
    Usage,
)
from chat_sessions.session import turn_queue
from tests.wire_server import Connection, Request, WireServer

FIRST, SECOND, STOP = TextDelta(content="one"), TextDelta(content="two"), Stop(usage=Usage(), is_error=False)
Within: TypeAlias = Callable[[Coroutine[Any, Any, Any]], Awaitable[Any]]
# For what would hang without what is tested.
_LONG = 20


class Halting:
    """A service that sends the first event, and the others when it may."""

    def __init__(self) -> None:
        self.first: Event = FIRST
        self.may_answer = threading.Event()
        self.may_go_on = threading.Event()

    def __call__(self, _: Request, connection: Connection) -> None:
        assert self.may_answer.wait(_LONG)
        connection.start_stream()
        connection.events(self.first)
        assert self.may_go_on.wait(_LONG)
        connection.events(SECOND, STOP)
        connection.end_stream()


@pytest.fixture
def service(wire: WireServer) -> Iterator[Halting]:
    halting = Halting()
    wire.on("POST", "/messages/stream", halting)
    yield halting
    halting.may_answer.set()
    halting.may_go_on.set()


@pytest.fixture
def chat(sync_chat: LlamaCloudChat) -> AsyncLlamaCloudChat:
    return sync_chat.aio


def streamed(chat: AsyncLlamaCloudChat) -> AsyncTurnStream:
    return chat.stream("ses-1", "q", index_ids=["i"], baseline=False)


async def test_a_task_that_reads_while_another_waits_is_refused_and_the_other_reads_on(
    chat: AsyncLlamaCloudChat, service: Halting
) -> None:
    service.may_answer.set()
    async with asyncio.timeout(_LONG), streamed(chat) as stream:
        assert await anext(stream) == FIRST
        waiting = asyncio.create_task(stream.next_update())
        other = asyncio.create_task(stream.next_update())
        await asyncio.wait((other,))
        assert isinstance(error := other.exception(), ConfigurationError)
        assert "another thread or task is already waiting for the next event" in str(error)
        service.may_go_on.set()
        assert await waiting == SECOND
        assert await anext(stream) == STOP


async def test_a_task_that_reads_while_another_sends_the_prompt_is_refused(
    chat: AsyncLlamaCloudChat, service: Halting
) -> None:
    stream = streamed(chat)
    async with asyncio.timeout(_LONG):
        sending = asyncio.create_task(stream.next_update())
        other = asyncio.create_task(stream.next_update())
        await asyncio.wait((other,))
        assert isinstance(other.exception(), ConfigurationError)
        service.may_answer.set()
        assert await sending == FIRST
    await stream.close()


async def test_a_task_may_not_wait_for_its_stream_that_a_job_has_opened_though_it_asked_for_nothing_before(
    sync_chat: LlamaCloudChat, service: Halting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turn_queue, "_LEFT_UNREAD", 1.0)
    service.may_answer.set()
    stream = sync_chat.stream("ses-1", "q", index_ids=["i"], baseline=False)
    assert await asyncio.to_thread(next, stream) == FIRST
    with pytest.raises(ConfigurationError, match="still has an open turn"):
        await asyncio.wait_for(streamed(sync_chat.aio).open(), _LONG)
    stream.close()


async def here(work: Coroutine[Any, Any, Any]) -> Any:
    return await work


async def in_a_task(work: Coroutine[Any, Any, Any]) -> Any:
    """As `asyncio.wait_for` does on Python 3.11."""
    return await asyncio.create_task(work)


async def in_a_task_of_a_task(work: Coroutine[Any, Any, Any]) -> Any:
    return await asyncio.create_task(in_a_task(work))


@pytest.mark.parametrize("asks", [here, in_a_task])
@pytest.mark.parametrize("reads", [in_a_task, in_a_task_of_a_task])
async def test_a_task_may_not_wait_for_its_stream_whose_events_tasks_of_its_own_have_read(
    chat: AsyncLlamaCloudChat, service: Halting, monkeypatch: pytest.MonkeyPatch, reads: Within, asks: Within
) -> None:
    monkeypatch.setattr(turn_queue, "_LEFT_UNREAD", 5.0)
    service.may_answer.set()
    stream = streamed(chat)
    async with asyncio.timeout(_LONG):
        assert await reads(stream.next_update()) == FIRST
        with pytest.raises(ConfigurationError, match="still has an open turn"):
            await asks(streamed(chat).open())
    await stream.close()


def test_a_thread_may_not_wait_for_its_stream_that_a_thread_which_has_ended_read(
    sync_chat: LlamaCloudChat, service: Halting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turn_queue, "_LEFT_UNREAD", 5.0)
    service.may_answer.set()
    stream = sync_chat.stream("ses-1", "q", index_ids=["i"], baseline=False)
    reader = threading.Thread(target=next, args=(stream,))
    reader.start()
    reader.join(_LONG)
    with pytest.raises(ConfigurationError, match="still has an open turn"):
        sync_chat.stream("ses-1", "q", index_ids=["i"], baseline=False).open()
    stream.close()


def test_of_two_threads_that_read_at_once_one_is_refused(sync_chat: LlamaCloudChat, service: Halting) -> None:
    service.may_answer.set()
    found: list[Event | None] = []
    refused: list[ConfigurationError] = []

    def read(stream: TurnStream) -> None:
        try:
            found.append(next(stream))
        except ConfigurationError as error:
            refused.append(error)
            service.may_go_on.set()

    with sync_chat.stream("ses-1", "q", index_ids=["i"], baseline=False) as stream:
        assert next(stream) == FIRST
        threads = [threading.Thread(target=read, args=(stream,)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(_LONG)
        assert found == [SECOND]
        assert len(refused) == 1
        assert next(stream) == STOP


@pytest.mark.parametrize(
    ("where", "first"),
    [
        # Words are their own event.
        ("turn_stream.event_of", ThinkingDelta(content="one")),
        ("turn_queue.TurnSlot.note_read", FIRST),
        ("turn_queue.TurnSlot.end_read", FIRST),
    ],
)
def test_a_reader_that_is_interrupted_with_an_event_in_hand_gets_no_later_one(
    sync_chat: LlamaCloudChat, service: Halting, monkeypatch: pytest.MonkeyPatch, where: str, first: Event
) -> None:
    def interrupt(_: object) -> None:
        patched.undo()
        raise KeyboardInterrupt

    service.first = first
    service.may_answer.set()
    service.may_go_on.set()
    with sync_chat.stream("ses-1", "q", index_ids=["i"], baseline=False) as stream:
        with monkeypatch.context() as patched:
            patched.setattr(f"chat_sessions.session.{where}", interrupt)
            with pytest.raises(KeyboardInterrupt):
                next(stream)
        # What waits in front of the gap may come, nothing behind it.
        assert list(stream) in ([], [first])
        assert stream.is_closed


async def test_a_stream_that_another_task_closes_is_not_called_broken(
    chat: AsyncLlamaCloudChat, service: Halting, caplog: pytest.LogCaptureFixture
) -> None:
    service.may_answer.set()
    has_one = asyncio.Event()
    found: list[Event] = []

    async def read(stream: AsyncTurnStream) -> None:
        async for event in stream:
            found.append(event)
            has_one.set()

    with caplog.at_level(logging.INFO, "chat_sessions"):
        async with asyncio.timeout(_LONG), streamed(chat) as stream:
            reading = asyncio.create_task(read(stream))
            await has_one.wait()
            await stream.close()
            await reading
    assert found == [FIRST]
    assert not caplog.records
    assert not stream.is_recovering


async def test_other_tasks_go_on_beside_a_stream_that_has_always_more(
    chat: AsyncLlamaCloudChat, wire: WireServer
) -> None:
    count = 3_000
    has_sent = threading.Event()

    def handle(_: Request, connection: Connection) -> None:
        connection.start_stream()
        connection.events(*[FIRST] * count, STOP)
        has_sent.set()
        connection.end_stream()

    seen: list[int] = []
    found = 0

    async def look() -> None:
        while True:
            seen.append(found)
            await asyncio.sleep(0)

    wire.on("POST", "/messages/stream", handle)
    async with asyncio.timeout(_LONG), streamed(chat) as stream:
        await asyncio.to_thread(has_sent.wait, _LONG)
        looking = asyncio.create_task(look())
        async for _ in stream:
            found += 1
        looking.cancel()
    assert found == count + 1
    # At each few hundred events.
    assert len({number for number in seen if 0 < number <= count}) >= 3
