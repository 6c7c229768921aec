"""A hosted chat session as an agent of LlamaIndex's workflows."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, get_args

from llama_index.core import Settings
from llama_index.core.agent.workflow import AgentOutput, AgentStream, BaseWorkflowAgent, ToolCall, ToolCallResult
from llama_index.core.base.llms.types import (
    ChatMessage,
    CompletionResponse,
    CompletionResponseGen,
    LLMMetadata,
    MessageRole,
    TextBlock,
)
from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.callbacks import CallbackManager
from llama_index.core.llms import CustomLLM
from llama_index.core.memory import BaseMemory
from llama_index.core.tools import AsyncBaseTool, ToolOutput
from llama_index.core.workflow import Context

from chat_sessions.core import events
from chat_sessions.core.errors import ConfigurationError
from chat_sessions.llama_index.answer import AsyncAnswer, start_trace
from chat_sessions.llama_index.client import client_or_default
from chat_sessions.llama_index.history import ChatHistoryPolicy, history_problem
from chat_sessions.llama_index.messages import answer_message, chat_response, messages_of
from chat_sessions.llama_index.run_memory import RunMemory
from chat_sessions.session.async_chat_session import AsyncChatSession
from chat_sessions.session.backend import Backend

if TYPE_CHECKING:
    from llama_index.core.agent.workflow.agent_context import AgentContext
    from llama_index.core.agent.workflow.workflow_events import AgentWorkflowStartEvent

__all__ = ["SessionAgent"]

_NO_RESULT = "The turn ended before this tool gave a result."
# What a base agent takes and a hosted one cannot obey: it has its own model, prompt and tools.
_MEANINGLESS = (
    "can_handoff_to",
    "early_stopping_method",
    "initial_state",
    "llm",
    "output_cls",
    "state_prompt",
    "structured_output_fn",
    "system_prompt",
    "tool_retriever",
    "tools",
)


class _NoLLM(CustomLLM):
    """Stands where a base agent wants a model. The hosted agent has its own, and this one is never asked."""

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(model_name="none")

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        raise NotImplementedError(
            "a SessionAgent has no model on this side: structured output and early_stopping_method='generate' need one"
        )

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:
        raise NotImplementedError(str(self.complete(prompt, formatted, **kwargs)))


class SessionAgent(BaseWorkflowAgent):
    """The hosted agent, run as a workflow or as a member of an `AgentWorkflow`.

    A `Context` is a conversation: it holds the id of the session that its first run creates, so runs with
    the same `ctx` go on in the same session, also after the context was stored, and a run without one has a
    session of its own. With `session_id` every run goes to that session.

    The user's last message is what is sent, also after a hand-off from another agent: the session has its
    own history, and the rest of the workflow's memory stays in the workflow. The hosted agent cannot hand
    off itself. A `chat_history=` that differs from the session's follows `on_chat_history`, as in
    `SessionChatEngine`.

    The run streams `ToolCall` and `ToolCallResult` for the tools on the service, and `AgentStream` with
    `delta` or `thinking_delta`; awaiting it gives an `AgentOutput` whose `raw` has `usage` and
    `session_id`. It raises what `SessionChatEngine.chat` raises; `handler.cancel_run()` closes the
    socket.
    """

    _client: Backend = PrivateAttr()
    _index_ids: tuple[str, ...] | None = PrivateAttr()
    _session_id: str | None = PrivateAttr()
    _on_chat_history: ChatHistoryPolicy = PrivateAttr()
    _callback_manager: CallbackManager = PrivateAttr()

    def __init__(
        self,
        *,
        client: Backend | None = None,
        index_ids: Sequence[str] | None = None,
        session_id: str | None = None,
        name: str = "chat_session",
        description: str = "Answers questions about the indexed documents, with sources.",
        on_chat_history: ChatHistoryPolicy = "error",
        callback_manager: CallbackManager | None = None,
        streaming: bool = True,
        timeout: float | None = None,
        verbose: bool = False,
        **settings: Any,
    ) -> None:
        if meaningless := [setting for setting in settings if setting in _MEANINGLESS]:
            raise ConfigurationError(
                f"SessionAgent takes no {', '.join(meaningless)}: the hosted agent has its own model, prompt and tools"
            )
        if on_chat_history not in get_args(ChatHistoryPolicy):
            raise ConfigurationError(f'on_chat_history={on_chat_history!r}: use "error", "warn" or "ignore"')
        super().__init__(  # pyright: ignore[reportUnknownMemberType] - the base class takes functions of anything
            name=name,
            description=description,
            llm=_NoLLM(),
            can_handoff_to=[],
            streaming=streaming,
            timeout=timeout,
            verbose=verbose,
            **settings,
        )
        self._client = client_or_default(client)
        self._index_ids = None if index_ids is None else tuple(index_ids)
        self._session_id = session_id
        self._on_chat_history = on_chat_history
        self._callback_manager = callback_manager or Settings.callback_manager

    async def _init_context(self, ctx: Context, ev: AgentWorkflowStartEvent) -> None:
        if not ev.get("memory", None) and not await ctx.store.get("memory", default=None):
            await ctx.store.set("memory", RunMemory())
        await super()._init_context(ctx, ev)
        given: list[ChatMessage] = ev.get("chat_history", None) or []
        if given and not ev.get("user_msg", None):
            # The last user message is the prompt of this run; what came before is the history.
            users = [index for index, message in enumerate(given) if message.role is MessageRole.USER]
            given = given[: users[-1]] if users else given
        if given and self._on_chat_history != "ignore":
            session = self._session(await ctx.store.get(self._store_key, default=None))
            problem = history_problem(given, messages_of(await session.turns()), session.id)
            if problem and self._on_chat_history == "error":
                raise ValueError(problem)
            if problem:
                warnings.warn(f"{problem} The session's own history is used.", UserWarning, stacklevel=2)

    async def take_step(
        self,
        ctx: AgentContext,
        llm_input: list[ChatMessage],
        tools: Sequence[AsyncBaseTool],  # noqa: ARG002 - the hosted agent has its own
        memory: BaseMemory,  # noqa: ARG002 - the session is its memory
    ) -> AgentOutput:
        """One turn of the session."""
        prompt = _prompt_of(llm_input)
        session = self._session(await ctx.store.get(self._store_key, default=None))
        stream = session.stream(prompt)
        answer = AsyncAnswer(stream, start_trace(self, "take_step", prompt, session, self._callback_manager))
        reporter = _Reporter(ctx, self.name, answer, streams=self.streaming)
        try:
            await answer.open()
            await ctx.store.set(self._store_key, session.id)
            while not answer.is_over:
                event = await answer.advance(answer.count)
                if event is not None:
                    reporter.report(event)
        finally:
            # Also where writing an event failed, or the workflow was cancelled between two.
            await answer.close()
            reporter.close()
        turn = answer.turn
        results = [*await ctx.store.get("current_tool_calls", default=[]), *reporter.results]
        # The base class puts these into the run's result; in the output returned here it would run them.
        await ctx.store.set("current_tool_calls", results)
        return AgentOutput(
            response=answer_message(turn),
            raw=chat_response(turn, session.id).raw,
            current_agent_name=self.name,
        )

    async def handle_tool_call_results(self, ctx: Context, results: list[ToolCallResult], memory: BaseMemory) -> None:
        """Nothing: the tools ran on the service."""

    async def finalize(self, ctx: Context, output: AgentOutput, memory: BaseMemory) -> AgentOutput:  # noqa: ARG002 - the base class's signature
        """The output, which the workflow's memory gets too, so that other agents know it."""
        await memory.aput(output.response)
        return output

    @property
    def _store_key(self) -> str:
        # The store reads a dot as a path.
        return "chat_session_of_" + re.sub(r"\W", "_", self.name)

    def _session(self, stored_id: str | None) -> AsyncChatSession:
        return self._client.aio.session(self._session_id or stored_id, index_ids=self._index_ids)


def _prompt_of(messages: Sequence[ChatMessage]) -> str:
    """The words of the user's last message."""
    message = next((message for message in reversed(messages) if message.role is MessageRole.USER), None)
    if message is None or not message.content:
        raise ConfigurationError("there is no user message to send: give run() a user_msg with text")
    others = sorted({block.block_type for block in message.blocks if not isinstance(block, TextBlock)})
    if others:
        raise ConfigurationError(f"the session takes text only, and the user's message holds {', '.join(others)} too")
    return message.content


class _Reporter:
    """Writes a turn's events to the workflow's stream."""

    def __init__(self, ctx: AgentContext, agent_name: str, answer: AsyncAnswer, *, streams: bool) -> None:
        self._ctx = ctx
        self._agent_name = agent_name
        self._answer = answer
        self._streams = streams
        self._said = ""
        self._open: dict[str, tuple[str, dict[str, Any]]] = {}
        self.results: list[ToolCallResult] = []

    def report(self, event: events.Event) -> None:
        match event:
            case events.TextDelta():
                self._said += event.content
                self._stream(event.content, None)
            case events.ThinkingDelta():
                self._stream("", event.content)
            case events.ToolCall():
                self._call(event.call_id, event.name, dict(event.arguments))
            case events.ToolResult():
                self._result(event.call_id, event.name, self._answer.sources[-1])
            case _:
                pass

    def close(self) -> None:
        """Report the tool runs that got no result."""
        for call_id, (name, arguments) in tuple(self._open.items()):
            output = ToolOutput(tool_name=name, content=_NO_RESULT, raw_input=arguments, raw_output=None, is_error=True)
            self._result(call_id, name, output)

    def _stream(self, delta: str, thinking_delta: str | None) -> None:
        if self._streams:
            self._ctx.write_event_to_stream(
                AgentStream(
                    delta=delta,
                    response=self._said,
                    current_agent_name=self._agent_name,
                    thinking_delta=thinking_delta,
                )
            )

    def _call(self, call_id: str, name: str, arguments: dict[str, Any]) -> None:
        self._open[call_id] = (name, arguments)
        self._ctx.write_event_to_stream(ToolCall(tool_name=name, tool_kwargs=arguments, tool_id=call_id))

    def _result(self, call_id: str, name: str, output: ToolOutput) -> None:
        if call_id not in self._open:
            # Consumers pair calls and results; this one's call was not seen.
            self._call(call_id, name, {})
        _, arguments = self._open.pop(call_id)
        result = ToolCallResult(
            tool_name=name, tool_kwargs=arguments, tool_id=call_id, tool_output=output, return_direct=False
        )
        self.results.append(result)
        self._ctx.write_event_to_stream(result)
