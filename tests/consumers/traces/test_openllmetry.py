"""OpenLLMetry's instrumentation of both frameworks, with an exporter in this process."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from llama_index_instrumentation import get_dispatcher
from opentelemetry.instrumentation.langchain import LangchainInstrumentor
from opentelemetry.instrumentation.llamaindex import LlamaIndexInstrumentor
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from chat_sessions.langchain import SessionChatModel
from chat_sessions.llama_index import SessionChatEngine
from tests.consumers.service import ANSWER, PASSAGE, QUERY, Service


@contextmanager
def _spans(instrumentor: Any) -> Iterator[InMemorySpanExporter]:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    # Its `uninstrument` leaves its handlers in LlamaIndex's dispatcher, where they would open spans around other
    # tracers' for as long as the process lives.
    dispatcher = get_dispatcher()
    handlers = [*dispatcher.span_handlers], [*dispatcher.event_handlers]
    instrumentor.instrument(tracer_provider=provider)
    try:
        yield exporter
    finally:
        instrumentor.uninstrument()
        dispatcher.span_handlers[:], dispatcher.event_handlers[:] = handlers


def _chat_model(service: Service) -> None:
    SessionChatModel(client=service.client()).invoke("How was Q3?")


def _chat_engine(service: Service) -> None:
    assert "".join(SessionChatEngine(client=service.client()).stream_chat("How was Q3?").response_gen) == ANSWER


@pytest.mark.parametrize(
    ("instrumentor", "ask"), [(LangchainInstrumentor, _chat_model), (LlamaIndexInstrumentor, _chat_engine)]
)
def test_a_turn_has_its_model_its_words_its_counts_and_its_tool(
    instrumentor: Any, ask: Callable[[Service], None], service: Service
) -> None:
    with _spans(instrumentor()) as exporter:
        ask(service)
    spans: list[ReadableSpan] = list(exporter.get_finished_spans())
    (model,) = (dict(span.attributes or {}) for span in spans if "gen_ai.request.model" in (span.attributes or {}))
    assert model["gen_ai.request.model"] == "llama-cloud-chat"
    assert (model["gen_ai.usage.input_tokens"], model["gen_ai.usage.output_tokens"]) == (120, 34)
    (said,) = json.loads(str(model["gen_ai.output.messages"]))
    assert [part["content"] for part in said["parts"]] == [ANSWER]
    tools = [dict(span.attributes or {}) for span in spans if (span.attributes or {}).get("traceloop.entity.output")]
    assert any(QUERY in str(tool["traceloop.entity.input"]) for tool in tools)
    assert any(PASSAGE in str(tool["traceloop.entity.output"]) for tool in tools)
    if ask is _chat_model:
        ids = {(span.attributes or {}).get("traceloop.association.properties.session_id") for span in spans}
        assert ids == {service.session_id}
