"""A stream that breaks on the wire: what handlers, tokens and the message make of a recovery, or of none."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from chat_sessions import LlamaCloudChat, ProtocolError, Timeouts, TurnError, TurnInterrupted
from chat_sessions.core.events import Event, TextDelta, UserInput, dump_event
from chat_sessions.langchain import SessionChatModel
from tests.langchain.runs.test_runs import ASYNC_PATHS, SYNC_PATHS
from tests.langchain.stage import SEQUENCE, TURN, Recorder, finished
from tests.wire_server import Connection, Request, WireServer

PATHS = {**SYNC_PATHS, **ASYNC_PATHS}


@pytest.fixture
def wire() -> Iterator[WireServer]:
    with WireServer() as server:
        yield server


def _model(wire: WireServer, recovery: float) -> SessionChatModel:
    client = LlamaCloudChat(api_key="llx-test", base_url=wire.url, timeouts=Timeouts(recovery=recovery), max_retries=0)
    return SessionChatModel.from_session(client.session("ses-1", index_ids=["idx-docs"]))


def _breaks_after(wire: WireServer, *events: Event) -> None:
    def stream(_: Request, connection: Connection) -> None:
        connection.start_stream()
        connection.events(*events)
        connection.reset()

    wire.on("POST", "/messages/stream", stream)


def _shows(wire: WireServer, *events: Event) -> None:
    """What the session shows: nothing before the turn, then these events of it."""

    def session(_: Request, connection: Connection) -> None:
        held = (UserInput(content="q"), *events) if wire.posts() else ()
        connection.respond(
            200,
            {
                "session_id": "ses-1",
                "last_updated_at": "2026-11-21T10:00:00Z",
                "index_ids": ["idx-docs"],
                "events": [dump_event(event) for event in held],
            },
        )

    wire.on("GET", "/ses-1", session)


@pytest.mark.checklist(6, 18, 19, 39)
@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("cut", [0, 3, 4, 7], ids=["at-once", "between-calls", "before-results", "in-the-text"])
async def test_what_broke_is_read_from_the_session_and_told_once(
    wire: WireServer, recorder: Recorder, name: str, cut: int
) -> None:
    _breaks_after(wire, *TURN[:cut])
    _shows(wire, *TURN)
    await finished(PATHS[name](_model(wire, recovery=20), {"callbacks": [recorder]}))
    assert recorder.runs == SEQUENCE
    assert recorder.messages[0].text == "Hello world"
    tokens = [token for token in recorder.details("token") if isinstance(token, str)]
    assert "".join(tokens) in ("Hello world", "")  # some entry points have no tokens
    assert len(wire.posts()) == 1


@pytest.mark.checklist(36, 39)
@pytest.mark.parametrize("name", PATHS)
async def test_a_turn_that_was_cut_for_good_is_an_error_with_every_run_closed(
    wire: WireServer, recorder: Recorder, name: str
) -> None:
    def stream(_: Request, connection: Connection) -> None:
        connection.start_stream()
        connection.events(*TURN[:4], TextDelta(content="Hel"))
        connection.end_stream()  # properly, but without a stop

    wire.on("POST", "/messages/stream", stream)
    _shows(wire, *TURN[:4])
    with pytest.raises(TurnError) as caught:
        await finished(PATHS[name](_model(wire, recovery=0.05), {"callbacks": [recorder]}))
    assert isinstance(caught.value, TurnInterrupted)
    assert caught.value.turn.text == "Hel"
    assert recorder.names == ["llm_start", "tool_start", "tool_start", "tool_error", "tool_error", "llm_error"]
    assert len(wire.posts()) == 1


@pytest.mark.parametrize("name", PATHS)
async def test_an_answer_that_is_no_event_stream_is_an_error_with_the_run_closed(
    wire: WireServer, recorder: Recorder, name: str
) -> None:
    wire.on("POST", "/messages/stream", lambda _, connection: connection.respond(200, {"not": "a stream"}))
    _shows(wire)
    with pytest.raises(ProtocolError):
        await finished(PATHS[name](_model(wire, recovery=0.05), {"callbacks": [recorder]}))
    assert recorder.names == ["llm_start", "llm_error"]
