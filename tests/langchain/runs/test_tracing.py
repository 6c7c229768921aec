"""What tracers make of a turn: LangSmith by its environment and by hand, and OpenInference."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import langsmith
import langsmith.run_trees
import langsmith.utils
import pytest
from langchain_core.tracers.context import collect_runs
from langchain_core.tracers.langchain import LangChainTracer
from openinference.instrumentation import using_session
from openinference.instrumentation.langchain import LangChainInstrumentor
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from chat_sessions import TurnFailed
from chat_sessions.core.events import TextDelta, ToolResult
from tests.langchain.runs.test_runs import ASYNC_PATHS, SYNC_PATHS
from tests.langchain.runs.trace_sink import TraceSink, trace_sink
from tests.langchain.stage import FAILED, READ, SEARCH, SEARCH_RESULT, TEXT, TURN, Stage, finished

# With `generate_prompt` the test below would have to pass callbacks itself.
PATHS = {**{name: path for name, path in SYNC_PATHS.items() if name != "generate"}, **ASYNC_PATHS}


@pytest.fixture
def sink() -> Iterator[TraceSink]:
    with trace_sink() as opened:
        yield opened


@pytest.fixture
def tracer_client(sink: TraceSink) -> langsmith.Client:
    """LangSmith's client, sending each run as it is, without a thread of its own."""
    return langsmith.Client(api_url=sink.url, api_key="lsv2_test", auto_batch_tracing=False)


@pytest.fixture
def environment_tracing(tracer_client: langsmith.Client, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """LangSmith turned on as its users do, by the environment."""
    monkeypatch.setenv("LANGSMITH_TRACING", "true")
    monkeypatch.setattr(langsmith.run_trees, "_CLIENT", tracer_client)
    _forget_environment()
    yield
    _forget_environment()


def _forget_environment() -> None:
    cached: Any = langsmith.utils.get_env_var
    cached.cache_clear()


def _assert_tools_below_the_model(sink: TraceSink) -> None:
    (model,) = sink.of_type("llm")
    tools = sink.of_type("tool")
    assert sorted(run["name"] for run in tools) == ["read", "search"]
    for run in tools:
        assert run["parent_run_id"] == model["id"]
        assert run["trace_id"] == model["trace_id"]
        assert run["dotted_order"].startswith(model["dotted_order"] + ".")
    retrievals = sink.of_type("retriever")
    assert {run["parent_run_id"] for run in retrievals} == {run["id"] for run in tools}
    assert len(sink.runs) == sink.starts == 5
    assert all(run.get("end_time") for run in sink.runs.values())


@pytest.mark.checklist(22)
@pytest.mark.parametrize("name", PATHS)
@pytest.mark.usefixtures("environment_tracing")
async def test_environment_tracing_has_the_tools_below_the_model(stage: Stage, sink: TraceSink, name: str) -> None:
    model = stage.model()
    await finished(await asyncio.to_thread(PATHS[name], model, {}) if name in SYNC_PATHS else PATHS[name](model, {}))
    _assert_tools_below_the_model(sink)
    (run,) = sink.of_type("llm")
    metadata = run["extra"]["metadata"]
    assert (metadata["ls_provider"], metadata["ls_model_name"]) == ("llama_cloud", "llama-cloud-chat")
    assert stage.server.api_key not in str(sink.runs)


@pytest.mark.checklist(23)
@pytest.mark.parametrize("name", PATHS)
async def test_a_tracer_given_by_hand_has_the_same_and_each_start_has_an_end(
    stage: Stage, sink: TraceSink, tracer_client: langsmith.Client, name: str
) -> None:
    await finished(PATHS[name](stage.model(), {"callbacks": [LangChainTracer(client=tracer_client)]}))
    _assert_tools_below_the_model(sink)


async def test_collect_runs_has_the_tools_and_their_retrievals_below_the_model(stage: Stage) -> None:
    for is_async in (False, True):
        with collect_runs() as collected:
            await stage.model().ainvoke("q") if is_async else stage.model().invoke("q")
        (model,) = collected.traced_runs
        assert sorted(run.name for run in model.child_runs) == ["read", "search"]
        assert [[below.run_type for below in run.child_runs] for run in model.child_runs] == [["retriever"]] * 2


@pytest.mark.checklist(22)
@pytest.mark.usefixtures("environment_tracing")
def test_in_a_chain_the_model_is_below_the_chain_and_the_tools_below_the_model(stage: Stage, sink: TraceSink) -> None:
    from langchain_core.output_parsers import StrOutputParser

    assert (stage.model() | StrOutputParser()).invoke("q") == "Hello world"
    orders = {(run["run_type"], run["name"]): run["dotted_order"].count(".") for run in sink.runs.values()}
    assert orders["tool", "search"] == orders["tool", "read"] == 2
    assert orders["retriever", "search"] == orders["retriever", "read"] == 3
    assert orders["llm", "SessionChatModel"] == 1


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    """OpenInference's LangChain instrumentor, and the spans it made."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    instrumentor = LangChainInstrumentor()
    instrumentor.instrument(tracer_provider=provider)
    yield exporter
    instrumentor.uninstrument()


def _by_kind(spans: InMemorySpanExporter) -> dict[str, list[ReadableSpan]]:
    found: dict[str, list[ReadableSpan]] = {}
    for span in spans.get_finished_spans():
        found.setdefault(str((span.attributes or {})["openinference.span.kind"]), []).append(span)
    return found


def _parent(span: ReadableSpan) -> int | None:
    return None if span.parent is None else span.parent.span_id


@pytest.mark.parametrize("name", PATHS)
async def test_openinference_shows_the_model_with_its_usage_and_the_tools_below_it(
    stage: Stage, spans: InMemorySpanExporter, name: str
) -> None:
    await finished(PATHS[name](stage.model(), {}))
    kinds = _by_kind(spans)
    (model,) = kinds["LLM"]
    attributes: Any = model.attributes
    assert attributes["llm.token_count.prompt"] == 10
    assert attributes["llm.token_count.completion"] == 4
    assert attributes["llm.model_name"] == "llama-cloud-chat"
    assert "Hello world" in attributes["output.value"]
    assert sorted(str((span.attributes or {})["tool.name"]) for span in kinds["TOOL"]) == ["read", "search"]
    assert all(_parent(span) == model.context.span_id for span in kinds["TOOL"])
    assert all(span.status.is_ok or span.status.is_unset for span in spans.get_finished_spans())


def test_openinference_shows_an_agent_over_the_model_in_create_agent(stage: Stage, spans: InMemorySpanExporter) -> None:
    from langchain.agents import create_agent

    agent: Any = create_agent(stage.play(*TURN).model(), tools=[], name="agent")
    agent.invoke({"messages": [("user", "q")]})
    kinds = _by_kind(spans)
    assert kinds["AGENT"]
    assert len(kinds["LLM"]) == 1
    assert len(kinds["TOOL"]) == 2
    agents = {span.context.span_id for span in [*kinds["AGENT"], *kinds.get("CHAIN", [])] if span.context}
    assert _parent(kinds["LLM"][0]) in agents


@pytest.mark.parametrize("name", PATHS)
async def test_every_run_of_a_sessions_first_turn_has_the_session(
    stage: Stage, sink: TraceSink, tracer_client: langsmith.Client, name: str
) -> None:
    await finished(PATHS[name](stage.model(), {"callbacks": [LangChainTracer(client=tracer_client)]}))
    (session_id,) = stage.actor.sessions
    assert len(sink.runs) == 5
    assert {run["extra"]["metadata"]["session_id"] for run in sink.runs.values()} == {session_id}


@pytest.mark.parametrize("name", PATHS)
async def test_every_run_of_a_first_turn_that_failed_has_the_session_and_what_had_come(
    stage: Stage, sink: TraceSink, tracer_client: langsmith.Client, name: str
) -> None:
    stage.play(TextDelta(content="half"), SEARCH, SEARCH_RESULT, READ, FAILED)
    with pytest.raises(TurnFailed):
        await finished(PATHS[name](stage.model(), {"callbacks": [LangChainTracer(client=tracer_client)]}))
    (session_id,) = stage.actor.sessions
    assert len(sink.runs) == 4
    assert {run["extra"]["metadata"]["session_id"] for run in sink.runs.values()} == {session_id}
    assert all(run.get("end_time") for run in sink.runs.values())
    (model,) = sink.of_type("llm")
    assert model["outputs"]["generations"][0][0]["text"] == "half"
    assert "the index burned" in model["error"]


async def test_a_tool_whose_result_is_an_error_has_error_status_in_a_turn_that_ends_well(
    stage: Stage, spans: InMemorySpanExporter
) -> None:
    broken = ToolResult(call_id="c1", name="search", result={"error": "no such index"})
    stage.play(SEARCH, broken, *TEXT)
    for is_async in (False, True):
        spans.clear()
        await stage.model().ainvoke("q") if is_async else stage.model().invoke("q")
        kinds = _by_kind(spans)
        (tool,), (model,) = kinds["TOOL"], kinds["LLM"]
        assert tool.status.status_code is StatusCode.ERROR
        assert "no such index" in str(tool.status.description)
        assert model.status.is_ok


@pytest.mark.parametrize("name", PATHS)
async def test_an_id_that_the_application_gave_its_conversation_stays(
    stage: Stage, sink: TraceSink, tracer_client: langsmith.Client, name: str
) -> None:
    config: Any = {"callbacks": [LangChainTracer(client=tracer_client)], "metadata": {"session_id": "conversation-7"}}
    await finished(PATHS[name](stage.model(), config))
    assert len(sink.runs) == 5
    assert {run["extra"]["metadata"]["session_id"] for run in sink.runs.values()} == {"conversation-7"}
    (model,) = sink.of_type("llm")
    assert model["extra"]["invocation_params"]["session_id"] == stage.actor.sessions[0]


async def test_a_session_chosen_by_the_call_is_in_the_trace_and_not_that_of_the_config(
    stage: Stage, sink: TraceSink, tracer_client: langsmith.Client
) -> None:
    chosen, other = stage.new_session(), stage.new_session()
    config: Any = {"callbacks": [LangChainTracer(client=tracer_client)], "configurable": {"session_id": other}}
    stage.model().invoke("q", config, session_id=chosen)
    await stage.model().ainvoke("q", config, session_id=chosen)
    assert stage.actor.sessions == [chosen, chosen]
    assert {run["extra"]["metadata"]["session_id"] for run in sink.runs.values()} == {chosen}


async def test_an_id_that_the_application_gave_its_spans_stays(stage: Stage, spans: InMemorySpanExporter) -> None:
    with using_session("conversation-7"):
        stage.model().invoke("q")
        await stage.model().ainvoke("q")
    found = [(span.attributes or {}).get("session.id") for span in spans.get_finished_spans()]
    assert found == ["conversation-7"] * 10


async def test_openinference_has_the_session_and_the_passages_of_each_retrieval(
    stage: Stage, spans: InMemorySpanExporter
) -> None:
    for is_async in (False, True):
        spans.clear()
        await stage.model().ainvoke("q") if is_async else stage.model().invoke("q")
        kinds = _by_kind(spans)
        session_id = stage.actor.sessions[-1]
        assert {kind: len(found) for kind, found in kinds.items()} == {"LLM": 1, "TOOL": 2, "RETRIEVER": 2}
        assert {(span.attributes or {}).get("session.id") for found in kinds.values() for span in found} == {session_id}
        passages = {(span.attributes or {})["retrieval.documents.0.document.content"] for span in kinds["RETRIEVER"]}
        assert passages == {"Q3 was good.", "Revenue grew."}
        (llm,) = kinds["LLM"]
        assert (llm.attributes or {})["llm.model_name"] == "llama-cloud-chat"
        assert (llm.attributes or {})["llm.token_count.prompt"] == 10
