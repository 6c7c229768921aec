"""A turn whose stream breaks is looked up in its session."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from chat_sessions import (
    Event,
    InternalServerError,
    Text,
    TextDelta,
    ToolCall,
    TurnInterrupted,
    TurnOutcomeUnknown,
    UserInput,
)
from chat_sessions.session import recovery
from tests.faces import AnyChat, do, entered, every, some
from tests.session.streams.service import (
    HELLO,
    STOP,
    both,
    break_off,
    client,
    cut,
    end_early,
    gather_into,
    history_of,
    in_one_read,
    refuse,
    service,
    stream_of,
)
from tests.wire_server import Connection, Handler, Request, WireServer

__all__ = ["service"]


async def test_what_the_service_answered_is_the_reason_though_the_last_read_had_no_time(wire: WireServer) -> None:
    wire.on("POST", "/messages/stream", break_off)
    with client(wire, recovery=0.4) as made:
        for chat in both(made):
            wire.on("GET", "/ses-1", refuse(503), lambda _, connection: connection.wait_until_closed())
            with pytest.raises(TurnOutcomeUnknown, match=r"could not be read \(GET .* answered 503: "):
                await do(chat.stream("ses-1", "q", index_ids=["idx-1"], baseline=False).open())


@pytest.mark.parametrize("then", [end_early, cut])
async def test_a_stream_that_ends_without_stop_is_finished_from_the_session(
    chat: AnyChat, wire: WireServer, then: Callable[[Connection], None]
) -> None:
    wire.on("POST", "/messages/stream", stream_of(HELLO[0], then=then))
    wire.on("GET", "/ses-1", history_of(UserInput(content="q")), history_of(UserInput(content="q"), *HELLO[2:]))
    async with entered(chat.stream("ses-1", "q", index_ids=["idx-1"], baseline=False)) as stream:
        assert await every(stream) == [HELLO[0], HELLO[1], HELLO[2], STOP]
    assert len(wire.posts()) == 1


@pytest.mark.parametrize("count", range(1, 7))
async def test_an_answer_whose_characters_are_cut_in_two_is_finished_once_wherever_it_breaks(
    chat: AnyChat, wire: WireServer, count: int
) -> None:
    units = ["Hi ", r"\ud83d", r"\ude00", r" and \ud83d", r"\ude01", "!"]
    deltas = (f'{{"type": "text_delta", "content": "{unit}"}}'.encode() for unit in units[:count])

    def broken(_: Request, connection: Connection) -> None:
        connection.start_stream()
        connection.chunk(in_one_read(*deltas))
        connection.reset()

    whole = "Hi 😀 and 😁!"
    wire.on("POST", "/messages/stream", broken)
    wire.on("GET", "/ses-1", history_of(UserInput(content="q"), Text(content=whole), STOP))
    got: list[Event] = []
    await gather_into(got, chat.stream("ses-1", "q", index_ids=["idx-1"], baseline=False))
    assert "".join(event.content for event in got if isinstance(event, TextDelta)) == whole


async def test_what_a_running_turn_has_meanwhile_is_shown_while_it_runs(chat: AnyChat, wire: WireServer) -> None:
    call = ToolCall(call_id="1", name="t", arguments={})
    seen = threading.Event()

    def running(request: Request, connection: Connection) -> None:
        if seen.is_set():
            history_of(UserInput(content="q"), call, Text(content="Hello"), STOP)(request, connection)
        else:
            history_of(UserInput(content="q"), call)(request, connection)

    wire.on("POST", "/messages/stream", stream_of(then=cut))
    wire.on("GET", "/ses-1", running)
    got: list[Event] = []
    async for event in some(chat.stream("ses-1", "q", index_ids=["idx-1"], baseline=False)):
        got.append(event)
        seen.set()
    assert got == [call, TextDelta(content="Hello"), Text(content="Hello"), STOP]


@pytest.mark.parametrize("broken", [break_off, refuse(502)])
async def test_a_turn_that_was_taken_though_its_answer_was_lost_is_read_from_the_session(
    chat: AnyChat, wire: WireServer, broken: Handler
) -> None:
    wire.on("POST", "/messages/stream", broken)
    wire.on("GET", "/ses-1", history_of(UserInput(content="q")), history_of(UserInput(content="q"), *HELLO[2:]))
    async with entered(chat.stream("ses-1", "q", index_ids=["idx-1"], baseline=False)) as stream:
        assert (await do(stream.result())).text == "Hello"
    assert len(wire.posts()) == 1


async def test_a_turn_whose_connection_broke_and_that_the_session_does_not_show_is_an_unknown_outcome(
    wire: WireServer,
) -> None:
    wire.on("POST", "/messages/stream", break_off)
    with client(wire, recovery=0.6) as made:
        for chat in both(made):
            # A history may show a turn only when it has ended: not to be seen is no proof.
            with pytest.raises(TurnOutcomeUnknown, match=r"has not shown the prompt.*look at the session before"):
                await do(chat.stream("ses-1", "q", index_ids=["idx-1"], baseline=False).open())
    assert len(wire.posts()) == 2


async def test_a_gateway_that_lost_its_upstream_is_waited_out_for_the_turn_behind_it(wire: WireServer) -> None:
    wire.on("POST", "/messages/stream", refuse(504))
    with client(wire, recovery=0.6) as made:
        for chat in both(made):
            with pytest.raises(InternalServerError, match="answered 504"):
                await do(chat.stream("ses-1", "q", index_ids=["idx-1"], baseline=False).open())


async def test_a_turn_that_the_service_failed_and_does_not_show_raises_its_error(
    chat: AnyChat, wire: WireServer
) -> None:
    wire.on("POST", "/messages/stream", refuse(500))
    with pytest.raises(InternalServerError, match="why"):
        await do(chat.stream("ses-1", "q", index_ids=["idx-1"], baseline=False).open())
    assert len(wire.posts()) == 1


async def test_a_look_that_finds_a_page_of_a_proxy_is_followed_by_another(chat: AnyChat, wire: WireServer) -> None:
    def page(_: Request, connection: Connection) -> None:
        connection.respond(200, b"<html>", headers={"Content-Type": "text/html"})

    wire.on("POST", "/messages/stream", stream_of(HELLO[0], then=cut))
    wire.on("GET", "/ses-1", page, history_of(UserInput(content="q"), *HELLO[2:]))
    assert (await do(chat.stream("ses-1", "q", index_ids=["idx-1"], baseline=False).result())).text == "Hello"


async def test_a_cut_turn_that_never_ends_is_interrupted_and_keeps_its_text(wire: WireServer) -> None:
    wire.on("POST", "/messages/stream", stream_of(HELLO[0], then=cut))
    wire.on("GET", "/ses-1", history_of(UserInput(content="q"), TextDelta(content="Hell")))
    with client(wire, recovery=0.6) as made:
        for chat in both(made):
            seen: list[Event] = []
            with pytest.raises(TurnInterrupted, match="shows no end of the turn yet: read it again later") as caught:
                await gather_into(seen, chat.stream("ses-1", "q", index_ids=["idx-1"], baseline=False))
            assert seen == [TextDelta(content="Hel"), TextDelta(content="l")]
            assert caught.value.turn.text == "Hell"


async def test_a_session_that_cannot_be_read_back_leaves_an_interrupted_turn(wire: WireServer) -> None:
    wire.on("POST", "/messages/stream", stream_of(HELLO[0], then=cut))
    for look in (refuse(404), refuse(503), break_off):
        wire.on("GET", "/ses-1", look)
        with client(wire, recovery=0.6) as made:
            for chat in both(made):
                with pytest.raises(TurnInterrupted, match="could not be read"):
                    await every(chat.stream("ses-1", "q", index_ids=["idx-1"], baseline=False))


async def test_a_lost_answer_whose_session_cannot_be_read_back_is_an_unknown_outcome(wire: WireServer) -> None:
    wire.on("POST", "/messages/stream", break_off)
    wire.on("GET", "/ses-1", refuse(403))
    with client(wire, recovery=5) as made:
        for chat in both(made):
            with pytest.raises(TurnOutcomeUnknown):
                await every(chat.stream("ses-1", "q", index_ids=["idx-1"], baseline=False))


async def test_without_recovery_nothing_is_read_back_and_nothing_is_claimed(wire: WireServer) -> None:
    with client(wire, recovery=0) as made:
        for chat in both(made):
            wire.on("POST", "/messages/stream", stream_of(HELLO[0], then=cut))
            with pytest.raises(TurnInterrupted, match="was not looked up"):
                await every(chat.stream("ses-1", "q", index_ids=["idx-1"], baseline=False))
            wire.on("POST", "/messages/stream", refuse(500))
            with pytest.raises(InternalServerError):
                await every(chat.stream("ses-1", "q", index_ids=["idx-1"], baseline=False))
            wire.on("POST", "/messages/stream", break_off)
            with pytest.raises(TurnOutcomeUnknown):
                await every(chat.stream("ses-1", "q", index_ids=["idx-1"], baseline=False))
    assert [request for request in wire.requests if request.method == "GET"] == []


async def test_recovery_without_a_limit_waits_until_the_turn_has_ended(wire: WireServer) -> None:
    late = [history_of(UserInput(content="q"))] * 20
    wire.on("POST", "/messages/stream", stream_of(then=cut))
    with client(wire, recovery=None) as made:
        for chat in both(made):
            wire.on("GET", "/ses-1", *late, history_of(UserInput(content="q"), *HELLO[2:]))
            assert (await do(chat.stream("ses-1", "q", index_ids=["idx-1"], baseline=False).result())).text == "Hello"


async def test_a_turn_that_is_never_shown_is_not_looked_for_without_end(
    wire: WireServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery, "_LONGEST_SEARCH", 0.05)
    wire.on("POST", "/messages/stream", stream_of(then=cut))
    wire.on("GET", "/ses-1", history_of(UserInput(content="q"), *HELLO[2:]))
    with client(wire, recovery=None) as made:
        for chat in both(made):
            # An answer's head is no evidence that the prompt landed, nor are words that were there before.
            with pytest.raises(TurnOutcomeUnknown, match="shows turns that may or may not be this one"):
                await do(chat.stream("ses-1", "q", index_ids=["idx-1"], baseline=False).result())
