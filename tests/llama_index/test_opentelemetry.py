"""The traces that LlamaIndex's own OpenTelemetry integration makes of a turn."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from llama_index_instrumentation import root_dispatcher
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from chat_sessions import Stop, TextDelta, TurnFailed, Usage
from chat_sessions.llama_index import SessionChatEngine
from tests.llama_index.checklist import proves
from tests.llama_index.conftest import ANSWER, METHODS, USAGE, Serve, ask

otel = pytest.importorskip("llama_index.observability.otel")


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    # The integration sets the global provider, which may be set only once in a process.
    provider = TracerProvider()
    monkeypatch.setattr("opentelemetry.trace.set_tracer_provider", lambda _: None)
    monkeypatch.setattr("opentelemetry.trace.get_tracer", provider.get_tracer)
    made = InMemorySpanExporter()
    spans, events = list(root_dispatcher.span_handlers), list(root_dispatcher.event_handlers)
    otel.LlamaIndexOpenTelemetry(
        span_exporter=made, span_processor="simple", tracer_provider=provider
    ).start_registering()
    yield made
    root_dispatcher.span_handlers[:] = spans
    root_dispatcher.event_handlers[:] = events
    provider.shutdown()


def tree(exporter: InMemorySpanExporter) -> dict[str, str | None]:
    spans = exporter.get_finished_spans()
    names = {span.context.span_id: span.name for span in spans if span.context}
    return {span.name: names[span.parent.span_id] if span.parent else None for span in spans}


def event_names(span: ReadableSpan) -> list[str]:
    return [event.name for event in span.events]


@proves(29, 31, 33)
@pytest.mark.parametrize("method", METHODS)
async def test_a_turn_is_one_tree(serve: Serve, exporter: InMemorySpanExporter, method: str) -> None:
    await ask(SessionChatEngine(client=serve()), method)
    root = f"SessionChatEngine.{method}"
    assert tree(exporter) == {
        root: None,
        "ChatSession.stream": root,
        "retrieve.call": root,
        "retrieve.retrieve": "retrieve.call",
        "ChatSession.deltas": "ChatSession.stream",
    }
    assert {span.status.status_code for span in exporter.get_finished_spans()} == {StatusCode.OK}


@proves(36)
def test_a_thousand_tokens_push_no_other_event_out(serve: Serve, exporter: InMemorySpanExporter) -> None:
    script = (*(TextDelta(content=f"{n} ") for n in range(1000)), Stop(usage=USAGE, is_error=False))
    SessionChatEngine(client=serve(script)).chat("Count.")
    spans = {span.name: span for span in exporter.get_finished_spans()}
    assert event_names(spans["ChatSession.stream"]) == [
        "LLMChatStartEvent",
        "StreamChatStartEvent",
        "LLMChatEndEvent",
        "StreamChatEndEvent",
    ]
    assert event_names(spans["SessionChatEngine.chat"]) == ["AgentChatWithStepStartEvent", "AgentChatWithStepEndEvent"]
    assert set(event_names(spans["ChatSession.deltas"])) == {"StreamChatDeltaReceivedEvent"}


@proves(35)
def test_a_failed_turn_ends_as_an_error(serve: Serve, exporter: InMemorySpanExporter) -> None:
    script = (*ANSWER[:4], Stop(usage=Usage(), is_error=True, error="broken"))
    with pytest.raises(TurnFailed):
        SessionChatEngine(client=serve(script)).chat("How much?")
    spans = exporter.get_finished_spans()
    assert len(spans) == 3
    assert {span.status.status_code for span in spans} == {StatusCode.ERROR}
