"""What a tracer shows of a turn: whose it is, what its parts are, and what came of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from inspect import BoundArguments
from typing import Any

import pytest
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.callbacks import CallbackManager, LlamaDebugHandler
from llama_index.core.llms import LLM
from llama_index.core.tools import BaseTool
from llama_index_instrumentation import root_dispatcher
from llama_index_instrumentation.base import BaseEvent
from llama_index_instrumentation.event_handlers import BaseEventHandler
from llama_index_instrumentation.span import SimpleSpan
from llama_index_instrumentation.span_handlers import SimpleSpanHandler
from openinference.instrumentation import using_session
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from chat_sessions import Stop, TextDelta, ToolCall, ToolResult, TurnFailed, Usage
from chat_sessions.llama_index import SessionAgent, SessionChatEngine
from tests.llama_index.conftest import METHODS, Gate, Serve, ask
from tests.llama_index.test_callbacks import Log
from tests.llama_index.test_tracing import FAILS, OVERLAPPING, Traces, attribute

# OpenInference asks the metadata of each model, the stock ones too, for `json()`.
pytestmark = pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning")

BROKEN_TOOL = (
    ToolCall(call_id="a", name="search", arguments={"query": "revenue"}),
    ToolResult(call_id="a", name="search", result={"error": "no such index"}),
    TextDelta(content="I cannot tell."),
    Stop(usage=Usage(), is_error=False),
)


@pytest.fixture
def traces() -> Iterator[Traces]:
    made = Traces()
    with made.instrumented():
        yield made


class Events(BaseEventHandler):
    """Hears the events, so that they are sent."""

    @classmethod
    def class_name(cls) -> str:
        return "Events"

    def handle(self, event: BaseEvent, **kwargs: Any) -> None:
        pass


class Instances(SimpleSpanHandler):
    """Keeps what each span is a span of."""

    seen: dict[str, object] = {}  # noqa: RUF012 - a field of pydantic's

    def new_span(
        self,
        id_: str,
        bound_args: BoundArguments,
        instance: Any | None = None,
        parent_span_id: str | None = None,
        tags: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> SimpleSpan:
        self.seen[id_.partition("-")[0]] = instance
        return super().new_span(id_, bound_args, instance, parent_span_id, tags, **kwargs)


@pytest.mark.parametrize("method", METHODS)
async def test_the_sessions_id_is_on_every_span_also_on_its_first_turn(
    serve: Serve, traces: Traces, method: str
) -> None:
    engine = SessionChatEngine(client=serve(OVERLAPPING))
    for _ in range(2):
        await ask(engine, method)
        assert len(traces.spans) == 6
        assert {attribute(span, "session.id") for span in traces.spans} == {engine.session_id}
        traces.exporter.clear()


async def test_the_sessions_id_is_on_the_spans_of_an_agents_turn(serve: Serve, traces: Traces) -> None:
    chat = serve(OVERLAPPING)
    await SessionAgent(client=chat).run(user_msg="How much?")
    (summary,) = chat.list()
    assert attribute(traces.named("ChatSession.stream"), "session.id") == summary.session_id
    assert attribute(traces.named("search.call"), "session.id") == summary.session_id


def test_an_id_that_the_application_gave_its_spans_stays(serve: Serve, traces: Traces) -> None:
    with using_session("conversation-7"):
        SessionChatEngine(client=serve(OVERLAPPING)).chat("How much?")
    assert {attribute(span, "session.id") for span in traces.spans} == {"conversation-7"}


def test_the_llm_span_names_the_model_and_what_it_was_called_with(serve: Serve, traces: Traces) -> None:
    engine = SessionChatEngine(client=serve(OVERLAPPING), index_ids=["idx"])
    engine.chat("How much?")
    span = traces.named("ChatSession.stream")
    assert attribute(span, "llm.model_name") == "llama-cloud-chat"
    parameters = json.loads(attribute(span, "llm.invocation_parameters"))
    assert (parameters["index_ids"], parameters["session_id"]) == (["idx"], engine.session_id)


@pytest.mark.parametrize("method", METHODS)
async def test_the_llm_span_notes_when_the_answer_began(serve: Serve, traces: Traces, method: str) -> None:
    await ask(SessionChatEngine(client=serve(OVERLAPPING)), method)
    begun = {span.name: [event.name for event in span.events] for span in traces.spans if span.events}
    assert begun == {"ChatSession.stream": ["First Token Stream Event"]}


def test_the_applications_own_span_is_left_alone(serve: Serve) -> None:
    provider, exporter = TracerProvider(), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    handler = Instances()
    root_dispatcher.add_span_handler(handler)
    root_dispatcher.add_event_handler(Events())
    try:
        with provider.get_tracer("app").start_as_current_span("request"):
            SessionChatEngine(client=serve(OVERLAPPING)).chat("How much?")
    finally:
        root_dispatcher.span_handlers.remove(handler)
        root_dispatcher.event_handlers.pop()
    (span,) = exporter.get_finished_spans()
    assert not span.events


def test_each_span_is_of_the_class_that_tracers_tell_its_kind_by(serve: Serve) -> None:
    handler = Instances()
    root_dispatcher.add_span_handler(handler)
    engine = SessionChatEngine(client=serve(OVERLAPPING))
    try:
        engine.chat("How much?")
    finally:
        root_dispatcher.span_handlers.remove(handler)
    assert handler.seen["SessionChatEngine.chat"] is engine
    assert isinstance(handler.seen["ChatSession.stream"], LLM)
    assert isinstance(handler.seen["search.call"], BaseTool)
    assert isinstance(handler.seen["search.retrieve"], BaseRetriever)


def test_a_tool_whose_result_is_an_error_has_error_status_in_a_turn_that_ends_well(
    serve: Serve, traces: Traces
) -> None:
    SessionChatEngine(client=serve(BROKEN_TOOL)).chat("How much?")
    span = traces.named("search.call")
    assert span.status.status_code is StatusCode.ERROR
    assert "no such index" in str(span.status.description)
    assert traces.named("SessionChatEngine.chat").status.status_code is StatusCode.OK


def test_a_turn_that_failed_shows_what_had_come_of_its_answer(serve: Serve, traces: Traces) -> None:
    with pytest.raises(TurnFailed):
        SessionChatEngine(client=serve(FAILS)).chat("How much?")
    span = traces.named("ChatSession.stream")
    assert "As far" in attribute(span, "output.value")
    assert span.status.status_code is StatusCode.ERROR


@pytest.mark.parametrize("method", METHODS)
async def test_every_span_of_a_first_turn_that_failed_has_the_session(
    serve: Serve, traces: Traces, method: str
) -> None:
    engine = SessionChatEngine(client=serve(FAILS))
    with pytest.raises(TurnFailed):
        await ask(engine, method)
    assert {attribute(span, "session.id") for span in traces.spans} == {engine.session_id}
    assert "As far" in attribute(traces.named("ChatSession.stream"), "output.value")


async def test_a_turn_that_was_left_early_shows_what_had_come_of_its_answer(serve: Serve, traces: Traces) -> None:
    for is_async in (False, True):
        traces.exporter.clear()
        engine = SessionChatEngine(client=serve((*OVERLAPPING[:-2], Gate(), *OVERLAPPING[-2:])))
        if is_async:
            response = await engine.astream_chat("How much?")
            await anext(response.async_response_gen())
            await response.aclose()
        else:
            response = engine.stream_chat("How much?")
            next(response.response_gen)
            response.close()
        span = traces.named("ChatSession.stream")
        assert attribute(span, "output.value") == "assistant: Revenue"
        assert {attribute(span, "session.id") for span in traces.spans} == {engine.session_id}


def test_no_span_is_empty(serve: Serve, traces: Traces) -> None:
    SessionChatEngine(client=serve(OVERLAPPING)).chat("How much?")
    for span in traces.spans:
        assert attribute(span, "input.value") not in (None, "{}")
        assert attribute(span, "output.value")


def test_the_last_event_of_a_legacy_trace_is_the_answer(serve: Serve) -> None:
    last: list[str] = []

    class Trace(LlamaDebugHandler):
        def end_trace(self, trace_id: str | None = None, trace_map: dict[str, list[str]] | None = None) -> None:
            event_id = "root"
            while below := (trace_map or {}).get(event_id):
                event_id = below[-1]
            last.append(event_id)

    handler = Trace(print_trace_on_end=False)
    manager = CallbackManager([handler])
    SessionChatEngine(client=serve(OVERLAPPING), callback_manager=manager).chat("How much?")
    ((start, _),) = handler.get_llm_inputs_outputs()
    assert last == [start.id_]


def test_the_legacy_event_of_a_tool_that_failed_has_its_error(serve: Serve) -> None:
    handler = Log()
    SessionChatEngine(client=serve(BROKEN_TOOL), callback_manager=CallbackManager([handler])).chat("How much?")
    assert "no such index" in str(handler.ends["function_call"]["exception"])
