"""A word that something else cuts apart is whole through every entry point, and what comes after it stays apart."""

from __future__ import annotations

import pytest

from chat_sessions import (
    LlamaCloudChat,
    Stop,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    Timeouts,
    ToolCall,
    ToolResult,
    Usage,
    UserInput,
)
from chat_sessions.core.events import Event, dump_event
from tests.faults.playback import QUESTION
from tests.faults.test_adapters import ASKS, Ask
from tests.wire_server import Connection, Request, WireServer

SUMMARY = {"session_id": "ses-1", "last_updated_at": "2026-04-22T12:34:41", "index_ids": ["i"]}
CALL, RESULT = ToolCall(call_id="c", name="n", arguments={}), ToolResult(call_id="c", name="n", result={"a": 1})
BEGUN, WHOLE, NEXT = TextDelta(content="The pri"), Text(content="The price is five."), Text(content="It rose.")
STOP = Stop(usage=Usage(), is_error=False)
WORDS = "The price is five.\n\nIt rose."
# What comes live, and what the session shows if that breaks off.
TOLD: dict[str, tuple[list[Event], list[Event]]] = {
    "a tool before its final": ([BEGUN, CALL, RESULT, WHOLE, NEXT, STOP], []),
    "a tool that goes on": ([BEGUN, CALL, WHOLE, RESULT, NEXT, STOP], []),
    "a thought before its final": ([BEGUN, ThinkingDelta(content="Hm."), WHOLE, CALL, RESULT, NEXT, STOP], []),
    "a thought that is only stored": ([BEGUN], [Thinking(content="Hm."), WHOLE, CALL, RESULT, NEXT, STOP]),
    "a tool that is only stored": (
        [BEGUN],
        [CALL, RESULT, WHOLE, CALL.model_copy(update={"call_id": "d"}), NEXT, STOP],
    ),
    "a result that is only stored": ([CALL, BEGUN], [CALL, RESULT, WHOLE, Thinking(content="Hm."), CALL, NEXT, STOP]),
}


@pytest.mark.parametrize("ask", ASKS)
@pytest.mark.parametrize("told", TOLD)
async def test_a_word_that_something_else_cuts_apart_is_whole(ask: Ask, told: str) -> None:
    live, stored = TOLD[told]
    with WireServer() as wire:

        def turn(_: Request, connection: Connection) -> None:
            connection.start_stream()
            connection.events(*live)
            connection.end_stream()

        def session(_: Request, connection: Connection) -> None:
            events = [UserInput(content=QUESTION), *stored] if wire.posts() else []
            connection.respond(200, {**SUMMARY, "events": [dump_event(event) for event in events]})

        wire.on("POST", "/chat", lambda _, connection: connection.respond(201, SUMMARY))
        wire.on("POST", "/messages/stream", turn)
        wire.on("GET", "/ses-1", session)
        timeouts = Timeouts(recovery=5)
        with LlamaCloudChat(api_key="k", base_url=wire.url, index_ids=["i"], timeouts=timeouts) as client:
            assert await ask(client) == WORDS
