"""How streams and histories are written, for every behaviour that changes their form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from chat_sessions.core.events import (
    Text,
    ThinkingDelta,
)
from chat_sessions.server.turns.behaviour import Behaviour
from tests.server.scripted import ANSWER, Gate, LocalApi, ScriptedAgent, types

Start = Callable[..., LocalApi]


def blocks(api: LocalApi) -> list[list[str]]:
    return [block.split("\r\n") for block in api.post(api.create()).text.split("\r\n\r\n") if block]


def names(api: LocalApi) -> list[str | None]:
    return [block[0].removeprefix("event: ") if block[0].startswith("event: ") else None for block in blocks(api)]


def test_events_are_named_by_kind(api: LocalApi) -> None:
    assert names(api) == ["delta", "delta", "message", "message"]


def test_events_can_be_named_by_type(start: Start) -> None:
    assert names(start(behaviour=Behaviour(event_names="type"))) == ["text_delta", "text_delta", "text", "stop"]


def test_events_can_be_without_a_name(start: Start) -> None:
    assert names(start(behaviour=Behaviour(event_names="none"))) == [None, None, None, None]


def test_events_can_have_ids_that_no_other_event_has(start: Start) -> None:
    api = start(behaviour=Behaviour(event_ids=True))
    ids = [line for _ in range(2) for block in blocks(api) for line in block if line.startswith("id: ")]
    assert ids == [f"id: {turn}-{number}" for turn in (1, 2) for number in (1, 2, 3, 4)]


def test_a_stream_can_begin_with_the_users_message(start: Start) -> None:
    api = start(behaviour=Behaviour(echo_user_input=True))
    assert api.ask(api.create(), "Me?")[0] == {"type": "user_input", "content": "Me?"}


@pytest.mark.parametrize(
    ("finals", "streamed"),
    [
        ("after_deltas", ["thinking_delta", "thinking", "text_delta", "text_delta", "text", "stop"]),
        ("only", ["thinking", "text", "stop"]),
        ("never", ["thinking_delta", "text_delta", "text_delta", "stop"]),
    ],
)
@pytest.mark.parametrize(
    ("history", "stored"),
    [
        ("finals", ["user_input", "thinking", "text", "stop"]),
        ("deltas", ["user_input", "thinking_delta", "text_delta", "text_delta", "stop"]),
        ("both", ["user_input", "thinking_delta", "thinking", "text_delta", "text_delta", "text", "stop"]),
    ],
)
def test_stream_and_history_hold_deltas_finals_or_both_as_told(
    start: Start, finals: Any, streamed: list[str], history: Any, stored: list[str]
) -> None:
    api = start(
        agent=ScriptedAgent(ThinkingDelta(content="Hm."), *ANSWER),
        behaviour=Behaviour(finals=finals, history=history),
    )
    session_id = api.create()
    assert types(api.ask(session_id)) == streamed
    assert api.history(session_id) == stored


def test_a_history_can_show_a_turn_only_when_it_has_ended(start: Start) -> None:
    gate = Gate()
    api = start(agent=ScriptedAgent(Text(content="a"), gate), behaviour=Behaviour(history_timing="after_stop"))
    session_id = api.create()
    with api.stream(session_id) as stream:
        stream.event()
        assert api.history(session_id) == []
        gate.open()
        stream.rest()
    assert api.history(session_id) == ["user_input", "text", "stop"]


def test_keep_alive_comments_flow_while_the_agent_is_silent(start: Start) -> None:
    gate = Gate()
    api = start(agent=ScriptedAgent(gate, *ANSWER), behaviour=Behaviour(keep_alive=0.01))
    with api.stream(api.create()) as stream:
        assert stream.block().startswith(": ping")
        gate.open()
        assert types(stream.rest())[-1] == "stop"


def test_no_keep_alive_is_sent_where_there_is_none(start: Start) -> None:
    api = start(behaviour=Behaviour(keep_alive=None))
    assert ": " not in [block[0][:2] for block in blocks(api)]
