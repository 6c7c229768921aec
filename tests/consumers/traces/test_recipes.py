"""The tracers of `examples/recipes`: what each one's own tests read of a turn is there after its recipe has run."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import mlflow
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.consumers.recipes import load
from tests.consumers.service import ANSWER, Service
from tests.consumers.traces.sink import sink

ROOT = Path(__file__).parents[3]


@dataclass
class Collector:
    """An address on loopback that takes OpenTelemetry's spans."""

    url: str
    names: set[str] = field(default_factory=set[str])

    def take(self, path: str, body: bytes) -> None:
        if path.endswith("/v1/traces"):
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                self.names |= {span.name for scope in resource.scope_spans for span in scope.spans}


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector("")
    with sink(made.take) as made.url:
        yield made


def test_phoenix_is_sent_a_turn_of_each_framework(
    service: Service, collector: Collector, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PHOENIX_COLLECTOR_ENDPOINT", collector.url)
    load("phoenix_traces.py")["main"]()
    assert capsys.readouterr().out.count(ANSWER) == 2
    assert {"SessionChatEngine.chat", "SessionChatModel", "search"} <= collector.names
    assert service.session_id


def test_langfuse_is_sent_a_turn(service: Service, collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANGFUSE_PUBLIC_KEY", "pk-lf-recipe")
    monkeypatch.setenv("LANGFUSE_SECRET_KEY", "sk-lf-recipe")
    monkeypatch.setenv("LANGFUSE_BASE_URL", collector.url)
    # In a process of its own: Langfuse traces nothing in one that has made clients of several projects.
    command = [sys.executable, "-m", "examples.recipes.langfuse_traces"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert ANSWER in ran.stdout, ran.stderr
    assert {"SessionChatModel", "search"} <= collector.names
    assert service.session_id


def test_mlflow_keeps_a_turn_of_each_framework(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    # Without it, MLflow asks the network what the tokens of a model cost.
    monkeypatch.setenv("MLFLOW_MODEL_CATALOG_URI", "")
    monkeypatch.chdir(tmp_path)
    before = mlflow.get_tracking_uri()
    try:
        load("mlflow_traces.py")["main"]()
        assert capsys.readouterr().out.count(ANSWER) == 2
        traces = mlflow.search_traces(return_type="list")
        roots = {span.name for trace in traces for span in trace.data.spans if span.parent_id is None}
        assert roots == {"SessionChatEngine.chat", "SessionChatModel"}
    finally:
        mlflow.langchain.autolog(disable=True)
        mlflow.llama_index.autolog(disable=True)
        mlflow.set_tracking_uri(before)
    assert service.session_id
