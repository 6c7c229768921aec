"""The traces that OpenInference's instrumentor makes of a turn, and the events that handlers get."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from llama_index_instrumentation import root_dispatcher
from openinference.instrumentation.llama_index import LlamaIndexInstrumentor
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from chat_sessions import Stop, TextDelta, ToolCall, ToolResult, TurnFailed, Usage
from chat_sessions.llama_index import SessionAgent, SessionChatEngine
from tests.llama_index.checklist import proves
from tests.llama_index.conftest import METHODS, PASSAGE, USAGE, Gate, ScriptedAgent, Serve, ask
from tests.llama_index.reading import CANCELS, live_threads, pieces, stream, until

# OpenInference asks the metadata of each model, the stock ones too, for `json()`.
pytestmark = pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning")

OVERLAPPING = (
    ToolCall(call_id="a", name="search", arguments={"query": "revenue"}),
    ToolCall(call_id="b", name="read-page", arguments={"page": 3}),
    ToolResult(call_id="a", name="search", result={"results": [PASSAGE]}),
    ToolResult(call_id="b", name="read-page", result="page text"),
    TextDelta(content="Revenue "),
    TextDelta(content="was 84.2."),
    Stop(usage=USAGE, is_error=False),
)


class Traces:
    """The spans that were exported."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = self.provider.get_tracer("test")

    @contextmanager
    def instrumented(self) -> Iterator[None]:
        instrumentor = LlamaIndexInstrumentor()
        instrumentor.instrument(tracer_provider=self.provider, skip_dep_check=True)
        try:
            yield
        finally:
            instrumentor.uninstrument()
            self.provider.shutdown()

    @property
    def spans(self) -> list[ReadableSpan]:
        return sorted(self.exporter.get_finished_spans(), key=lambda span: span.start_time or 0)

    def named(self, name: str) -> ReadableSpan:
        (span,) = [span for span in self.spans if span.name == name]
        return span

    def tree(self) -> list[str]:
        """Each span as a path of names, with its kind and status."""
        by_id = {span.context.span_id: span for span in self.spans if span.context}

        def path(span: ReadableSpan) -> str:
            above = by_id.get(span.parent.span_id) if span.parent else None
            return f"{path(above)}/{span.name}" if above else span.name

        return [f"{path(span)} {kind(span)} {span.status.status_code.name}" for span in self.spans]

    def trace_ids(self) -> set[int]:
        return {span.context.trace_id for span in self.spans if span.context}


def kind(span: ReadableSpan) -> str:
    return str((span.attributes or {}).get("openinference.span.kind", "-"))


def attribute(span: ReadableSpan, name: str) -> Any:
    return (span.attributes or {}).get(name)


@pytest.fixture
def traces() -> Iterator[Traces]:
    made = Traces()
    with made.instrumented():
        yield made


def expected(root: str, status: str = "OK") -> list[str]:
    return [
        f"{root} AGENT {status}",
        f"{root}/ChatSession.stream LLM {status}",
        f"{root}/search.call TOOL OK",
        f"{root}/read_page.call TOOL OK",
        f"{root}/search.call/search.retrieve RETRIEVER OK",
        f"{root}/ChatSession.stream/ChatSession.deltas CHAIN {status}",
    ]


@proves(29, 31, 33)
@pytest.mark.parametrize("method", METHODS)
async def test_a_turn_is_one_trace_with_its_tools_as_siblings(serve: Serve, traces: Traces, method: str) -> None:
    await ask(SessionChatEngine(client=serve(OVERLAPPING)), method)
    assert sorted(traces.tree()) == sorted(expected(f"SessionChatEngine.{method}"))
    assert len(traces.trace_ids()) == 1


@proves(29)
@pytest.mark.parametrize("method", METHODS)
async def test_a_turn_is_part_of_the_trace_around_it(serve: Serve, traces: Traces, method: str) -> None:
    with traces.tracer.start_as_current_span("app"):
        await ask(SessionChatEngine(client=serve(OVERLAPPING)), method)
    tree = traces.tree()
    assert tree[0] == "app - UNSET"
    assert sorted(tree[1:]) == sorted(f"app/{line}" for line in expected(f"SessionChatEngine.{method}"))


@proves(29)
def test_a_turn_that_is_read_in_another_thread_is_still_one_trace(serve: Serve, traces: Traces) -> None:
    response = SessionChatEngine(client=serve(OVERLAPPING)).stream_chat("How much?")
    reader = threading.Thread(target=response.drain)
    reader.start()
    reader.join()
    assert sorted(traces.tree()) == sorted(expected("SessionChatEngine.stream_chat"))


@proves(30)
@pytest.mark.parametrize("method", METHODS)
async def test_the_root_has_question_and_answer_and_lasts_to_the_end(serve: Serve, traces: Traces, method: str) -> None:
    await ask(SessionChatEngine(client=serve(OVERLAPPING)), method)
    root = traces.named(f"SessionChatEngine.{method}")
    assert attribute(root, "input.value") == "How much?"
    assert attribute(root, "output.value") == "Revenue was 84.2."
    for span in traces.spans:
        assert (root.start_time or 0) <= (span.start_time or 0)
        assert (root.end_time or 0) >= (span.end_time or 0)


@proves(31)
def test_a_tool_span_has_its_name_arguments_and_result(serve: Serve, traces: Traces) -> None:
    SessionChatEngine(client=serve(OVERLAPPING)).chat("How much?")
    span = traces.named("read_page.call")
    assert attribute(span, "tool.name") == "read-page"
    assert json.loads(attribute(span, "input.value")) == {"page": 3}
    assert "page text" in attribute(span, "output.value")


@proves(32)
@pytest.mark.parametrize("method", METHODS)
async def test_the_llm_span_has_the_token_counts_and_the_messages(serve: Serve, traces: Traces, method: str) -> None:
    await ask(SessionChatEngine(client=serve(OVERLAPPING)), method)
    span = traces.named("ChatSession.stream")
    counts = {name: attribute(span, f"llm.token_count.{name}") for name in ("prompt", "completion", "total")}
    assert counts == {"prompt": 11, "completion": 7, "total": 18}
    assert attribute(span, "llm.input_messages.0.message.content") == "How much?"
    assert attribute(span, "llm.output_messages.0.message.role") == "assistant"


@proves(33)
def test_a_retrieval_has_its_query_and_its_documents(serve: Serve, traces: Traces) -> None:
    SessionChatEngine(client=serve(OVERLAPPING)).chat("How much?")
    span = traces.named("search.retrieve")
    assert attribute(span, "input.value") == "revenue"
    assert attribute(span, "retrieval.documents.0.document.content") == "Revenue was 84.2 million."
    assert attribute(span, "retrieval.documents.0.document.score") == 0.9
    assert "report.pdf" in attribute(span, "retrieval.documents.0.document.metadata")


@proves(34)
async def test_the_readers_current_span_never_changes(serve: Serve, traces: Traces) -> None:
    engine = SessionChatEngine(client=serve(OVERLAPPING))
    with traces.tracer.start_as_current_span("app") as app:
        for _ in engine.stream_chat("How much?").response_gen:
            assert trace.get_current_span() is app
        assert trace.get_current_span() is app
        async for _ in (await engine.astream_chat("How much?")).async_response_gen():
            assert trace.get_current_span() is app
        engine.chat("How much?")
        await engine.achat("How much?")
        assert trace.get_current_span() is app


FAILS = (*OVERLAPPING[:2], TextDelta(content="As far"), Stop(usage=Usage(), is_error=True, error="broken"))


@proves(35)
@pytest.mark.parametrize("method", METHODS)
async def test_a_failed_turn_ends_every_span_as_an_error(serve: Serve, traces: Traces, method: str) -> None:
    with pytest.raises(TurnFailed):
        await ask(SessionChatEngine(client=serve(FAILS)), method)
    assert len(traces.spans) == 5
    assert {span.status.status_code for span in traces.spans} == {StatusCode.ERROR}
    assert "broken" in str(traces.named(f"SessionChatEngine.{method}").status.description)
    assert_nothing_open()


@proves(35)
@pytest.mark.parametrize("how", ["close", "break", "forget"])
def test_an_abandoned_turn_ends_every_span_as_an_error(serve: Serve, traces: Traces, how: str) -> None:
    gate = Gate()
    response = SessionChatEngine(client=serve((*OVERLAPPING[:2], TextDelta(content="a"), gate))).stream_chat("?")
    read = response.response_gen
    next(read)
    if how == "close":
        response.close()
    elif how == "break":
        read.close()
    else:
        # The collector hands a forgotten answer to a thread of its own: there is no one to wait for.
        del read, response
        while len(traces.spans) < 5:
            pass
    assert len(traces.spans) == 5
    assert {span.status.status_code for span in traces.spans} == {StatusCode.ERROR}
    assert_nothing_open()


@proves(8, 25, 35)
@pytest.mark.parametrize("method", ["stream_chat", "astream_chat"])
async def test_a_turn_left_after_three_tokens_leaves_nothing_behind(serve: Serve, traces: Traces, method: str) -> None:
    gate = Gate()
    agent = ScriptedAgent((*(TextDelta(content=word) for word in "abcd"), gate))
    engine = SessionChatEngine(client=serve(agent=agent, behaviour=CANCELS))
    await engine.achat_history()
    before = (live_threads(), asyncio.all_tasks())
    response = await stream(engine, method)
    seen: list[str] = []
    async for piece in pieces(response, method):
        seen.append(piece)
        if len(seen) == 3:
            break
    assert await asyncio.to_thread(agent.ended.wait, 10)
    if closing := asyncio.all_tasks() - before[1]:
        assert not (await asyncio.wait(closing, timeout=10))[1]
    assert live_threads() <= before[0]
    assert_nothing_open()
    assert {span.status.status_code for span in traces.spans} == {StatusCode.ERROR}
    until(lambda: engine.session.turns()[0].is_complete)
    (turn,) = engine.session.turns()
    assert [message.content for message in await engine.achat_history()] == ["How much?", turn.text]


@proves(35)
@pytest.mark.parametrize("method", ["achat", "astream_chat"])
async def test_a_cancelled_turn_ends_every_span_as_an_error(serve: Serve, traces: Traces, method: str) -> None:
    gate = Gate()
    engine = SessionChatEngine(client=serve((*OVERLAPPING[:2], TextDelta(content="a"), gate)))
    task = asyncio.create_task(ask(engine, method))
    assert await asyncio.to_thread(gate.reached.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert {span.status.status_code for span in traces.spans} == {StatusCode.ERROR}
    assert_nothing_open()


@proves(35)
def test_a_turn_that_could_not_be_sent_is_a_trace_too(serve: Serve, traces: Traces) -> None:
    chat = serve()
    engine = SessionChatEngine(client=chat, session_id="ses-unknown", index_ids=["idx"])
    with pytest.raises(Exception, match="404"):
        engine.stream_chat("How much?")
    assert traces.tree() == [
        "SessionChatEngine.stream_chat AGENT ERROR",
        "SessionChatEngine.stream_chat/ChatSession.stream LLM ERROR",
    ]


@proves(31, 35)
def test_a_tool_without_a_result_is_an_error_within_a_turn_that_is_none(serve: Serve, traces: Traces) -> None:
    SessionChatEngine(client=serve((OVERLAPPING[0], *OVERLAPPING[4:]))).chat("How much?")
    assert traces.named("search.call").status.status_code is StatusCode.ERROR
    assert traces.named("SessionChatEngine.chat").status.status_code is StatusCode.OK


def test_a_result_whose_call_was_not_seen_is_a_tool_span_too(serve: Serve, traces: Traces) -> None:
    SessionChatEngine(client=serve((OVERLAPPING[3], *OVERLAPPING[4:]))).chat("How much?")
    assert "page text" in attribute(traces.named("read_page.call"), "output.value")


def assert_nothing_open() -> None:
    for handler in root_dispatcher.span_handlers:
        assert handler.open_spans == {}


def test_an_agent_that_says_nothing_has_a_trace(serve: Serve, traces: Traces) -> None:
    engine = SessionChatEngine(client=serve(agent=ScriptedAgent((Stop(usage=Usage(), is_error=False),))))
    assert str(engine.chat("How much?")) == ""
    assert traces.tree() == [
        "SessionChatEngine.chat AGENT OK",
        "SessionChatEngine.chat/ChatSession.stream LLM OK",
    ]


@pytest.mark.parametrize("ends_well", [True, False])
async def test_an_agents_turn_is_a_part_of_its_workflows_trace(serve: Serve, traces: Traces, ends_well: bool) -> None:
    handler = SessionAgent(client=serve(OVERLAPPING if ends_well else FAILS)).run(user_msg="How much?")
    if ends_well:
        await handler
    else:
        with pytest.raises(TurnFailed):
            await handler
    names = {line.split("/")[-1] for line in traces.tree() if "/SessionAgent.take_step" in line}
    status = "OK" if ends_well else "ERROR"
    assert {f"SessionAgent.take_step AGENT {status}", f"ChatSession.stream LLM {status}"} <= names
    assert f"search.call TOOL {status}" in names
    assert len(traces.trace_ids()) == 1
    assert_nothing_open()
