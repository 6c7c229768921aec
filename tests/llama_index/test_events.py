"""What handlers of LlamaIndex's instrumentation get of a turn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from llama_index.core.instrumentation.events.chat_engine import (
    StreamChatDeltaReceivedEvent,
    StreamChatEndEvent,
    StreamChatErrorEvent,
    StreamChatStartEvent,
)
from llama_index.core.instrumentation.events.llm import LLMChatEndEvent, LLMChatStartEvent
from llama_index_instrumentation import root_dispatcher
from llama_index_instrumentation.base import BaseEvent
from llama_index_instrumentation.dispatcher import instrument_tags
from llama_index_instrumentation.event_handlers import BaseEventHandler
from llama_index_instrumentation.span_handlers import SimpleSpanHandler
from pydantic import Field

from chat_sessions import TurnFailed
from chat_sessions.llama_index import SessionChatEngine
from tests.llama_index.checklist import proves
from tests.llama_index.conftest import KEY, METHODS, Serve, ask
from tests.llama_index.test_tracing import FAILS, OVERLAPPING, Traces


class Recorder(BaseEventHandler):
    """Keeps what it is given."""

    events: list[BaseEvent] = Field(default_factory=list)

    @classmethod
    def class_name(cls) -> str:
        return "Recorder"

    def handle(self, event: BaseEvent, **kwargs: Any) -> None:
        self.events.append(event)


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    handler = Recorder()
    root_dispatcher.add_event_handler(handler)
    yield handler
    root_dispatcher.event_handlers.remove(handler)


def of(recorder: Recorder, *types: type[BaseEvent]) -> list[BaseEvent]:
    return [event for event in recorder.events if isinstance(event, types)]


@proves(36)
@pytest.mark.parametrize("method", METHODS)
async def test_handlers_get_a_start_each_delta_and_an_end(serve: Serve, recorder: Recorder, method: str) -> None:
    await ask(SessionChatEngine(client=serve(OVERLAPPING)), method)
    assert len(of(recorder, StreamChatStartEvent)) == len(of(recorder, StreamChatEndEvent)) == 1
    assert of(recorder, StreamChatErrorEvent) == []
    deltas = [event.delta for event in recorder.events if isinstance(event, StreamChatDeltaReceivedEvent)]
    assert deltas == ["Revenue ", "was 84.2."]
    assert all(event.span_id for event in recorder.events)


@proves(36)
async def test_handlers_get_an_error_instead_of_an_end(serve: Serve, recorder: Recorder) -> None:
    engine = SessionChatEngine(client=serve(FAILS))
    with pytest.raises(TurnFailed):
        engine.chat("How much?")
    (event,) = of(recorder, StreamChatErrorEvent)
    assert isinstance(event, StreamChatErrorEvent)
    assert isinstance(event.exception, TurnFailed)
    assert of(recorder, StreamChatEndEvent) == []


@proves(36)
def test_deltas_have_a_span_of_their_own_and_push_nothing_out(serve: Serve, recorder: Recorder) -> None:
    SessionChatEngine(client=serve(OVERLAPPING)).chat("How much?")
    deltas = {event.span_id for event in of(recorder, StreamChatDeltaReceivedEvent)}
    others = {event.span_id for event in of(recorder, LLMChatStartEvent, LLMChatEndEvent)}
    assert len(deltas) == 1
    assert not deltas & others


@proves(37)
@pytest.mark.parametrize("method", METHODS)
async def test_the_tags_of_the_call_are_on_every_span_and_event(serve: Serve, recorder: Recorder, method: str) -> None:
    spans = SimpleSpanHandler()
    root_dispatcher.add_span_handler(spans)
    engine = SessionChatEngine(client=serve(OVERLAPPING))
    try:
        if method == "stream_chat":
            with instrument_tags({"user": "u-1"}):
                response = engine.stream_chat("How much?")
            response.drain()
        else:
            with instrument_tags({"user": "u-1"}):
                await ask(engine, method)
    finally:
        root_dispatcher.span_handlers.remove(spans)
    assert len(spans.completed_spans) == 6
    assert all(span.tags == {"session.id": engine.session_id, "user": "u-1"} for span in spans.completed_spans)
    assert all(event.tags == {"session.id": engine.session_id, "user": "u-1"} for event in recorder.events)


@proves(40)
async def test_an_error_of_a_dispatchers_handler_is_not_seen(serve: Serve) -> None:
    class Broken(Recorder):
        def handle(self, event: BaseEvent, **kwargs: Any) -> None:
            raise KeyboardInterrupt

    handler = Broken()
    root_dispatcher.add_event_handler(handler)
    try:
        for method in METHODS:
            response = await ask(SessionChatEngine(client=serve(OVERLAPPING)), method)
            assert response.response == "Revenue was 84.2."
    finally:
        root_dispatcher.event_handlers.remove(handler)


@proves(60)
def test_newer_tool_events_are_sent_where_the_core_has_them(
    serve: Serve, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    class AgentToolCallStartEvent(BaseEvent):
        tool_id: str
        tool_name: str
        tool_kwargs: dict[str, Any]
        tool_description: str

    class AgentToolCallEndEvent(BaseEvent):
        tool_id: str
        tool_name: str
        tool_output: object

    module = "llama_index.core.instrumentation.events.agent"
    monkeypatch.setattr(f"{module}.AgentToolCallStartEvent", AgentToolCallStartEvent, raising=False)
    monkeypatch.setattr(f"{module}.AgentToolCallEndEvent", AgentToolCallEndEvent, raising=False)
    SessionChatEngine(client=serve(OVERLAPPING)).chat("How much?")
    starts = [event for event in recorder.events if isinstance(event, AgentToolCallStartEvent)]
    ends = [event for event in recorder.events if isinstance(event, AgentToolCallEndEvent)]
    assert [(event.tool_id, event.tool_name, event.tool_kwargs) for event in starts] == [
        ("a", "search", {"query": "revenue"}),
        ("b", "read-page", {"page": 3}),
    ]
    assert [(event.tool_id, event.tool_name) for event in ends] == [("a", "search"), ("b", "read-page")]


@proves(60)
def test_newer_tool_events_with_other_fields_are_left_out(
    serve: Serve, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    class AgentToolCallStartEvent(BaseEvent):
        something_else: int

    module = "llama_index.core.instrumentation.events.agent"
    monkeypatch.setattr(f"{module}.AgentToolCallStartEvent", AgentToolCallStartEvent, raising=False)
    assert SessionChatEngine(client=serve(OVERLAPPING)).chat("How much?").response == "Revenue was 84.2."


@proves(41)
@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning")
@pytest.mark.parametrize("method", METHODS)
async def test_no_key_is_in_any_span_or_event(serve: Serve, recorder: Recorder, method: str) -> None:
    traces = Traces()
    with traces.instrumented():
        await ask(SessionChatEngine(client=serve(OVERLAPPING)), method)
    shown = [span.to_json() for span in traces.spans] + [repr(event) for event in recorder.events]
    shown += [event.model_dump_json(fallback=repr) for event in recorder.events]
    assert len(shown) > 20
    assert not any(KEY in text for text in shown)
