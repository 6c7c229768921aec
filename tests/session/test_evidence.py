"""What an error says of a turn is what is known, and what can be read of it is given."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import JsonValue

from chat_sessions import (
    ProtocolError,
    Stop,
    Text,
    TextDelta,
    TurnFailed,
    TurnOutcomeUnknown,
    UnknownEvent,
    UserInput,
)
from chat_sessions.core.events import dump_event, parse_event
from tests.faces import AnyChat, do, every
from tests.session.streams.service import (
    HELLO,
    STOP,
    SUMMARY,
    both,
    break_off,
    client,
    history_of,
    refuse,
    service,
    stream_of,
)
from tests.wire_server import Connection, Handler, Request, WireServer

__all__ = ["service"]

ERROR = b'event: error\ndata: {"detail": "model overloaded"}\n\n'
BARE_STOP = {"type": "stop", "is_error": False}


def say(*pieces: bytes, then: Callable[[Connection], None] = Connection.end_stream) -> Handler:
    def handle(_: Request, connection: Connection) -> None:
        connection.start_stream()
        for piece in pieces:
            connection.chunk(piece)
        then(connection)

    return handle


def stored(*events: object) -> Handler:
    bodies = [dump_event(event) if isinstance(event, (UserInput, Text, Stop)) else event for event in events]
    return lambda _, connection: connection.respond(200, {**SUMMARY, "events": bodies})


@pytest.mark.parametrize(
    "answer",
    [say(), say(then=Connection.reset), say(b": ping\n\n", then=Connection.wait_until_closed), say(ERROR)],
    ids=["clean end", "reset", "silence", "an error event"],
)
async def test_the_head_of_an_answer_is_no_evidence_that_the_prompt_landed(wire: WireServer, answer: Handler) -> None:
    wire.on("POST", "/messages/stream", answer)
    with client(wire, recovery=0.6, first_event=0.2) as made:
        for chat in both(made):
            stream = chat.stream("ses-1", "q", index_ids=["idx-1"])
            with pytest.raises(TurnOutcomeUnknown, match="whether the prompt landed is not known"):
                await every(stream)
            assert stream.landed is None


async def test_why_the_session_could_not_be_read_is_in_the_message(chat: AnyChat, wire: WireServer) -> None:
    wire.on("POST", "/messages/stream", break_off)
    wire.on("GET", "/ses-1", history_of(), refuse(401))
    with pytest.raises(TurnOutcomeUnknown, match=r"could not be read \(GET .* answered 401: the API key was refused"):
        await every(chat.stream("ses-1", "q", index_ids=["idx-1"]))


@pytest.mark.parametrize("recovery", [0.3, 0])
async def test_a_look_up_is_logged_when_it_begins(
    wire: WireServer, caplog: pytest.LogCaptureFixture, recovery: float
) -> None:
    wire.on("POST", "/messages/stream", break_off)
    with client(wire, recovery=recovery) as made:
        for chat in both(made):
            caplog.clear()
            with pytest.raises(TurnOutcomeUnknown):
                await every(chat.stream("ses-1", "my prompt", index_ids=["idx-1"]))
            said = [record.getMessage() for record in caplog.records if record.name == "chat_sessions.session"]
            assert [("ses-1" in line, "for up to 0.3 s" in line, "my prompt" in line) for line in said] == (
                [(True, True, False)] if recovery else []
            )


async def test_the_services_own_reason_is_in_the_message(wire: WireServer) -> None:
    wire.on("POST", "/messages/stream", say(ERROR))
    with client(wire, recovery=0.6) as made:
        for chat in both(made):
            with pytest.raises(TurnOutcomeUnknown, match="the service said: model overloaded"):
                await every(chat.stream("ses-1", "q", index_ids=["idx-1"]))


async def test_the_answer_that_was_streamed_is_on_the_error_of_an_event_that_cannot_be_read(wire: WireServer) -> None:
    broken = say(
        b'data: {"type": "text_delta", "content": "Hel"}\n\ndata: {nope\n\n', then=Connection.wait_until_closed
    )
    wire.on("POST", "/messages/stream", broken)
    with client(wire, recovery=0.6) as made:
        for chat in both(made):
            with pytest.raises(ProtocolError, match="nope") as caught:
                await every(chat.stream("ses-1", "q", index_ids=["idx-1"]))
            assert caught.value.turn is not None
            assert caught.value.turn.text == "Hel"


@pytest.mark.parametrize(
    "stop",
    [
        BARE_STOP,
        {**BARE_STOP, "usage": None},
        {**BARE_STOP, "usage": {"total_input_tokens": 12.5, "turns": 2}},
        {"type": "stop", "usage": {}},
    ],
)
async def test_a_stop_whose_cost_cannot_be_read_ends_its_turn_live_and_stored(
    chat: AnyChat, wire: WireServer, stop: dict[str, Any]
) -> None:
    event = parse_event(stop)
    assert isinstance(event, Stop)
    assert not event.is_error
    assert event.usage.input_tokens is None
    wire.on("GET", "/ses-1", stored(UserInput(content="q"), Text(content="Hello"), stop))
    (turn,) = await do(chat.session("ses-1").turns())
    assert turn.is_complete


@pytest.mark.parametrize(
    ("told", "error", "skipped"),
    [
        ({"error": {"code": "quota", "message": "spent"}}, '{"code": "quota", "message": "spent"}', []),
        ({"error": ["quota"]}, '["quota"]', []),
        ({"error": "quota", "skipped_index_ids": "idx-2"}, "quota", ["idx-2"]),
        ({"error": "quota", "skipped_index_ids": ["idx-2", None]}, "quota", ["idx-2"]),
        ({"error": "quota", "skipped_index_ids": {"idx-2": "gone"}}, "quota", ["idx-2"]),
    ],
)
async def test_a_stop_that_tells_its_reasons_in_another_way_ends_its_turn_live_and_stored(
    chat: AnyChat, wire: WireServer, told: dict[str, Any], error: str, skipped: list[str]
) -> None:
    stop = {**BARE_STOP, "is_error": True, **told}
    wire.on("POST", "/messages/stream", say(f"data: {json.dumps(stop)}\n\n".encode()))
    wire.on("GET", "/ses-1", stored(UserInput(content="q"), Text(content="Hello"), stop))
    with pytest.raises(TurnFailed, match=re.escape(error)) as caught:
        await do(chat.stream("ses-1", "q", index_ids=["idx-1"], baseline=False).result())
    (turn,) = await do(chat.session("ses-1").turns())
    for one in (caught.value.turn, turn):
        assert (one.error, list(one.skipped_index_ids)) == (error, skipped)


async def test_a_stop_that_says_why_it_failed_and_not_that_it_did_is_a_failure() -> None:
    event = parse_event({"type": "stop", "error": "quota"})
    assert isinstance(event, Stop)
    assert event.is_error


@pytest.mark.parametrize(
    "odd",
    [
        {"type": "text", "content": None},
        {"type": "tool_call", "call_id": None, "name": "n", "arguments": {}},
        {"type": "tool_call", "call_id": "c", "name": "n", "arguments": "[1"},
        *(None, "text", 5, [1]),
    ],
)
async def test_an_odd_stored_event_costs_itself_and_not_the_session(
    chat: AnyChat, wire: WireServer, odd: JsonValue
) -> None:
    asked, answered = UserInput(content="q"), Text(content="Hello")
    # A turn that broke is mended from it, too.
    wire.on("POST", "/messages/stream", stream_of(HELLO[0], then=Connection.reset))
    wire.on("GET", "/ses-1", history_of(), stored(asked, answered, odd, STOP))
    assert (await do(chat.stream("ses-1", "q", index_ids=["idx-1"]).result())).text == "Hello"
    (turn,) = await do(chat.session("ses-1").turns())
    assert (turn.text, turn.is_complete) == ("Hello", True)
    assert UnknownEvent(raw=odd if isinstance(odd, dict) else {"unreadable": odd}) in turn.events


NULL: dict[str, Any] = {"type": "text_delta", "content": None}


async def test_an_odd_live_event_costs_itself_and_not_its_turn(chat: AnyChat, wire: WireServer) -> None:
    events = (TextDelta(content="Hel"), UnknownEvent(raw=NULL), TextDelta(content="lo"))
    wire.on("POST", "/messages/stream", stream_of(*events, STOP))
    wire.on("GET", "/ses-1", history_of())
    stream = chat.stream("ses-1", "q", index_ids=["idx-1"])
    assert await every(stream) == [*events, STOP]
    assert (stream.turn.text, stream.turn.is_complete) == ("Hello", True)


async def test_what_an_odd_live_event_should_have_said_comes_from_the_session(chat: AnyChat, wire: WireServer) -> None:
    odd = UnknownEvent(raw={"type": "text_delta", "content": {"text": "lo"}})
    wire.on("POST", "/messages/stream", stream_of(TextDelta(content="Hel"), odd, STOP))
    wire.on("GET", "/ses-1", history_of(), history_of(UserInput(content="q"), Text(content="Hello"), STOP))
    stream = chat.stream("ses-1", "q", index_ids=["idx-1"])
    shown = await every(stream)
    assert "".join(event.content for event in shown if isinstance(event, TextDelta)) == stream.turn.text == "Hello"
    assert stream.turn.is_complete


@pytest.mark.parametrize("then", [Connection.reset, Connection.end_stream])
async def test_an_odd_live_event_costs_no_words_if_the_session_has_them(
    chat: AnyChat, wire: WireServer, then: Callable[[Connection], None]
) -> None:
    events = (TextDelta(content="one "), UnknownEvent(raw=NULL), TextDelta(content="three"))
    wire.on(
        "POST", "/messages/stream", stream_of(*events, *([STOP] if then is Connection.end_stream else []), then=then)
    )
    wire.on("GET", "/ses-1", history_of(), history_of(UserInput(content="q"), TextDelta(content="one two three"), STOP))
    turn = await do(chat.stream("ses-1", "q", index_ids=["idx-1"]).result())
    assert turn.text == "one two three"


@pytest.mark.parametrize(
    ("content", "prompt"), [(None, ""), ([{"type": "text", "text": "q"}], "q"), ({"text": "q"}, "q"), (5, "")]
)
async def test_a_stored_prompt_that_cannot_be_read_costs_no_turn(
    chat: AnyChat, wire: WireServer, content: JsonValue, prompt: str
) -> None:
    asked = {"type": "user_input", "content": content}
    wire.on("POST", "/messages/stream", stream_of(HELLO[0], then=Connection.end_stream))
    wire.on("GET", "/ses-1", history_of(), stored(asked, Text(content="Hello"), STOP))
    assert (await do(chat.stream("ses-1", "q", index_ids=["idx-1"]).result())).text == "Hello"
    (turn,) = await do(chat.session("ses-1").turns())
    assert (turn.prompt, turn.text) == (prompt, "Hello")


async def test_a_character_that_is_cut_in_two_is_whole_live_stored_and_after_a_cut(
    chat: AnyChat, wire: WireServer
) -> None:
    halves = [b'{"type": "text_delta", "content": "a\\ud83d"}', b'{"type": "text_delta", "content": "\\ude00b"}']
    asked = b'{"type": "user_input", "content": "q"}'
    body = b'{"session_id": "ses-1", "last_updated_at": "2026-04-22T12:34:41", "events": [%s]}' % b", ".join(
        [asked, *halves, json.dumps(dump_event(STOP)).encode()]
    )
    wire.on("GET", "/ses-1", history_of(), lambda _, connection: connection.respond(200, body))
    wire.on("POST", "/messages/stream", say(*(b"data: %s\n\n" % half for half in halves[:1]), then=Connection.reset))
    turn = await do(chat.stream("ses-1", "q", index_ids=["idx-1"]).result())
    assert turn.text == "a😀b"
    assert await do(chat.session("ses-1").turns()) == [turn]


@pytest.mark.parametrize("time", [None, "", "soon", 1e30])
async def test_a_session_whose_time_cannot_be_read_can_be_read(
    chat: AnyChat, wire: WireServer, time: JsonValue
) -> None:
    body = {**SUMMARY, "last_updated_at": time, "events": [{"type": "user_input", "content": "q"}]}
    wire.on("GET", "/ses-1", lambda _, connection: connection.respond(200, body))
    assert [turn.prompt for turn in await do(chat.session("ses-1").turns())] == ["q"]


@pytest.mark.parametrize(
    "result", [b"9" * 5000, b"[" * 900 + b"]" * 900], ids=["a number of 5,000 digits", "nested 900 deep"]
)
async def test_a_stored_result_that_no_reader_takes_costs_itself_and_not_the_session(
    chat: AnyChat, wire: WireServer, result: bytes
) -> None:
    odd = b'{"type": "tool_result", "call_id": "c", "name": "n", "result": ' + result + b"}"
    body = (
        b'{"session_id": "ses-1", "last_updated_at": "2026-04-22T12:34:41", "events": '
        b'[{"type": "user_input", "content": "q"}, {"type": "text", "content": "Hello"}, ' + odd + b"]}"
    )
    wire.on("GET", "/ses-1", lambda _, connection: connection.respond(200, body))
    (turn,) = await do(chat.session("ses-1").turns())
    assert turn.text == "Hello"


async def test_arguments_that_come_as_a_text_of_json_are_read() -> None:
    call = parse_event({"type": "tool_call", "call_id": "c", "name": "n", "arguments": '{"q": 1}'})
    assert call.model_dump()["arguments"] == {"q": 1}


async def test_a_prompt_that_was_escaped_is_looked_up_and_its_answer_given(chat: AnyChat, wire: WireServer) -> None:
    wire.on("POST", "/messages/stream", break_off)
    wire.on("GET", "/ses-1", history_of(), history_of(UserInput(content="a &lt; b?"), TextDelta(content="yes"), STOP))
    assert (await do(chat.stream("ses-1", "a < b?", index_ids=["idx-1"]).result())).text == "yes"


def accept(_: Request, connection: Connection) -> None:
    connection.respond(202, {"status": "accepted"})


async def test_a_turn_that_was_accepted_without_a_stream_is_looked_up(chat: AnyChat, wire: WireServer) -> None:
    wire.on("POST", "/messages/stream", accept)
    wire.on("GET", "/ses-1", history_of(), history_of(UserInput(content="q"), Text(content="Hello"), STOP))
    assert (await do(chat.session("ses-1").ask("q", index_ids=["idx-1"]))).text == "Hello"
    assert len(wire.posts()) == 1


async def test_an_accepted_turn_that_its_session_does_not_show_is_an_error_that_quotes_the_answer(
    wire: WireServer,
) -> None:
    wire.on("POST", "/messages/stream", accept)
    wire.on("GET", "/ses-1", history_of())
    with client(wire, recovery=0.6) as made:
        for chat in both(made):
            with pytest.raises(ProtocolError, match=r"application/json instead of an event stream.*accepted"):
                await every(chat.stream("ses-1", "q", index_ids=["idx-1"]))
    assert len(wire.posts()) == 2
