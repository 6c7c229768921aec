"""A hosted chat session as an agent of LlamaIndex's workflows."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from llama_index.core.agent.workflow import AgentInput, AgentOutput, AgentSetup, BaseWorkflowAgent, ToolCallResult
from llama_index.core.agent.workflow.workflow_events import AgentWorkflowStartEvent
from llama_index.core.base.llms.types import ChatMessage, MessageRole
from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.callbacks import CallbackManager
from llama_index.core.memory import BaseMemory
from llama_index.core.tools import AsyncBaseTool
from llama_index.core.workflow import Context
from workflows import Workflow, step

from chat_sessions.core.arguments import checked_fields, checked_indexes, refuse_unknown
from chat_sessions.core.errors import APIStatusError, ConfigurationError, TurnFailed
from chat_sessions.llama_index._compat import MEMORY, RAN_TOOLS
from chat_sessions.llama_index.agent.report import Report
from chat_sessions.llama_index.agent.sent_prompt import SentPrompt
from chat_sessions.llama_index.answers.async_answer import AsyncAnswer
from chat_sessions.llama_index.arguments import client_or_default, manager_of
from chat_sessions.llama_index.memory.history import ChatHistoryPolicy, check_history, check_memory, check_policy
from chat_sessions.llama_index.memory.run_memory import RunMemory
from chat_sessions.llama_index.messages import answer_message, chat_response, messages_of, prompt_of
from chat_sessions.llama_index.traces.hosted import HostedModel
from chat_sessions.llama_index.traces.turn_trace import TurnTrace
from chat_sessions.session.async_chat_session import AsyncChatSession
from chat_sessions.session.backend import Backend
from chat_sessions.session.stored.busy import check_wait

if TYPE_CHECKING:
    from llama_index.core.agent.workflow.agent_context import AgentContext

__all__ = ["SessionAgent"]

# Settings of the base class that a hosted agent cannot follow: it has its own model, prompt and tools.
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


_ARGUMENTS = frozenset(
    (
        "callback_manager",
        "client",
        "description",
        "index_ids",
        "name",
        "on_chat_history",
        "session_id",
        "streaming",
        "wait_if_busy",
        *list(inspect.signature(Workflow.__init__).parameters)[1:],
    )
)


_RUN = "chat_session_run"


class SessionAgent(BaseWorkflowAgent):
    """The hosted agent as a workflow, or as a member of an `AgentWorkflow`.

    A `Context` is a conversation: it holds the id of the session that its first run creates. Runs with the same `ctx`
    continue in that session, even after the context was stored; a run without one has a session of its own. With
    `session_id` every run goes to that session.

    Only the user's last message is sent, with its images where the service takes them, even after a hand-off from
    another agent: the session has its own history, and the rest of the workflow's memory stays in the workflow. The
    hosted agent cannot hand off to others. A `chat_history=` that differs from the session's follows
    `on_chat_history`, as in `SessionChatEngine`, and so does a `memory=` with answers where the run has a new session;
    `wait_if_busy` is the same too.

    The run streams `ToolCall` and `ToolCallResult` for the tools on the service, and `AgentStream` with
    `delta` or `thinking_delta`; awaiting it gives an `AgentOutput` whose `raw` has `usage` and
    `session_id`. It raises what `SessionChatEngine.chat` raises; `handler.cancel_run()` closes the
    socket.
    """

    _client: Backend = PrivateAttr()
    _index_ids: tuple[str, ...] | None = PrivateAttr()
    _session_id: str | None = PrivateAttr()
    _on_chat_history: ChatHistoryPolicy = PrivateAttr()
    _wait_if_busy: bool | float | None = PrivateAttr()
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
        wait_if_busy: bool | float | None = None,
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
        for setting in settings:
            if setting not in _ARGUMENTS:
                takes = ", ".join(sorted(_ARGUMENTS))
                refuse_unknown("SessionAgent", setting, _ARGUMENTS, otherwise=f"takes no {setting}: it takes {takes}")
        check_policy(on_chat_history)
        if wait_if_busy is not None:
            check_wait(wait_if_busy)
        indexes = checked_indexes(index_ids)
        manager = manager_of(callback_manager)
        client = client_or_default(client)
        # Only to check the id before any run.
        client.session(session_id)
        with checked_fields("SessionAgent"):
            super().__init__(  # pyright: ignore[reportUnknownMemberType] - the base class takes functions of anything
                name=name,
                description=description,
                llm=HostedModel(client.service, index_ids),
                can_handoff_to=[],
                streaming=streaming,
                timeout=timeout,
                verbose=verbose,
                **settings,
            )
        self._client = client
        self._index_ids = indexes
        self._session_id = session_id
        self._on_chat_history = on_chat_history
        self._wait_if_busy = wait_if_busy
        self._callback_manager = manager

    @step
    async def init_run(  # pyright: ignore[reportIncompatibleMethodOverride] - the base class's step has no types
        self, ctx: Context, ev: AgentWorkflowStartEvent
    ) -> AgentInput:
        """Begin a run: give a new context its memory, and check the history that the caller passes."""
        if not ev.get("memory", None):
            ev = AgentWorkflowStartEvent(**{**dict(ev.items()), "memory": RunMemory()})
        number = await ctx.store.get(self._run_key, default=0) + 1
        await ctx.store.set(self._run_key, number)
        await self._check_history(ctx, ev.get("chat_history", None) or [], has_message=bool(ev.get("user_msg", None)))
        await self._check_memory(ctx, ev.get("memory", None))
        begun = await super().init_run(ctx, ev)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        return AgentInput(
            input=[_of_run(message, number) for message in cast("AgentInput", begun).input],
            current_agent_name=self.name,
        )

    @step
    async def run_agent_step(  # pyright: ignore[reportIncompatibleMethodOverride] - None ends a step
        self, ctx: Context, ev: AgentSetup
    ) -> AgentOutput | None:
        """Run a turn of the session; do nothing for an interrupted run if another one has begun.

        A context that runs again repeats the step it was in.
        """
        with suppress(_AnotherRun):
            output = await super().run_agent_step(ctx, ev)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
            return cast("AgentOutput", output)
        return None

    async def _check_history(self, ctx: Context, given: list[ChatMessage], *, has_message: bool) -> None:
        if given and not has_message:
            # The last user message is the prompt of this run; what came before is the history.
            users = [index for index, message in enumerate(given) if message.role is MessageRole.USER]
            given = given[: users[-1]] if users else given
        if not given or self._on_chat_history == "ignore":
            return
        session = self._session(await ctx.store.get(self._store_key, default=None))
        check_history(self._on_chat_history, given, messages_of(await session.turns()), session.id, stacklevel=3)

    async def _check_memory(self, ctx: Context, memory: BaseMemory) -> None:
        is_new = self._session_id is None and await ctx.store.get(self._store_key, default=None) is None
        if is_new and self._on_chat_history != "ignore":
            check_memory(self._on_chat_history, await memory.aget_all(), stacklevel=3)

    async def take_step(
        self,
        ctx: AgentContext,
        llm_input: list[ChatMessage],
        tools: Sequence[AsyncBaseTool],  # noqa: ARG002 - the hosted agent has its own
        memory: BaseMemory,  # noqa: ARG002 - the session is its memory
    ) -> AgentOutput:
        """Run one turn of the session. If this context has sent the prompt before, look for its turn first."""
        prompt, images = _asked(llm_input)
        if images:
            self._client.check_images()
        session = self._session(await ctx.store.get(self._store_key, default=None))
        report = Report(ctx, self.name, streams=self.streaming)
        if await ctx.store.get(MEMORY, default=None) is None:
            await ctx.store.set(MEMORY, RunMemory())
        try:
            answer = await self._answer(ctx, session, prompt, images, _run_of(llm_input), report)
        except _AnotherRun:
            raise
        except BaseException as error:
            if isinstance(error, TurnFailed):
                # The turn has ended: the same prompt sent again is a new question.
                await ctx.store.set(self._sent_key, None)
            await _drop_memory(ctx)
            raise
        await ctx.store.set(self._sent_key, None)
        turn = answer.turn
        results = [*await ctx.store.get(RAN_TOOLS, default=[]), *report.results]
        # The base class puts these into the run's result; in the output returned here it would run them.
        await ctx.store.set(RAN_TOOLS, results)
        return AgentOutput(
            response=answer_message(turn),
            raw=chat_response(turn, session.id).raw,
            current_agent_name=self.name,
        )

    async def _answer(
        self,
        ctx: AgentContext,
        session: AsyncChatSession,
        prompt: str,
        images: tuple[str, ...],
        number: int | None,
        report: Report,
    ) -> AsyncAnswer:
        """Read the whole answer to the prompt, sent now or before."""

        def trace() -> TurnTrace:
            return TurnTrace(self, "take_step", prompt, session, self._callback_manager)

        note = await ctx.store.get(self._sent_key, default=None)
        sent = None if note is None else SentPrompt.model_validate(note)
        stored = await sent.turn_in(session) if sent is not None and sent.is_of(prompt, images) else None
        await self._require_latest(ctx, number)
        if stored is not None:
            answer = AsyncAnswer(stored, trace(), report)
        else:
            answer = await AsyncAnswer.prepare(
                session, prompt, trace, report, images=images, wait_if_busy=self._wait_if_busy
            )
        try:
            if stored is None:
                await ctx.store.set(self._store_key, session.id)
                sent = await SentPrompt.next_in(session, prompt, images)
                await self._require_latest(ctx, number)
                # A dict: a store may take only the types that it knows.
                await ctx.store.set(self._sent_key, sent.model_dump())
                try:
                    await answer.send()
                except APIStatusError as error:
                    if error.status_code < 500:
                        # The service refused it.
                        await ctx.store.set(self._sent_key, None)
                    raise
                await ctx.store.set(self._sent_key, {**sent.model_dump(), "accepted": True})
            while not answer.is_over:
                await answer.advance(answer.count)
        finally:
            # Also if writing an event failed, or the workflow was cancelled between two events.
            await answer.close()
        return answer

    async def _require_latest(self, ctx: AgentContext, number: int | None) -> None:
        if number is not None and number != await ctx.store.get(self._run_key, default=number):
            raise _AnotherRun

    async def handle_tool_call_results(self, ctx: Context, results: list[ToolCallResult], memory: BaseMemory) -> None:
        """Do nothing: the tools ran on the service."""

    async def finalize(self, ctx: Context, output: AgentOutput, memory: BaseMemory) -> AgentOutput:
        """Return the output, and add it to the workflow's memory so that other agents know it."""
        await memory.aput(output.response)
        await _drop_memory(ctx)
        return output

    @property
    def _store_key(self) -> str:
        # The store reads a dot as a path.
        return "chat_session_of_" + re.sub(r"\W", "_", self.name)

    @property
    def _sent_key(self) -> str:
        return f"{self._store_key}_sent"

    @property
    def _run_key(self) -> str:
        return f"{self._store_key}_run"

    def _session(self, stored_id: str | None) -> AsyncChatSession:
        return self._client.aio.session(self._session_id or stored_id, index_ids=self._index_ids)


class _AnotherRun(Exception):
    """Another run of the context has begun."""


def _of_run(message: ChatMessage, number: int) -> ChatMessage:
    """Return the message marked with the number of its run; an event has no other place for it."""
    return message.model_copy(update={"additional_kwargs": {**message.additional_kwargs, _RUN: number}})


def _run_of(messages: Sequence[ChatMessage]) -> int | None:
    """Return the number of the run whose input this is; None within a workflow of agents."""
    return messages[-1].additional_kwargs.get(_RUN) if messages else None


async def _drop_memory(ctx: AgentContext | Context[Any]) -> None:
    """Remove our memory from the store: a store that accepts only known types could not load it.

    The next run makes another, and the session remembers.
    """
    if isinstance(await ctx.store.get(MEMORY, default=None), RunMemory):
        await ctx.store.set(MEMORY, None)


def _asked(messages: Sequence[ChatMessage]) -> tuple[str, tuple[str, ...]]:
    """Return the words and the images of the user's last message."""
    message = next((message for message in reversed(messages) if message.role is MessageRole.USER), None)
    prompt, images = ("", ()) if message is None else prompt_of(message)
    if not (prompt or images):
        raise ConfigurationError("there is no user message to send: give run() a user_msg with text")
    return prompt, images
