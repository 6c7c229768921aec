"""Opik's handlers: what they post to its server, of which there is only an address on loopback."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import opik
import pytest
from llama_index.core import Settings
from llama_index.core.callbacks import CallbackManager
from llama_index.core.llms import MockLLM
from opik.integrations.langchain import OpikTracer
from opik.integrations.llama_index import LlamaIndexCallbackHandler

from chat_sessions.langchain import SessionChatModel
from chat_sessions.llama_index import SessionChatEngine
from tests.consumers.service import ANSWER, PASSAGE, QUERY, Service
from tests.consumers.traces.sink import sink


@dataclass
class Posted:
    """What Opik's client has posted, by id: it may post the beginning first, and the whole later."""

    traces: dict[str, Any] = field(default_factory=dict[str, Any])
    spans: dict[str, Any] = field(default_factory=dict[str, Any])

    def take(self, path: str, body: bytes) -> None:
        told: dict[str, Any] = json.loads(body) if path.endswith("/batch") else {}
        for kept, kind in ((self.traces, "traces"), (self.spans, "spans")):
            kept.update({each["id"]: each for each in told.get(kind, [])})


# Opik's handlers share the client that the first of them makes.
@pytest.fixture(scope="module")
def all_posted() -> Iterator[Posted]:
    made = Posted()
    with pytest.MonkeyPatch.context() as patch, sink(made.take) as url:
        patch.setenv("OPIK_SENTRY_ENABLE", "false")
        patch.setenv("OPIK_URL_OVERRIDE", f"{url}/api")
        yield made
        opik.flush_tracker()


@pytest.fixture
def posted(all_posted: Posted) -> Posted:
    all_posted.traces.clear()
    all_posted.spans.clear()
    return all_posted


def _ends_a_trace(posted: Posted, tool: str, answer: Any) -> None:
    (trace,) = posted.traces.values()
    assert answer(trace["output"]) == ANSWER
    (called,) = (span for span in posted.spans.values() if span["name"] == tool)
    assert QUERY in json.dumps(called["input"])
    assert PASSAGE in json.dumps(called["output"])
    (model,) = (span for span in posted.spans.values() if span["type"] == "llm")
    assert called["parent_span_id"] == model["id"]


def test_a_turn_of_the_chat_model_is_a_trace_that_ends_in_the_answer(posted: Posted, service: Service) -> None:
    tracer = OpikTracer(project_name="turns")
    SessionChatModel(client=service.client()).invoke("How was Q3?", {"callbacks": [tracer]})
    tracer.flush()
    _ends_a_trace(posted, "search", lambda output: output["generations"][0][0]["text"])
    (tool,) = (span for span in posted.spans.values() if span["type"] == "tool")
    assert tool["metadata"]["session_id"] == service.session_id


def test_a_turn_of_the_chat_engine_is_a_trace_that_ends_in_the_answer(posted: Posted, service: Service) -> None:
    # The handler asks LlamaIndex's settings for a model, which is OpenAI's if there is no other.
    Settings.llm = MockLLM()
    handler = LlamaIndexCallbackHandler(project_name="turns")
    engine = SessionChatEngine(client=service.client(), callback_manager=CallbackManager([handler]))
    assert "".join(engine.stream_chat("How was Q3?").response_gen) == ANSWER
    handler.flush()

    def answer(output: Any) -> str:
        return "".join(block.get("text") or "" for block in output["output"]["blocks"])

    _ends_a_trace(posted, "function_call", answer)
