"""A turn as events of the legacy `CallbackManager`, which many applications still use to count tokens."""

from __future__ import annotations

import uuid
from contextlib import suppress
from contextvars import Context, copy_context

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, MessageRole
from llama_index.core.base.response.schema import Response
from llama_index.core.callbacks import CallbackManager, CBEventType, EventPayload
from llama_index.core.schema import NodeWithScore
from llama_index.core.tools import ToolOutput

from chat_sessions.core.turn import RunBegan, RunEnded, ToolRun
from chat_sessions.llama_index.outputs import query_of
from chat_sessions.llama_index.traces.hosted import HostedModel, HostedTool, model_dict

__all__ = ["TurnCallbacks"]

_TRACE = "chat"


class TurnCallbacks:
    """The legacy events of one turn, open until `end` or `fail`. Handlers' errors come out of every method but `fail`.

    The manager keeps its stack of open events in context variables, so each tool run has a context of its own: runs
    that overlap are siblings.
    """

    def __init__(self, manager: CallbackManager, prompt: str, model: HostedModel) -> None:
        self._manager = manager
        self._prompt = prompt
        self._context = copy_context()
        self._tools: dict[int, tuple[Context, str]] = {}
        self._llm_id: str | None = None
        self._context.run(manager.start_trace, _TRACE)
        try:
            self._llm_id = self._context.run(
                manager.on_event_start,
                CBEventType.LLM,
                {EventPayload.MESSAGES: self._asked(), EventPayload.SERIALIZED: model_dict(model)},
            )
        except BaseException as error:
            self.fail(error)
            raise

    def _asked(self) -> list[ChatMessage]:
        return [ChatMessage(role=MessageRole.USER, content=self._prompt)]

    def run_began(self, began: RunBegan) -> None:
        """Start the event of a tool run."""
        context, event_id = self._tools[began.number] = (self._context.copy(), str(uuid.uuid4()))
        tool = HostedTool(began.run.name).metadata
        context.run(
            self._manager.on_event_start,
            CBEventType.FUNCTION_CALL,
            {EventPayload.FUNCTION_CALL: dict(began.run.arguments), EventPayload.TOOL: tool},
            event_id,
        )

    def run_ended(self, ended: RunEnded, output: ToolOutput, error: BaseException | None) -> None:
        """End the event of a tool run."""
        if ended.number not in self._tools:
            return
        context, event_id = self._tools.pop(ended.number)
        payload: dict[str, object] = {EventPayload.FUNCTION_OUTPUT: output.content}
        if error is not None:
            payload[EventPayload.EXCEPTION] = error
        try:
            if isinstance(output.raw_output, Response) and output.raw_output.source_nodes:
                self._retrieved(context, ended.run, output.raw_output.source_nodes)
        finally:
            context.run(self._manager.on_event_end, CBEventType.FUNCTION_CALL, payload, event_id)

    def _retrieved(self, context: Context, run: ToolRun, nodes: list[NodeWithScore]) -> None:
        payload: dict[str, object] = {EventPayload.QUERY_STR: query_of(run.arguments)}
        event_id = context.run(self._manager.on_event_start, CBEventType.RETRIEVE, payload)
        context.run(self._manager.on_event_end, CBEventType.RETRIEVE, {EventPayload.NODES: nodes}, event_id)

    def end(self, chat_response: ChatResponse) -> None:
        """End the turn's event and the trace: the turn has ended well."""
        self._end({EventPayload.MESSAGES: self._asked(), EventPayload.RESPONSE: chat_response})

    def fail(self, error: BaseException, partial: ChatResponse | None = None) -> None:
        """End the turn's event and the trace with this error and the answer so far, whose tokens count too."""
        payload: dict[str, object] = {EventPayload.EXCEPTION: error}
        if partial is not None:
            payload |= {EventPayload.MESSAGES: self._asked(), EventPayload.RESPONSE: partial}
        # Show the error that ended the turn, not a later one from a handler.
        with suppress(Exception):
            self._end(payload)

    def _end(self, payload: dict[str, object]) -> None:
        try:
            if self._llm_id is not None:
                self._context.run(self._manager.on_event_end, CBEventType.LLM, payload, self._llm_id)
                self._put_last(self._llm_id)
        finally:
            self._context.run(self._manager.end_trace, _TRACE)

    def _put_last(self, event_id: str) -> None:
        """Move the event to after the tools that began after it.

        Consumers of a trace show the output of its last event, which must be the answer.
        """
        for children in self._manager.trace_map.values():
            if event_id in children:
                children.remove(event_id)
                children.append(event_id)
