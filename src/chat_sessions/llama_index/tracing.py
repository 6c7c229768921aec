"""One trace per turn: LlamaIndex's instrumentation and its legacy callbacks, opened and closed by hand.

The stock decorator ends a span when the method returns, and a stream has only begun then. So the
spans are entered and left here:

    SessionChatEngine.stream_chat     from the call to the end of the stream
    ├── ChatSession.stream            the hosted agent as an LLM, with token counts
    │   └── ChatSession.deltas        one event per piece of text, from the first piece on
    ├── search.call                   one per tool run; runs that overlap are siblings
    │   └── search.retrieve           for a run that cites passages
    └── read.call

Each span lives in a context of its own, copied from its parent's. Consumers such as
OpenTelemetry's attach their span to the current context when it is entered: done in the reader's
context, between two tokens, the tool's span would become the current span of the application.

Pieces of text have a span of their own because exporters keep a bounded number of events per
span: they would push out the events that say what was asked and what it cost.
"""

from __future__ import annotations

import inspect
import json
import re
import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from typing import TypeVar

import llama_index.core.instrumentation.events.agent as agent_events
from llama_index.core.base.llms.types import ChatMessage, ChatResponse, MessageRole
from llama_index.core.base.response.schema import Response
from llama_index.core.callbacks import CallbackManager, CBEventType, EventPayload
from llama_index.core.chat_engine.types import AgentChatResponse
from llama_index.core.instrumentation.events.chat_engine import (
    StreamChatDeltaReceivedEvent,
    StreamChatEndEvent,
    StreamChatErrorEvent,
    StreamChatStartEvent,
)
from llama_index.core.instrumentation.events.llm import LLMChatEndEvent, LLMChatStartEvent
from llama_index.core.instrumentation.events.retrieval import RetrievalEndEvent, RetrievalStartEvent
from llama_index.core.instrumentation.span import active_span_id
from llama_index.core.schema import NodeWithScore
from llama_index.core.tools import ToolOutput
from llama_index_instrumentation import get_dispatcher
from llama_index_instrumentation.base import BaseEvent
from llama_index_instrumentation.dispatcher import DISPATCHER_SPAN_DECORATED_ATTR, Dispatcher, active_instrument_tags
from llama_index_instrumentation.event_handlers import NullEventHandler
from llama_index_instrumentation.events.span import SpanDropEvent
from pydantic import JsonValue, ValidationError

from chat_sessions.core.mold import Mold
from chat_sessions.core.turn import ToolRun
from chat_sessions.llama_index.tools import HostedTool, query_of

__all__ = ["TurnTrace", "own_span"]

dispatcher = get_dispatcher(__name__)


_Method = TypeVar("_Method", bound=Callable[..., object])


def own_span(method: _Method) -> _Method:
    """Keep the base class from wrapping this method in a span that ends when it returns: `TurnTrace` makes its span."""
    setattr(method, DISPATCHER_SPAN_DECORATED_ATTR, True)
    return method


def _listens(node: Dispatcher) -> bool:
    """Whether anybody gets the events of this dispatcher. Building an event costs more than a token."""
    while True:
        if any(not isinstance(handler, NullEventHandler) for handler in node.event_handlers):
            return True
        if not node.propagate:
            return False
        node = node.parent


class _Span:
    """An open span in a context of its own, where it is the active one."""

    def __init__(
        self,
        name: str,
        *,
        parent: _Span | None,
        tags: dict[str, object],
        arguments: Mapping[str, object],
        instance: object = None,
    ) -> None:
        self.id = f"{name}-{uuid.uuid4()}"
        self._instance = instance
        self._arguments = inspect.BoundArguments(inspect.Signature(), OrderedDict(arguments))
        self.context: Context = parent.context.copy() if parent else copy_context()
        parent_id = parent.id if parent else active_span_id.get()
        self._run(
            dispatcher.span_enter,
            id_=self.id,
            bound_args=self._arguments,
            instance=instance,
            parent_id=parent_id,
            tags=tags,
        )
        self._run(active_span_id.set, self.id)

    def _run(self, function: Callable[..., object], *args: object, **kwargs: object) -> None:
        self.context.run(function, *args, **kwargs)

    def event(self, event: BaseEvent) -> None:
        self._run(dispatcher.event, event)

    def exit(self, result: object) -> None:
        self._run(dispatcher.span_exit, id_=self.id, bound_args=self._arguments, instance=self._instance, result=result)

    def drop(self, error: BaseException) -> None:
        self.event(SpanDropEvent(span_id=self.id, err_str=str(error)))
        self._run(dispatcher.span_drop, id_=self.id, bound_args=self._arguments, instance=self._instance, err=error)


@dataclass(slots=True)
class _ToolFrame:
    """An open tool run: its span, and its legacy event with the context that holds it."""

    tool: HostedTool
    arguments: Mapping[str, JsonValue]
    call_id: str
    span: _Span
    context: Context
    event_id: str


@dataclass(slots=True)
class TurnTrace:
    """The trace of one turn, open until `end` or `fail`, one of which is called once.

    Errors of legacy handlers come out of every method but `fail`.
    """

    instance: object
    method: str
    message: str
    callback_manager: CallbackManager
    model: Mapping[str, object]
    _root: _Span = field(init=False)
    _llm: _Span = field(init=False)
    _deltas: _Span | None = field(init=False, default=None)
    _delta_events: Mold[StreamChatDeltaReceivedEvent] | None = field(init=False, default=None)
    _tools: dict[int, _ToolFrame] = field(init=False, default_factory=dict[int, _ToolFrame])
    _tags: dict[str, object] = field(init=False)
    _listens: bool = field(init=False)
    _legacy: Context = field(init=False)
    _llm_event_id: str | None = field(init=False, default=None)
    _in_trace: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self._tags = dict(active_instrument_tags.get())
        self._listens = _listens(dispatcher)
        self._legacy = copy_context()
        self._root = _Span(
            f"{type(self.instance).__name__}.{self.method}",
            parent=None,
            tags=self._tags,
            arguments={"message": self.message},
            instance=self.instance,
        )
        self._root.event(agent_events.AgentChatWithStepStartEvent(user_msg=self.message, span_id=self._root.id))
        self._llm = _Span("ChatSession.stream", parent=self._root, tags=self._tags, arguments={"prompt": self.message})
        self._llm.event(
            LLMChatStartEvent(
                messages=self._asked(), additional_kwargs={}, model_dict=dict(self.model), span_id=self._llm.id
            )
        )
        self._llm.event(StreamChatStartEvent(span_id=self._llm.id))
        try:
            self._legacy.run(self.callback_manager.start_trace, "chat")
            self._in_trace = True
            self._llm_event_id = self._legacy.run(
                self.callback_manager.on_event_start,
                CBEventType.LLM,
                {EventPayload.MESSAGES: self._asked(), EventPayload.SERIALIZED: dict(self.model)},
            )
        except BaseException as error:
            self.fail(error)
            raise

    def _asked(self) -> list[ChatMessage]:
        return [ChatMessage(role=MessageRole.USER, content=self.message)]

    def text(self, delta: str) -> None:
        """A piece of the answer has come."""
        if not self._listens:
            return
        if self._deltas is None or self._delta_events is None:
            self._deltas = _Span("ChatSession.deltas", parent=self._llm, tags=self._tags, arguments={})
            self._delta_events = Mold(StreamChatDeltaReceivedEvent(delta=delta, span_id=self._deltas.id))
        self._deltas.event(self._delta_events.cast(delta=delta))

    def tool_called(self, position: int, call_id: str, name: str, arguments: Mapping[str, JsonValue]) -> None:
        """The tool run at this position of the turn has begun."""
        tool = HostedTool(name)
        # Consumers take the part of the id before the first dash for the span's name.
        span = _Span(f"{_span_name(name)}.call", parent=self._root, tags=self._tags, arguments=arguments, instance=tool)
        frame = _ToolFrame(tool, arguments, call_id, span, self._legacy.copy(), str(uuid.uuid4()))
        self._tools[position] = frame
        span.event(
            agent_events.AgentToolCallEvent(arguments=json.dumps(arguments), tool=tool.metadata, span_id=span.id)
        )
        self._newer_event(
            "AgentToolCallStartEvent",
            frame,
            tool_kwargs=dict(arguments),
            tool_description=tool.metadata.description,
        )
        frame.context.run(
            self.callback_manager.on_event_start,
            CBEventType.FUNCTION_CALL,
            {EventPayload.FUNCTION_CALL: dict(arguments), EventPayload.TOOL: tool.metadata},
            frame.event_id,
        )

    def tool_answered(self, position: int, run: ToolRun, output: ToolOutput) -> None:
        """The tool run at this position has its result. A result whose call was not seen is a run of no duration."""
        if position not in self._tools:
            self.tool_called(position, run.call_id, run.name, run.arguments)
        frame = self._tools[position]
        if isinstance(output.raw_output, Response) and output.raw_output.source_nodes:
            self._retrieved(frame, output.raw_output.source_nodes)
        self._newer_event("AgentToolCallEndEvent", frame, tool_output=output)
        frame.span.exit(output)
        # From here on the span is closed, whatever the legacy handler does.
        del self._tools[position]
        frame.context.run(
            self.callback_manager.on_event_end,
            CBEventType.FUNCTION_CALL,
            {EventPayload.FUNCTION_OUTPUT: output.content},
            frame.event_id,
        )

    def _retrieved(self, frame: _ToolFrame, nodes: list[NodeWithScore]) -> None:
        query = query_of(frame.arguments)
        name = f"{_span_name(frame.tool.metadata.get_name())}.retrieve"
        span = _Span(name, parent=frame.span, tags=self._tags, arguments={"query": query})
        span.event(RetrievalStartEvent(str_or_query_bundle=query, span_id=span.id))
        span.event(RetrievalEndEvent(str_or_query_bundle=query, nodes=nodes, span_id=span.id))
        span.exit(nodes)
        run = frame.context.run
        event_id = run(self.callback_manager.on_event_start, CBEventType.RETRIEVE, {EventPayload.QUERY_STR: query})
        run(self.callback_manager.on_event_end, CBEventType.RETRIEVE, {EventPayload.NODES: nodes}, event_id)

    def _newer_event(self, name: str, frame: _ToolFrame, **fields: object) -> None:
        """An event that newer versions of llama-index-core have."""
        event_type = getattr(agent_events, name, None)
        if event_type is None:
            return
        # Its fields may differ between versions: then the older event has to do.
        with suppress(ValidationError):
            frame.span.event(
                event_type(tool_id=frame.call_id, tool_name=frame.tool.metadata.name, span_id=frame.span.id, **fields)
            )

    def end(self, response: AgentChatResponse, chat_response: ChatResponse, *, unanswered: BaseException) -> None:
        """The turn has ended well. Tool runs without a result end with the error `unanswered`."""
        self._drop_tools(unanswered)
        if self._deltas is not None:
            self._deltas.exit(None)
        self._llm.event(LLMChatEndEvent(messages=self._asked(), response=chat_response, span_id=self._llm.id))
        self._llm.event(StreamChatEndEvent(span_id=self._llm.id))
        self._llm.exit(chat_response)
        self._root.event(agent_events.AgentChatWithStepEndEvent(response=response, span_id=self._root.id))
        self._root.exit(response)
        self._end_legacy({EventPayload.MESSAGES: self._asked(), EventPayload.RESPONSE: chat_response})

    def fail(self, error: BaseException) -> None:
        """The turn has not ended well: everything open ends with this error. Raises nothing."""
        self._drop_tools(error)
        if self._deltas is not None:
            self._deltas.drop(error)
        # The event's field takes no BaseException, and a cancelled task or Ctrl-C is one.
        shown = error if isinstance(error, Exception) else RuntimeError(f"{type(error).__name__}: {error}")
        self._llm.event(StreamChatErrorEvent(exception=shown, span_id=self._llm.id))
        self._llm.drop(error)
        self._root.drop(error)
        # The error that ended the turn is the one to be seen, not a handler's that comes after it.
        with suppress(Exception):
            self._end_legacy({EventPayload.EXCEPTION.value: error})

    def _drop_tools(self, error: BaseException) -> None:
        while self._tools:
            _, frame = self._tools.popitem()
            frame.span.drop(error)
            with suppress(Exception):
                frame.context.run(
                    self.callback_manager.on_event_end,
                    CBEventType.FUNCTION_CALL,
                    {EventPayload.EXCEPTION: error},
                    frame.event_id,
                )

    def _end_legacy(self, payload: dict[str, object]) -> None:
        try:
            if self._llm_event_id is not None:
                self._legacy.run(self.callback_manager.on_event_end, CBEventType.LLM, payload, self._llm_event_id)
        finally:
            if self._in_trace:
                self._legacy.run(self.callback_manager.end_trace, "chat")


def _span_name(tool: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.]", "_", tool)
