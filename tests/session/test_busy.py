"""A turn that was left early is not in the way: the next one waits for its end, and is sent again."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import weakref

import pytest

from chat_sessions import (
    ConfigurationError,
    ConflictError,
    Event,
    Text,
    TextDelta,
    Turn,
    TurnOutcomeUnknown,
    UserInput,
)
from chat_sessions.core.turn import replay
from chat_sessions.session.stored import busy
from chat_sessions.session.stored.busy import Busy
from tests.faces import AnyChat, do, entered, first
from tests.session.streams.service import (
    HELLO,
    STOP,
    both,
    break_off,
    client,
    history_of,
    refuse,
    service,
    stream_of,
)
from tests.wire_server import Connection, Request, WireServer

__all__ = ["service"]

RUNNING: tuple[Event, ...] = (UserInput(content="left"), TextDelta(content="a"))
ENDED: tuple[Event, ...] = (UserInput(content="left"), Text(content="all"), STOP)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(busy, "_FIRST_WAIT", 0.001)
    monkeypatch.setattr(busy, "_LONGEST_WAIT", 0.002)


async def leave(chat: AnyChat, wire: WireServer) -> None:
    """Leave a turn of ses-1 after its first event."""
    wire.on("POST", "/messages/stream", stream_of(HELLO[0], then=Connection.wait_until_closed))
    async with entered(chat.stream("ses-1", "left", index_ids=["idx-1"])) as stream:
        await first(1, stream)


async def test_the_turn_after_one_that_was_left_waits_for_its_end_and_is_sent_again(
    chat: AnyChat, wire: WireServer
) -> None:
    await leave(chat, wire)
    wire.on("POST", "/messages/stream", refuse(409), refuse(409), stream_of(*HELLO))
    wire.on("GET", "/ses-1", history_of(*RUNNING), history_of(*RUNNING), history_of(*ENDED))
    assert (await do(chat.stream("ses-1", "next", index_ids=["idx-1"]).result())).text == "Hello"
    assert [request.json["prompt"] for request in wire.posts()] == ["left", "next", "next", "next"]


async def test_a_busy_session_is_waited_for_though_another_process_runs_its_turn(
    chat: AnyChat, wire: WireServer
) -> None:
    wire.on("POST", "/messages/stream", refuse(409), stream_of(*HELLO))
    wire.on("GET", "/ses-1", history_of(*RUNNING), history_of(*RUNNING), history_of(*ENDED))
    assert (await do(chat.stream("ses-1", "next", index_ids=["idx-1"]).result())).text == "Hello"


async def test_a_stream_that_was_refused_at_first_goes_as_soon_as_it_is_dropped(
    chat: AnyChat, wire: WireServer
) -> None:
    wire.on("POST", "/messages/stream", refuse(409), stream_of(HELLO[0], then=Connection.wait_until_closed))
    wire.on("GET", "/ses-1", history_of(*RUNNING), history_of(*RUNNING), history_of(*ENDED))
    gc.disable()
    try:
        stream = chat.stream("ses-1", "next", index_ids=["idx-1"])
        await do(stream.open())
        known = weakref.ref(stream)
        del stream
        assert known() is None
    finally:
        gc.enable()


async def test_the_log_says_once_that_a_busy_session_is_waited_for_and_quotes_nobody(
    chat: AnyChat, wire: WireServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "chat_sessions.session")
    await leave(chat, wire)
    wire.on("POST", "/messages/stream", refuse(409), refuse(409), stream_of(*HELLO))
    wire.on("GET", "/ses-1", history_of(*RUNNING), history_of(*RUNNING), history_of(*ENDED))
    await do(chat.stream("ses-1", "next", index_ids=["idx-1"], wait_if_busy=30).result())
    (line,) = [record.getMessage() for record in caplog.records if record.name == "chat_sessions.session"]
    assert line == "session ses-1 is still answering an earlier question; this one waits for that, for up to 30 s"


async def test_nothing_is_logged_of_a_wait_that_does_not_begin(
    chat: AnyChat, wire: WireServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "chat_sessions.session")
    wire.on("POST", "/messages/stream", refuse(409))
    wire.on("GET", "/ses-1", history_of(*ENDED))
    with pytest.raises(ConflictError):
        await do(chat.stream("ses-1", "next", index_ids=["idx-1"]).result())
    assert [record for record in caplog.records if record.name == "chat_sessions.session"] == []


@pytest.mark.parametrize(("timeouts", "wait", "limit"), [({}, 0.05, "0.05"), ({"total": 2.0}, True, "2")])
async def test_the_error_says_which_turn_was_waited_for_and_how_long(
    wire: WireServer, timeouts: dict[str, float], wait: bool | float, limit: str
) -> None:
    with client(wire, **timeouts) as made:
        for chat in both(made):
            await leave(chat, wire)
            wire.on("POST", "/messages/stream", refuse(409))
            wire.on("GET", "/ses-1", history_of(*RUNNING))
            with pytest.raises(
                ConflictError, match=rf"waited {limit} s for the turn 'left' \(.*test_busy.py:\d+\)"
            ) as caught:
                await do(chat.stream("ses-1", "next", index_ids=["idx-1"], wait_if_busy=wait).open())
            assert caught.value.status_code == 409
            assert caught.value.body == {"detail": "why"}


async def test_a_caller_who_does_not_want_to_wait_is_told_at_once(chat: AnyChat, wire: WireServer) -> None:
    await leave(chat, wire)
    wire.on("POST", "/messages/stream", refuse(409))
    wire.requests.clear()
    session = chat.session("ses-1", index_ids=["idx-1"])
    for stream in (
        session.stream("next", wait_if_busy=False),
        chat.session("ses-1", index_ids=["idx-1"], wait_if_busy=False).stream("next"),
        chat.stream("ses-1", "next", index_ids=["idx-1"], wait_if_busy=False),
    ):
        with pytest.raises(ConflictError):
            await do(stream.open())
    assert [request.method for request in wire.requests] == ["POST"] * 3


async def test_a_refusal_of_a_session_in_which_nothing_runs_is_raised_at_once(chat: AnyChat, wire: WireServer) -> None:
    wire.on("POST", "/messages/stream", refuse(409))
    wire.on("GET", "/ses-1", history_of(*ENDED))
    with pytest.raises(ConflictError):
        await do(chat.stream("ses-1", "next", index_ids=["idx-1"]).open())
    assert len(wire.posts()) == 1


async def test_after_a_wait_the_turns_before_are_known(wire: WireServer) -> None:
    with client(wire, recovery=0.6) as made:
        for chat in both(made):
            wire.on("POST", "/messages/stream", refuse(409), break_off)
            wire.on("GET", "/ses-1", history_of(*RUNNING), history_of(UserInput(content="next"), *ENDED[1:]))
            stream = chat.stream("ses-1", "next", index_ids=["idx-1"], baseline=False)
            with pytest.raises(TurnOutcomeUnknown, match="has not shown the prompt"):
                await do(stream.result())


@pytest.mark.parametrize("wait", [-1, float("nan"), "a minute"])
async def test_what_is_no_time_to_wait_is_refused(chat: AnyChat, wait: object) -> None:
    with pytest.raises(ConfigurationError, match="wait_if_busy must be"):
        chat.session("ses-1", wait_if_busy=wait)  # type: ignore[arg-type]


def refusal(*, may_pass: bool = True) -> ConflictError:
    error = ConflictError("busy", status_code=409)
    error.may_pass = may_pass
    return error


def turns(*events: Event) -> list[Turn]:
    return replay(events)


def test_a_session_that_shows_a_turn_only_when_it_has_ended_is_asked_again_until_it_takes_the_next() -> None:
    busy = Busy(left="the turn 'left'", turns=1, limit=10, now=lambda: 0.0)
    for _ in range(5):
        busy.refused(refusal())
        busy.look(turns())
        assert busy.may_post


def test_a_session_that_refuses_on_after_its_turn_has_ended_is_not_waited_for_longer() -> None:
    now = [0.0]
    busy = Busy(left="the turn 'left'", turns=1, limit=600, now=lambda: now[0])

    def ask_again_and_again() -> None:
        for _ in range(100):
            busy.refused(refusal())
            now[0] += busy.next_wait() + 1
            busy.look(turns(*ENDED))

    with pytest.raises(ConflictError, match="the turn 'left' has ended there, and the session still refuses"):
        ask_again_and_again()
    assert now[0] < 60


def test_a_session_that_waits_for_its_user_is_not_waited_for() -> None:
    with pytest.raises(ConflictError):
        Busy(left="the turn 'left'", turns=1, limit=10).refused(refusal(may_pass=False))


def test_a_session_that_cannot_be_read_is_asked_again_only_for_a_turn_that_was_left_there() -> None:
    busy = Busy(left="the turn 'left'", turns=1, limit=10)
    busy.refused(refusal())
    busy.not_read()
    assert busy.may_post
    other = Busy(left=None, turns=1, limit=10)
    other.refused(refusal())
    with pytest.raises(ConflictError):
        other.not_read()


@pytest.mark.parametrize("face", ["sync", "async"])
async def test_closing_a_stream_while_it_is_opened_reaches_the_service(wire: WireServer, face: str) -> None:
    posted, gone = threading.Event(), threading.Event()

    def say_nothing(_: Request, connection: Connection) -> None:
        posted.set()
        connection.wait_until_closed()
        gone.set()

    wire.on("POST", "/messages/stream", say_nothing)
    with client(wire, first_event=None) as made:
        chat = made if face == "sync" else made.aio
        stream = chat.stream("ses-1", "q", index_ids=["idx-1"])
        opening = asyncio.create_task(asyncio.to_thread(stream.open) if face == "sync" else stream.open())  # type: ignore[arg-type]
        assert await asyncio.to_thread(posted.wait, 10)
        await do(stream.close())
        assert await asyncio.to_thread(gone.wait, 10)
        assert await opening is stream
        assert (stream.is_closed, stream.landed) == (True, None)
        wire.on("POST", "/messages/stream", stream_of(*HELLO))
        assert (await do(chat.stream("ses-1", "q", index_ids=["idx-1"]).result())).text == "Hello"
