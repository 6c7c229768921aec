"""Phoenix: its server, which gets OpenInference's spans over OTLP, and what its API says of a turn."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from openinference.instrumentation.langchain import LangChainInstrumentor
from openinference.instrumentation.llama_index import LlamaIndexInstrumentor
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from chat_sessions.langchain import SessionChatModel
from chat_sessions.llama_index import SessionChatEngine
from tests.consumers.ports import free_port, wait_until_open
from tests.consumers.service import ANSWER, PASSAGE, QUERY, Service

pytestmark = pytest.mark.heavy

_PROGRAM = Path(__file__).parents[3] / ".venvs" / "consumers" / "phoenix" / "bin" / "phoenix"

Ask = Callable[[Service], None]


@pytest.fixture(scope="module")
def phoenix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of Phoenix's server, which keeps its database in a folder of the test's."""
    folder, port = tmp_path_factory.mktemp("phoenix"), free_port()
    told = {
        "PHOENIX_WORKING_DIR": str(folder),
        "PHOENIX_HOST": "127.0.0.1",
        "PHOENIX_PORT": str(port),
        "PHOENIX_GRPC_PORT": str(free_port()),
        "PHOENIX_TELEMETRY_ENABLED": "false",
    }
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([str(_PROGRAM), "serve"], env={**os.environ, **told}, stdout=log, stderr=log)
        try:
            wait_until_open(port, process)
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
                yield client
        finally:
            process.terminate()
            process.wait()


def _chat_engine(service: Service) -> None:
    assert "".join(SessionChatEngine(client=service.client()).stream_chat("How was Q3?").response_gen) == ANSWER


def _chat_model(service: Service) -> None:
    assert SessionChatModel(client=service.client()).invoke("How was Q3?").text == ANSWER


def _spans(phoenix: httpx.Client, project: str, ask: Callable[[], None]) -> list[dict[str, Any]]:
    """The spans that Phoenix has of what is asked, the first that began first."""
    provider = TracerProvider(resource=Resource({"openinference.project.name": project}))
    # It drops what the server does not take in time, and a server that has just started is slow.
    exporter = OTLPSpanExporter(f"{phoenix.base_url}/v1/traces", timeout=300)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    instrumentors = (LangChainInstrumentor(), LlamaIndexInstrumentor())
    for instrumentor in instrumentors:
        instrumentor.instrument(tracer_provider=provider)
    try:
        ask()
    finally:
        for instrumentor in instrumentors:
            instrumentor.uninstrument()
        provider.shutdown()
    # The server puts what it received into its database a moment later.
    with httpx.Client(transport=httpx.HTTPTransport(retries=3), base_url=phoenix.base_url) as client:
        found: list[dict[str, Any]] = []
        while not any(span["parent_id"] is None for span in found):
            answer = client.get(f"/v1/projects/{project}/spans", params={"limit": 100})
            found = answer.json()["data"] if answer.is_success else []
    return sorted(found, key=lambda span: str(span["start_time"]))


def _of(spans: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    (span,) = (span for span in spans if span["span_kind"] == kind)
    return span


@pytest.mark.parametrize(("ask", "root"), [(_chat_engine, "AGENT"), (_chat_model, "LLM")])
def test_a_turn_is_a_trace_with_its_words_tool_documents_counts_and_session(
    ask: Ask, root: str, phoenix: httpx.Client, service: Service
) -> None:
    spans = _spans(phoenix, f"turns-{root}", lambda: ask(service))
    (top,) = (span for span in spans if span["parent_id"] is None)
    assert top["span_kind"] == root
    for span in spans:
        assert span["attributes"]["session.id"] == service.session_id
        assert span["status_code"] == "OK"

    model = _of(spans, "LLM")["attributes"]
    assert (model["llm.token_count.prompt"], model["llm.token_count.completion"]) == (120, 34)
    assert model["llm.model_name"] == "llama-cloud-chat"
    # LangChain's message has its words as a string, LlamaIndex's in a block beside the thoughts.
    said = [
        model[name]
        for name in sorted(model)
        if name.startswith("llm.output_messages.0.message.content") and name.endswith(("message.content", "text"))
    ]
    assert "".join(said) == ANSWER

    tool = _of(spans, "TOOL")
    assert (tool["name"].split(".")[0], tool["attributes"]["tool.name"]) == ("search", "search")
    assert QUERY in tool["attributes"]["input.value"]
    retrieval = _of(spans, "RETRIEVER")
    assert retrieval["parent_id"] == tool["context"]["span_id"]
    assert retrieval["attributes"]["retrieval.documents.0.document.content"] == PASSAGE
    assert {"report.md", 2} <= {
        value
        for name, value in retrieval["attributes"].items()
        if name.startswith("retrieval.documents.0.document.metadata")
    }
