"""MLflow's tracing, `autolog()` for both frameworks, kept in a SQLite file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest

from chat_sessions.langchain import SessionChatModel
from chat_sessions.llama_index import SessionChatEngine
from tests.consumers.service import ANSWER, PASSAGE, QUERY, Service


@pytest.fixture(scope="module", autouse=True)
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder: Path = tmp_path_factory.mktemp("mlflow")
    # Without it, MLflow asks the network what the tokens of a model cost.
    os.environ["MLFLOW_MODEL_CATALOG_URI"] = ""
    mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
    mlflow.create_experiment("turns", artifact_location=str(folder))
    mlflow.set_experiment("turns")
    mlflow.langchain.autolog()
    mlflow.llama_index.autolog()
    yield
    mlflow.langchain.autolog(disable=True)
    mlflow.llama_index.autolog(disable=True)


def _last_trace() -> Any:
    mlflow.flush_trace_async_logging()
    return max(mlflow.search_traces(return_type="list"), key=lambda trace: trace.info.request_time)


def _tree(trace: Any) -> list[tuple[str, str, str | None]]:
    names = {span.span_id: span.name for span in trace.data.spans}
    return sorted((span.name, span.span_type, names.get(span.parent_id)) for span in trace.data.spans)


@pytest.mark.parametrize("face", ["sync", "async"])
async def test_a_turn_of_the_chat_model_is_a_trace_with_its_tool_and_its_retrieval(face: str, service: Service) -> None:
    model = SessionChatModel(client=service.client())
    _ = model.invoke("How was Q3?") if face == "sync" else await model.ainvoke("How was Q3?")
    assert mlflow.get_current_active_span() is None
    trace = _last_trace()
    assert _tree(trace) == [
        ("SessionChatModel", "CHAT_MODEL", None),
        ("search", "RETRIEVER", "search"),
        ("search", "TOOL", "SessionChatModel"),
    ]
    (tool,) = trace.search_spans(span_type="TOOL")
    assert QUERY in str(tool.inputs)
    (retriever,) = trace.search_spans(span_type="RETRIEVER")
    assert [document["page_content"] for document in retriever.outputs] == [PASSAGE]
    usage = trace.info.token_usage
    assert (usage["input_tokens"], usage["output_tokens"]) == (120, 34)
    assert service.session_id in trace.to_json()


def test_a_turn_of_the_chat_engine_is_a_trace_with_its_tool_and_its_retrieval(service: Service) -> None:
    engine = SessionChatEngine(client=service.client())
    assert "".join(engine.stream_chat("How was Q3?").response_gen) == ANSWER
    trace = _last_trace()
    assert [(name, kind) for name, kind, parent in _tree(trace) if parent is None] == [
        ("SessionChatEngine.stream_chat", "CHAIN")
    ]
    (tool,) = trace.search_spans(span_type="TOOL")
    assert QUERY in str(tool.inputs)
    (retriever,) = trace.search_spans(span_type="RETRIEVER")
    assert [document["page_content"] for document in retriever.outputs] == [PASSAGE]
