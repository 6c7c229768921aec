"""Langfuse's callback handler: what its exporter posts to its server, of which there is only an address on loopback."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from langfuse import Langfuse
from langfuse.langchain import CallbackHandler
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from chat_sessions.langchain import SessionChatModel
from tests.consumers.service import ANSWER, PASSAGE, QUERY, Service
from tests.consumers.traces.sink import sink

Span = dict[str, Any]


@pytest.fixture
def posted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Span]]:
    """The spans that were posted, by what the protocol calls attributes; Langfuse's variables name the address."""
    spans: list[Span] = []

    def take(path: str, body: bytes) -> None:
        if path.endswith("/v1/traces"):
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                spans.extend(_read(span) for scope in resource.scope_spans for span in scope.spans)

    with sink(take) as url:
        monkeypatch.setenv("LANGFUSE_PUBLIC_KEY", "pk-lf-test")
        monkeypatch.setenv("LANGFUSE_SECRET_KEY", "sk-lf-test")
        monkeypatch.setenv("LANGFUSE_BASE_URL", url)
        yield spans


def _read(span: Any) -> Span:
    attributes = {item.key: item.value.string_value for item in span.attributes}
    prefix = "langfuse.observation."
    own = {key.removeprefix(prefix): value for key, value in attributes.items() if key.startswith(prefix)}
    return {**own, "name": span.name, "id": span.span_id, "parent": span.parent_span_id}


def test_a_turn_is_a_generation_with_the_service_s_counts_and_its_tool_below(
    posted: list[Span], service: Service
) -> None:
    langfuse = Langfuse()
    SessionChatModel(client=service.client()).invoke("How was Q3?", {"callbacks": [CallbackHandler()]})
    langfuse.flush()
    langfuse.shutdown()
    (generation,) = (span for span in posted if span["type"] == "generation")
    assert json.loads(generation["usage_details"]) == {"input": 120, "output": 34, "total": 154}
    assert generation["model.name"] == "llama-cloud-chat"
    assert json.loads(generation["output"])["content"] == ANSWER
    assert service.session_id in json.dumps(generation, default=str)
    (tool,) = (span for span in posted if span["type"] == "tool")
    assert (tool["name"], tool["parent"]) == ("search", generation["id"])
    assert QUERY in tool["input"]
    (retrieval,) = (span for span in posted if span["type"] == "retriever")
    assert retrieval["parent"] == tool["id"]
    assert PASSAGE in retrieval["output"]
