"""Turns on one session are streamed one after the other."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable

import pytest

from chat_sessions import ChatSession, ConfigurationError, LlamaCloudChat, Turn
from chat_sessions.session import turn_queue
from chat_sessions.session.turn_queue import TurnSlot
from tests.faces import AnyChat, do, entered, every
from tests.session.streams.service import HELLO, SUMMARY, in_one_read, service, stream_of
from tests.session.test_turn_queue import until_waiting
from tests.wire_server import Connection, Request, WireServer

__all__ = ["service"]


async def test_a_task_that_took_what_had_come_already_may_not_wait_for_the_turn(
    sync_chat: LlamaCloudChat, wire: WireServer
) -> None:
    def handle(_: Request, connection: Connection) -> None:
        connection.start_stream()
        connection.chunk(in_one_read(*HELLO[:2]))
        connection.wait_until_closed()

    wire.on("POST", "/messages/stream", handle)
    stream = sync_chat.session("ses-1", index_ids=["idx-1"], baseline=False).stream("one")

    async def begins() -> None:
        stream.open()
        next(stream)

    async def goes_on() -> None:
        next(stream)
        await sync_chat.aio.session("ses-1", index_ids=["idx-1"], baseline=False).ask("two")

    await asyncio.create_task(begins())
    with pytest.raises(ConfigurationError, match="whose reader cannot continue until this call ends"):
        await asyncio.wait_for(goes_on(), 5)
    stream.close()


async def test_a_second_turn_on_a_session_begins_when_the_first_has_ended(
    sync_chat: LlamaCloudChat, wire: WireServer
) -> None:
    first_is_open, may_end = threading.Event(), threading.Event()
    order: list[str] = []

    def first(_: Request, connection: Connection) -> None:
        connection.start_stream()
        connection.events(HELLO[0])
        assert may_end.wait(10)
        order.append("first ends")
        connection.events(*HELLO[1:])
        connection.end_stream()

    def second(request: Request, connection: Connection) -> None:
        order.append("second begins")
        stream_of(*HELLO)(request, connection)

    wire.on("POST", "/messages/stream", first, second)

    def sync_turn() -> None:
        with sync_chat.stream("ses-1", "one", index_ids=["idx-1"]) as stream:
            next(stream)
            first_is_open.set()
            stream.result()

    thread = threading.Thread(target=sync_turn)
    thread.start()
    await asyncio.to_thread(first_is_open.wait, 10)
    task: asyncio.Task[Turn] = asyncio.create_task(
        do(sync_chat.aio.stream("ses-1", "two", index_ids=["idx-1"]).result())
    )
    other = await sync_chat.aio.get_summary("ses-1")
    assert (other.session_id, order) == ("ses-1", [])
    may_end.set()
    assert (await task).text == "Hello"
    await asyncio.to_thread(thread.join)
    assert order == ["first ends", "second begins"]


async def test_a_creation_that_takes_long_is_waited_for_and_makes_one_session(
    chat: AnyChat, wire: WireServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turn_queue, "_KEPT_UNREAD", 0.0)
    monkeypatch.setattr(turn_queue, "_LEFT_UNREAD", 0.0)
    is_creating, has_looked = threading.Event(), threading.Event()
    look = turn_queue._wait

    def noted(slot: TurnSlot, end: float, blocked: asyncio.AbstractEventLoop | None) -> float:
        wait = look(slot, end, blocked)
        if is_creating.is_set():
            has_looked.set()
        return wait

    def create(_: Request, connection: Connection) -> None:
        is_creating.set()
        assert has_looked.wait(10)
        connection.respond(201, SUMMARY)

    monkeypatch.setattr(turn_queue, "_wait", noted)
    wire.on("POST", "/api/v1/chat", create)
    session = chat.session(index_ids=["idx-1"])

    def creating() -> Awaitable[str]:
        return asyncio.to_thread(session.create) if isinstance(session, ChatSession) else session.create()

    first = asyncio.ensure_future(creating())
    await asyncio.to_thread(is_creating.wait, 10)
    assert await creating() == await first == "ses-1"
    assert len(wire.posts("/api/v1/chat")) == 1


async def test_waiting_for_ones_own_open_turn_is_an_error_and_no_deadlock(chat: AnyChat) -> None:
    async with entered(chat.stream("ses-1", "one", index_ids=["idx-1"])):
        with pytest.raises(ConfigurationError, match="still has an open turn"):
            await do(chat.stream("ses-1", "two", index_ids=["idx-1"]).open())
    assert (await do(chat.stream("ses-1", "two", index_ids=["idx-1"]).result())).text == "Hello"


async def test_a_stream_that_is_closed_before_its_turn_comes_sends_nothing(chat: AnyChat, wire: WireServer) -> None:
    unopened = chat.stream("ses-1", "zero", index_ids=["idx-1"])
    await do(unopened.close())
    assert await every(unopened) == []
    with pytest.raises(ConfigurationError, match="closed before it was opened"):
        await do(unopened.open())
    assert wire.posts() == []


async def test_a_stream_that_is_closed_while_it_waits_for_another_sends_nothing(
    sync_chat: LlamaCloudChat, wire: WireServer
) -> None:
    first = sync_chat.aio.stream("ses-1", "one", index_ids=["idx-1"])
    await first.open()
    second = sync_chat.aio.stream("ses-1", "two", index_ids=["idx-1"])
    waiting = asyncio.create_task(second.open())
    in_thread = sync_chat.stream("ses-1", "three", index_ids=["idx-1"])
    errors: list[BaseException] = []

    def wait_in_thread() -> None:
        try:
            in_thread.open()
        except ConfigurationError as error:
            errors.append(error)

    thread = threading.Thread(target=wait_in_thread)
    thread.start()
    await asyncio.to_thread(until_waiting, sync_chat.queue_key("ses-1"), 3)
    await second.close()
    in_thread.close()
    await first.result()
    with pytest.raises(ConfigurationError, match="nothing was sent"):
        await waiting
    await asyncio.to_thread(thread.join)
    assert "nothing was sent" in str(errors[0])
    assert [request.json["prompt"] for request in wire.posts()] == ["one"]
