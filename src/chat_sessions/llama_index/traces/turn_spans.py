"""A turn as spans and events of LlamaIndex's instrumentation.

    SessionChatEngine.stream_chat     from the call to the end of the stream
    ├── ChatSession.stream            the hosted agent as an LLM, with token counts
    │   └── ChatSession.deltas        one event per piece of text, from the first piece on
    ├── search.call                   one per tool run; runs that overlap are siblings
    │   └── search.retrieve           for a run that cites passages
    └── read.call

Pieces of text have a span of their own because exporters keep a bounded number of events per span: they would
push out the events that say what was asked and what it cost.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from contextvars import copy_context

import llama_index.core.instrumentation.events.agent as agent_events
from llama_index.core.base.llms.types import ChatMessage, ChatResponse, MessageRole
from llama_index.core.base.response.schema import Response
from llama_index.core.chat_engine.types import AgentChatResponse
from llama_index.core.instrumentation.events.chat_engine import (
    StreamChatDeltaReceivedEvent,
    StreamChatEndEvent,
    StreamChatErrorEvent,
    StreamChatStartEvent,
)
from llama_index.core.instrumentation.events.llm import LLMChatEndEvent, LLMChatStartEvent
from llama_index.core.instrumentation.events.retrieval import RetrievalEndEvent, RetrievalStartEvent
from llama_index.core.schema import NodeWithScore
from llama_index.core.tools import ToolOutput
from pydantic import ValidationError

from chat_sessions.core.turn import RunBegan, RunEnded, ToolRun
from chat_sessions.llama_index._compat import call_tags, enclosing_span_id, is_heard, tag
from chat_sessions.llama_index.outputs import query_of
from chat_sessions.llama_index.traces.hosted import HostedModel, HostedRetriever, HostedTool, model_dict
from chat_sessions.llama_index.traces.span import SESSION_ID, Span, dispatcher, mark_first_token, mark_session

__all__ = ["TurnSpans", "span_name"]


class TurnSpans:
    """The spans of one turn, open until `end` or `fail`. Handlers' errors do not come out of any method."""

    def __init__(self, instance: object, method: str, prompt: str, model: HostedModel) -> None:
        self.is_heard = is_heard(dispatcher)
        self._prompt = prompt
        self._said: list[str] = []
        context, tags = copy_context(), call_tags()
        if (session_id := model.metadata.session_id) is not None:
            tags = {SESSION_ID: session_id, **tags}
            tag(context, tags)
            mark_session(context, session_id)
        self._tools: dict[int, tuple[HostedTool, Span]] = {}
        self._deltas: Span | None = None
        self._root = Span(
            f"{type(instance).__name__}.{method}",
            context=context,
            parent_id=enclosing_span_id(),
            tags=tags,
            arguments={"message": prompt},
            instance=instance,
        )
        if self.is_heard:
            self._root.event(agent_events.AgentChatWithStepStartEvent(user_msg=prompt, span_id=self._root.id))
        self._llm = self._root.child("ChatSession.stream", arguments={"prompt": prompt}, instance=model)
        if self.is_heard:
            described = model_dict(model)
            self._llm.event(
                LLMChatStartEvent(
                    messages=self._asked(), additional_kwargs={}, model_dict=described, span_id=self._llm.id
                )
            )
            self._llm.event(StreamChatStartEvent(span_id=self._llm.id))

    def _asked(self) -> list[ChatMessage]:
        return [ChatMessage(role=MessageRole.USER, content=self._prompt)]

    def text(self, piece: str) -> None:
        """Send a piece of the answer."""
        if self._deltas is None:
            mark_first_token(self._llm)
            self._deltas = self._llm.child("ChatSession.deltas", arguments={"prompt": self._prompt})
        self._said.append(piece)
        self._deltas.event(StreamChatDeltaReceivedEvent(delta=piece, span_id=self._deltas.id))

    def run_began(self, began: RunBegan) -> None:
        """Open the span of a tool run."""
        run = began.run
        tool = HostedTool(run.name)
        span = self._root.child(f"{span_name(run.name)}.call", arguments=run.arguments, instance=tool)
        self._tools[began.number] = (tool, span)
        span.event(
            agent_events.AgentToolCallEvent(arguments=json.dumps(run.arguments), tool=tool.metadata, span_id=span.id)
        )
        description = tool.metadata.description
        _newer_event(
            "AgentToolCallStartEvent", run, span, tool_kwargs=dict(run.arguments), tool_description=description
        )

    def run_ended(self, ended: RunEnded, output: ToolOutput, error: BaseException | None) -> None:
        """Close the span of a tool run, as an error if there is one."""
        if ended.number not in self._tools:
            # The turn was left before the run's beginning was read.
            return
        _, span = self._tools.pop(ended.number)
        run = ended.run
        if isinstance(output.raw_output, Response) and output.raw_output.source_nodes:
            _retrieved(span, run, output.raw_output.source_nodes)
        if ended.event is not None:
            _newer_event("AgentToolCallEndEvent", run, span, tool_output=output)
        if error is not None:
            span.drop(error)
            return
        span.exit(output)

    def end(self, response: AgentChatResponse, chat_response: ChatResponse) -> None:
        """Close all spans: the turn has ended well."""
        if self._deltas is not None:
            self._deltas.exit("".join(self._said))
        self._llm.event(LLMChatEndEvent(messages=self._asked(), response=chat_response, span_id=self._llm.id))
        self._llm.event(StreamChatEndEvent(span_id=self._llm.id))
        self._llm.exit(chat_response)
        self._root.event(agent_events.AgentChatWithStepEndEvent(response=response, span_id=self._root.id))
        self._root.exit(response)

    def fail(self, error: BaseException, partial: ChatResponse | None = None) -> None:
        """Close all spans with this error; `partial` is the answer so far."""
        if self._deltas is not None:
            self._deltas.drop(error)
        if partial is not None:
            self._llm.event(LLMChatEndEvent(messages=self._asked(), response=partial, span_id=self._llm.id))
        # The field accepts only an `Exception`, which a cancellation or Ctrl-C is not.
        shown = error if isinstance(error, Exception) else RuntimeError(f"{type(error).__name__}: {error}")
        self._llm.event(StreamChatErrorEvent(exception=shown, span_id=self._llm.id))
        self._llm.drop(error)
        self._root.drop(error)


def _retrieved(span: Span, run: ToolRun, nodes: list[NodeWithScore]) -> None:
    query = query_of(run.arguments)
    child = span.child(f"{span_name(run.name)}.retrieve", arguments={"query": query}, instance=HostedRetriever())
    child.event(RetrievalStartEvent(str_or_query_bundle=query, span_id=child.id))
    child.event(RetrievalEndEvent(str_or_query_bundle=query, nodes=nodes, span_id=child.id))
    child.exit(nodes)


def _newer_event(name: str, run: ToolRun, span: Span, **fields: object) -> None:
    """Send an event that newer versions of llama-index-core have."""
    event_type = getattr(agent_events, name, None)
    if event_type is None:
        return
    # Its fields may differ between versions; the older event is the fallback.
    with suppress(ValidationError):
        span.event(event_type(tool_id=run.call_id, tool_name=run.name, span_id=span.id, **fields))


def span_name(tool: str) -> str:
    """Return a tool's name as a part of a span's name."""
    return re.sub(r"[^A-Za-z0-9_.]", "_", tool)
