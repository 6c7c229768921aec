"""The hosted chat session as a LangChain chat model."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Any, Self, cast

from langchain_core.caches import BaseCache
from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun, Callbacks
from langchain_core.language_models import BaseChatModel, LangSmithParams, LanguageModelInput, ModelProfile
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult, LLMResult
from langchain_core.runnables import Runnable, RunnableConfig, RunnableSerializable, ensure_config
from langchain_core.runnables.utils import AnyConfigurableField
from langchain_core.tools import BaseTool
from pydantic import BaseModel, Field, PrivateAttr, SkipValidation
from typing_extensions import Unpack, override

from chat_sessions.core.arguments import checked_fields
from chat_sessions.core.errors import ConfigurationError
from chat_sessions.http.secrets import Concealed
from chat_sessions.langchain.content import Output, default_model_name
from chat_sessions.langchain.input.arguments import (
    ModelArguments,
    check_fields,
    is_schema,
    model_arguments,
    model_profile,
    refuse_schema,
    refuse_tools,
)
from chat_sessions.langchain.input.call import Call, messages_of, run_configs
from chat_sessions.langchain.input.configurable import ConfigurableModel
from chat_sessions.langchain.input.default_client import DEFAULT_SERVICE
from chat_sessions.langchain.input.prompt import PriorPolicy, SystemPolicy
from chat_sessions.langchain.input.retry import MessageRetry
from chat_sessions.langchain.input.sessions import Sessions
from chat_sessions.langchain.input.tokens import TokenEstimates
from chat_sessions.langchain.runs.answers import answers, async_answers
from chat_sessions.langchain.runs.async_drivers import (
    async_answer,
    async_answer_within,
    async_chunks,
    async_chunks_within,
)
from chat_sessions.langchain.runs.drivers import answer, answer_within, chunks, chunks_within
from chat_sessions.langchain.runs.event_streams import AsyncEventStream, event_stream
from chat_sessions.langchain.tool import TOOL_DESCRIPTION, TOOL_NAME, SessionTool
from chat_sessions.session import Backend, ChatSession

__all__ = ["SessionChatModel"]


class SessionChatModel(TokenEstimates, BaseChatModel):
    """A hosted chat session, with its agent, tools and history on the server, as a chat model.

    ```python
    model = SessionChatModel(client=chat, index_ids=["idx-docs"])
    chain = prompt | model | StrOutputParser()
    ```

    The answer is an `AIMessage` whose `content` is its text. Its `content_blocks` are text, reasoning, and a
    `server_tool_call` and `server_tool_result` for each tool that ran. Its `response_metadata` has the `session_id`,
    the `sources` and the `turn_usage`; its `usage_metadata` has the token counts if the service reports both. With
    `trace_tools` each tool is also a tool run below the model's run, which tracers, `astream_events` and LangGraph
    show. They are never `tool_calls`, as they have run already.

    Which session a turn runs in: the call's `session_id=`, else `configurable.session_id` of the
    config, else the `session_id` (or `session`) of the model, else, with `session_from_messages`, the
    session of the last answer in the input, else a new one for this call alone. It is on the answer in
    each case. LangGraph's `thread_id` is never one. Turns of one session wait for each other.

    Only the user's words after the last answer are sent; `on_prior_messages` says what happens to earlier messages that
    the session does not know, `system` what happens to system messages.

    A turn is never answered from a cache. If a retry or a graph repeats a message because its turn did not end well,
    the message is not sent again: the call gets the turn that it had.

    Raises `ConfigurationError` for input that cannot be sent, before any request; otherwise what `TurnStream` raises:
    `APIError`, `ProtocolError`, or `TurnError`, whose `turn` holds the answer so far.
    """

    client: SkipValidation[Backend] | None = Field(default=None, exclude=True, repr=False)
    """Where the sessions are; None makes a `LlamaCloudChat` from the environment at the first call."""

    session: SkipValidation[ChatSession] | None = Field(default=None, exclude=True, repr=False)
    """The session held, as given to `from_session`; its client comes before `client`."""

    session_id: str | None = None
    """The session that turns run in unless a call says otherwise."""

    index_ids: list[str] | None = None
    """The indexes that turns query unless a call says otherwise; None: the session's own, else the client's."""

    require_all_indexes: bool = False
    """Whether a turn fails if one of its indexes cannot be queried, instead of skipping it."""

    wait_if_busy: bool | float | None = None
    """How long a turn waits for one that still runs in its session: True, False or seconds; None: as its session."""

    trace_tools: bool = True
    """Whether the remote tools also become tool runs below the model's run. The answer has their blocks either way."""

    system: SystemPolicy = "warn"
    """A system message is dropped with a warning, put before the first prompt of a session, or an error."""

    on_prior_messages: PriorPolicy = "warn"
    """What to do about earlier messages that the turn's session does not know. They are never sent."""

    session_from_messages: bool = False
    """Whether a call without a session continues that of the last answer in its input.

    Leave it off where the author of the messages must not choose the session.
    """

    model_name: str | None = None
    """The name in traces and usage counts; None: the service's name with "-chat"."""

    output: Output = "blocks"
    """What a message holds: "blocks" of text, reasoning and tools in `content_blocks`, or "text" alone.

    With "text", the `sources` in `response_metadata` also have the text of their passages.
    """

    streaming: bool | None = None
    """Whether `invoke` also streams tokens to handlers (True), or nothing is ever streamed (False)."""

    cache: BaseCache | bool | None = Field(default=False, exclude=True)
    """Always False: a cached answer would be a turn that the session never saw."""

    profile: ModelProfile | None = Field(default_factory=model_profile, exclude=True)

    _sessions: Sessions = PrivateAttr(default_factory=Sessions)

    def __init__(self, **arguments: Unpack[ModelArguments]) -> None:
        """Make a model, and a client for it if arguments of a client are given.

        Raises `ConfigurationError` for an unknown argument, a wrong one, and an async client.
        """
        # They may contain a key, which tracebacks with local variables and pydantic's errors would show.
        arguments = cast("ModelArguments", Concealed(arguments))
        with checked_fields("SessionChatModel"):
            super().__init__(**model_arguments(arguments, type(self).model_fields))

    @classmethod
    def from_session(cls, session: ChatSession, **arguments: Any) -> Self:
        """Return a model over your session, which its first turn creates if it does not exist yet."""
        return cls(session=session, **arguments)

    # What LangChain asks a model about itself.

    @property
    def _llm_type(self) -> str:
        return "chat-session"

    @property
    def known_client(self) -> Backend | None:
        """The client that the model was given, or that of its session."""
        return self.session.client if self.session is not None else self.client

    @property
    def service(self) -> str:
        """The name of the service, e.g. "llama_cloud"."""
        client = self.known_client
        return DEFAULT_SERVICE if client is None else client.service

    @property
    def shown_name(self) -> str:
        """The name in traces and usage counts."""
        return self.model_name or default_model_name(self.service)

    @property
    def _identifying_params(self) -> Mapping[str, Any]:
        session_id = self.session_id or (self.session.id if self.session is not None else None)
        return {"model_name": self.shown_name, "session_id": session_id, "index_ids": self.index_ids}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop, **kwargs)
        params["ls_provider"] = self.service
        if "model" not in kwargs:
            params["ls_model_name"] = self.shown_name
        return params

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """Return True: a model can be dumped and loaded; the loaded one makes its client from the environment."""
        return True

    @property
    def lc_attributes(self) -> dict[str, Any]:
        """What a dump holds besides the fields: the id of the session held."""
        return {} if self.session is None or self.session_id is not None else {"session_id": self.session.id}

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """Return a copy that shares the client and the session held."""
        memo = {} if memo is None else memo
        memo.update({id(shared): shared for shared in (self.client, self.session)})
        return super().__deepcopy__(memo)

    # Entry points.

    def _call(
        self, given: LanguageModelInput, config: RunnableConfig, stop: list[str] | None, arguments: dict[str, Any]
    ) -> Call:
        params = {**self._identifying_params, "_type": self._llm_type}
        traced = (params, self._get_ls_params(stop=stop, **arguments))
        return Call(self, self._sessions, messages_of(given), stop, config, arguments, traced)

    @override
    def invoke(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AIMessage:
        """Return one whole turn as a message."""
        return answer(self._call(input, ensure_config(config), stop, kwargs)).message

    @override
    async def ainvoke(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AIMessage:
        """Return one whole turn as a message. Cancelling it closes the runs and the socket."""
        return (await async_answer(self._call(input, ensure_config(config), stop, kwargs))).message

    @override
    def stream(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> Iterator[AIMessageChunk]:
        """Yield one turn as it comes. Closing the iterator closes the runs and the socket at once."""
        return chunks(self._call(input, ensure_config(config), stop, kwargs))

    @override
    def astream(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[AIMessageChunk]:
        """Yield one turn as it comes. `aclose()` and cancellation close the runs and the socket before they return."""
        return async_chunks(self._call(input, ensure_config(config), stop, kwargs))

    def stream_events(self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """Return LangChain's stream of a turn's events (`version="v3"`)."""
        if kwargs.pop("version", "v2") != "v3":
            return super().stream_events(input, config, **kwargs)  # pyright: ignore[reportUnknownVariableType]
        return event_stream(self._call(input, ensure_config(config), kwargs.pop("stop", None), kwargs))

    def astream_events(self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """Return LangChain's events of a turn (`version="v2"`), or what awaits its stream of them (`version="v3"`)."""
        if kwargs.get("version") != "v3":
            return super().astream_events(input, config, **kwargs)  # pyright: ignore[reportUnknownVariableType]
        del kwargs["version"]
        return self._astream_v3(input, config, kwargs)

    async def _astream_v3(
        self, given: LanguageModelInput, config: RunnableConfig | None, kwargs: dict[str, Any]
    ) -> AsyncEventStream:
        return AsyncEventStream(self._call(given, ensure_config(config), kwargs.pop("stop", None), kwargs))

    @override
    def generate(
        self,
        messages: list[list[BaseMessage]],
        stop: list[str] | None = None,
        callbacks: Callbacks = None,
        **kwargs: Any,
    ) -> LLMResult:
        """Return one turn for each list of messages, one after the other."""
        return answers(self._calls(messages, stop, callbacks, kwargs))

    @override
    async def agenerate(
        self,
        messages: list[list[BaseMessage]],
        stop: list[str] | None = None,
        callbacks: Callbacks = None,
        **kwargs: Any,
    ) -> LLMResult:
        """Return one turn for each list of messages, all at once."""
        return await async_answers(self._calls(messages, stop, callbacks, kwargs))

    def _calls(
        self, messages: list[list[BaseMessage]], stop: list[str] | None, callbacks: Callbacks, kwargs: dict[str, Any]
    ) -> list[Call]:
        config, later = run_configs(callbacks, kwargs)
        return [self._call(each, later if number else config, stop, kwargs) for number, each in enumerate(messages)]

    # The producers, for LangChain's own drivers and other callers.

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return answer_within(self._call(messages, {}, stop, kwargs), run_manager)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return await async_answer_within(self._call(messages, {}, stop, kwargs), run_manager)

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        return chunks_within(self._call(messages, {}, stop, kwargs), run_manager)

    def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        return async_chunks_within(self._call(messages, {}, stop, kwargs), run_manager)

    # What a hosted agent does differently, or cannot do.

    def with_retry(self, **kwargs: Any) -> Runnable[LanguageModelInput, AIMessage]:
        """Return the model with LangChain's retries. None of them sends a prompt again that has landed."""
        return MessageRetry(**vars(super().with_retry(**kwargs)))

    @override
    def configurable_fields(
        self, **kwargs: AnyConfigurableField
    ) -> RunnableSerializable[LanguageModelInput, AIMessage]:
        """Return the model with fields that a call's config may set."""
        check_fields(kwargs, type(self).model_fields)
        return ConfigurableModel(**vars(super().configurable_fields(**kwargs)))

    def bind(self, **kwargs: Any) -> Any:
        """Return the model with arguments for each call; a bound `session_id` still gives way to the config's."""
        if "session_id" not in kwargs:
            return super().bind(**kwargs)
        session_id = kwargs.pop("session_id")
        bound = self.model_copy(update={"session_id": session_id, "session": None, "client": self.known_client})
        return super(SessionChatModel, bound).bind(**kwargs)

    @override
    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Raise `UnsupportedError`: the tools of a session are its service's."""
        # `create_agent` asks for its `response_format` by a tool that cannot run, or by an argument.
        if (tools or "response_format" in kwargs) and all(is_schema(tool) for tool in tools):
            refuse_schema()
        refuse_tools(has_none=not tools)

    @override
    def with_structured_output(
        self, schema: dict[str, Any] | type, *, include_raw: bool = False, **kwargs: Any
    ) -> Runnable[LanguageModelInput, Any]:
        """Raise `UnsupportedError`: a session answers in text."""
        refuse_schema()

    @override
    def as_tool(
        self,
        args_schema: type[BaseModel] | None = None,
        *,
        name: str | None = None,
        description: str | None = None,
        arg_types: dict[str, type] | None = None,
    ) -> BaseTool:
        """Return the session as a tool for another agent: a `SessionTool`, which takes a `question`.

        Raises `ConfigurationError` for any other argument schema.
        """
        if args_schema is not None or arg_types is not None:
            raise ConfigurationError("a session takes one question as text: leave out args_schema and arg_types")
        return SessionTool(model=self, name=name or TOOL_NAME, description=description or TOOL_DESCRIPTION)
