"""The hosted chat session as a LangChain chat model."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Self
from uuid import UUID

from langchain_core.caches import BaseCache
from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import LanguageModelInput, ModelProfile
from langchain_core.language_models.base import LangSmithParams
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import ensure_config
from langchain_core.tools import BaseTool
from langchain_core.utils.utils import LC_ID_PREFIX
from pydantic import BaseModel, Field, PrivateAttr, SkipValidation, field_validator
from typing_extensions import override

from chat_sessions.core.errors import ConfigurationError
from chat_sessions.http.secrets import Concealed
from chat_sessions.langchain.backend import DEFAULT_SERVICE, backend_or_default
from chat_sessions.langchain.content import MessageForm, default_model_name
from chat_sessions.langchain.live_turn import AsyncLiveTurn, LiveTurn
from chat_sessions.langchain.own_runs import OwnRunsChatModel
from chat_sessions.langchain.prompt import PriorPolicy, Prompt, SystemPolicy, warn_of_input
from chat_sessions.langchain.refusals import check_arguments, is_schema, refuse_schema, refuse_tools
from chat_sessions.langchain.tool import TOOL_DESCRIPTION, TOOL_NAME, SessionTool
from chat_sessions.langchain.tool_runs import AsyncToolRuns, ToolRuns
from chat_sessions.session import Backend, ChatSession

__all__ = ["SessionChatModel"]

_CALL_ARGUMENTS = frozenset(("session_id", "index_ids", "require_all_indexes", "stream"))
_RECENT_SESSIONS = 256
_guard = threading.Lock()


class SessionChatModel(OwnRunsChatModel):
    """A hosted chat session, with its agent, tools and history on the server, as a chat model.

    ```python
    model = SessionChatModel(client=chat, index_ids=["idx-docs"])
    chain = prompt | model | StrOutputParser()
    ```

    The answer is an `AIMessage`: text, reasoning, and a `server_tool_call` and `server_tool_result`
    block for each tool that ran. Its `response_metadata` has the `session_id`, the `sources` and the
    `usage`; its `usage_metadata` has the token counts where the service tells both. With `trace_tools`
    each tool is also a tool run below the model's run, which tracers, `astream_events` and LangGraph
    show. They are never `tool_calls`: nobody is to run them again.

    Which session a turn runs in: the call's `session_id=`, else `configurable.session_id` of the
    config, else the `session_id` (or `session`) of the model, else, with `session_from_messages`, the
    session of the last answer in the input, else a new one for this call alone. It is on the answer in
    each case. LangGraph's `thread_id` is never one. Turns of one session wait for each other.

    Only the user's words after the last answer are sent; `on_prior_messages` says what becomes of
    earlier messages that the session does not know, `system` what becomes of system messages.

    A turn is never answered from a cache. `with_retry` sends a prompt again that may have landed: do
    not use it; the client itself repeats what is safe to repeat.

    Raises `ConfigurationError` for input that a session cannot be sent, before any request; else what
    `TurnStream` raises: `APIError`, `ProtocolError`, `TurnError`, whose `turn` holds the answer so far.
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

    trace_tools: bool = True
    """Whether the remote tools are tool runs below the model's run. Their blocks are there in any case."""

    system: SystemPolicy = "warn"
    """A system message is dropped with a warning, put before the first prompt of a session, or an error."""

    on_prior_messages: PriorPolicy = "warn"
    """What to do about earlier messages that are not of the session that the turn runs in: they are not sent."""

    session_from_messages: bool = False
    """Whether a call without a session goes on with that of the last answer in its input.

    Leave it off where the messages come from somebody who must not choose the session.
    """

    model_name: str | None = None
    """The name in traces and usage counts; None: the service's name with "-chat"."""

    cache: BaseCache | bool | None = Field(default=False, exclude=True)
    """Always False: a cached answer would be a turn that the session never saw."""

    _made_client: Backend | None = PrivateAttr(default=None)
    # By id, so that none is ever chosen by it: what is known of a session's indexes and turns saves a request
    # before each turn, and tells a new turn from an old one when a stream broke.
    _recent: OrderedDict[str, ChatSession] = PrivateAttr(default_factory=OrderedDict)

    if not TYPE_CHECKING:  # for a type checker, the fields are the arguments

        def __init__(self, *args, **fields):
            """Raise `ConfigurationError` for an argument that is misspelt or the client's, and for no sync client."""
            # Not in a validator: pydantic's errors quote the input, and there may be a key in it.
            # A traceback may show local variables.
            fields = Concealed(fields)
            check_arguments(fields, type(self).model_fields)
            super().__init__(*args, **fields)

    @classmethod
    def from_session(cls, session: ChatSession, **fields: Any) -> Self:
        """The model of a session that you hold; it is created at its first turn if it does not exist yet."""
        return cls(session=session, **fields)

    @field_validator("cache")
    @classmethod
    def _no_cache(cls, value: BaseCache | bool | None) -> Literal[False]:
        if value not in (None, False):
            raise ValueError("a session cannot be cached: the turn would never reach it; leave cache at False")
        return False

    # What LangChain asks of a model about itself.

    @property
    def _llm_type(self) -> str:
        return "chat-session"

    @property
    def _service(self) -> str:
        backend = self.session.client if self.session is not None else self.client
        return DEFAULT_SERVICE if backend is None else backend.service

    @property
    def _shown_name(self) -> str:
        return self.model_name or default_model_name(self._service)

    @property
    def _identifying_params(self) -> Mapping[str, Any]:
        session_id = self.session_id or (self.session.id if self.session is not None else None)
        return {"model_name": self._shown_name, "session_id": session_id, "index_ids": self.index_ids}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop, **kwargs)
        params["ls_provider"] = self._service
        if "model" not in kwargs:
            params["ls_model_name"] = self._shown_name
        return params

    def _resolve_model_profile(self) -> ModelProfile:
        return ModelProfile(
            text_inputs=True,
            image_inputs=False,
            pdf_inputs=False,
            audio_inputs=False,
            video_inputs=False,
            reasoning_output=True,
            text_outputs=True,
            tool_calling=False,
            structured_output=False,
        )

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """A model can be dumped and loaded; the loaded one makes its client from the environment."""
        return True

    @property
    def lc_attributes(self) -> dict[str, Any]:
        """What a dump holds beside the fields: the id of the session held."""
        return {} if self.session is None or self.session_id is not None else {"session_id": self.session.id}

    def __getstate__(self) -> dict[Any, Any]:
        """The model without what it knows of sessions: elsewhere, that may be out of date."""
        state = super().__getstate__()
        return {**state, "__pydantic_private__": {"_made_client": None, "_recent": OrderedDict()}}

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """A copy that shares the client and the session held."""
        memo = {} if memo is None else memo
        memo.update({id(shared): shared for shared in (self.client, self.session, self._made_client, self._recent)})
        return super().__deepcopy__(memo)

    # What a hosted agent cannot do.

    @override
    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Raise `NotImplementedError`: the tools of a session are its service's."""
        # `create_agent` asks for its `response_format` by a tool that nobody can run, or by an argument.
        if (tools or "response_format" in kwargs) and all(is_schema(tool) for tool in tools):
            refuse_schema()
        if not tools:
            raise NotImplementedError(
                "a hosted session takes no tools, and this list has none: leave bind_tools out and use the model itself"
            )
        refuse_tools()

    @override
    def with_structured_output(
        self, schema: dict[str, Any] | type, *, include_raw: bool = False, **kwargs: Any
    ) -> Runnable[LanguageModelInput, Any]:
        """Raise `NotImplementedError`: a session answers in words."""
        refuse_schema()

    def bind(self, **kwargs: Any) -> Any:
        """The model with arguments for each call; a bound `session_id` still gives way to the config's."""
        if "session_id" not in kwargs:
            return super().bind(**kwargs)
        session_id = kwargs.pop("session_id")
        bound = self.model_copy(update={"session_id": session_id, "session": None, "client": self._known_client()})
        # LangChain keeps here what it shows of the model in traces, and a copy takes it along.
        vars(bound).pop("_serialized", None)
        return super(SessionChatModel, bound).bind(**kwargs)

    @override
    def as_tool(
        self,
        args_schema: type[BaseModel] | None = None,
        *,
        name: str | None = None,
        description: str | None = None,
        arg_types: dict[str, type] | None = None,
    ) -> BaseTool:
        """The session as a tool for another agent: a `SessionTool`, which takes a `question`.

        Raises `ConfigurationError` if arguments of another form are asked for.
        """
        if args_schema is not None or arg_types is not None:
            raise ConfigurationError("a session takes one question in words: leave out args_schema and arg_types")
        return SessionTool(model=self, name=name or TOOL_NAME, description=description or TOOL_DESCRIPTION)

    if not TYPE_CHECKING:  # the types are the base class's; here only the config is looked at

        def stream_events(self, input, config=None, **kwargs):
            """As LangChain has it, in the session that the config names."""
            return super().stream_events(input, config, **self._with_config(config, kwargs))

        def astream_events(self, input, config=None, **kwargs):
            """As LangChain has it, in the session that the config names."""
            return super().astream_events(input, config, **self._with_config(config, kwargs))

    # The turn.

    def _known_client(self) -> Backend | None:
        return self.session.client if self.session is not None else self.client

    def _backend(self) -> Backend:
        known = self._known_client()
        if known is not None:
            return known
        with _guard:
            if self._made_client is None:
                self._made_client = backend_or_default(None)
            return self._made_client

    def _with_config(self, config: RunnableConfig | None, kwargs: dict[str, Any]) -> dict[str, Any]:
        """The call's arguments with the session that the config names, if the call names none."""
        if kwargs.get("session_id") is not None:
            return kwargs
        session_id: object = ensure_config(config).get("configurable", {}).get("session_id")
        return kwargs if session_id is None else {**kwargs, "session_id": session_id}

    def _read_input(
        self, messages: list[BaseMessage], stop: list[str] | None, kwargs: Mapping[str, Any]
    ) -> tuple[Prompt, str | None]:
        """The prompt and the session it goes to, None for a new one; all that is wrong is told here."""
        if kwargs.get("tools"):
            refuse_tools()
        unknown = sorted(kwargs.keys() - _CALL_ARGUMENTS)
        if unknown:
            raise ConfigurationError(
                f"{', '.join(map(repr, unknown))}: no such argument; a turn takes session_id, index_ids and "
                "require_all_indexes"
            )
        if stop:
            warn_of_input("stop is not sent: a session has no stop sequences")
        prompt = Prompt.read(messages)
        session_id = kwargs.get("session_id")
        if session_id is None:
            session_id = self.session_id
        if session_id is None and self.session is not None:
            session_id = self.session.id
        elif session_id is None and self.session_from_messages:
            session_id = prompt.prior_session_id
        if session_id is not None and not isinstance(session_id, str):
            raise ConfigurationError(f"session_id must be a string, got {session_id!r}")
        prompt.apply_system_policy(self.system)
        prompt.apply_prior_policy(self.on_prior_messages, session_id)
        return prompt, session_id

    def _session_of(self, session_id: str | None) -> ChatSession:
        if self.session is not None and session_id == self.session.id:
            return self.session
        backend = self._backend()
        with _guard:
            known = None if session_id is None else self._recent.get(session_id)
        # A copy of the model may have another client.
        return known if known and known.client is backend else backend.session(session_id, index_ids=self.index_ids)

    def _remember(self, session: ChatSession) -> None:
        if session is not self.session and session.id is not None:
            with _guard:
                self._recent[session.id] = session
                self._recent.move_to_end(session.id)
                while len(self._recent) > _RECENT_SESSIONS:
                    self._recent.popitem(last=False)

    def _wants_system(self, prompt: Prompt, session_id: str | None) -> bool:
        """Whether the system text may have to go before this prompt: it may be the session's first."""
        continues = prompt.prior_session_id is not None and prompt.prior_session_id == session_id
        return self.system == "prepend" and prompt.system is not None and not continues

    def _turn_arguments(self, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        index_ids = kwargs.get("index_ids")
        if isinstance(index_ids, str):
            raise ConfigurationError(f"index_ids must be a list of index ids, got the string {index_ids!r}")
        return {
            "index_ids": index_ids or self.index_ids,
            "require_all_indexes": kwargs.get("require_all_indexes", self.require_all_indexes),
        }

    def _form(self, run_id: UUID | None, *, v1: bool = False) -> MessageForm:
        message_id = None if run_id is None else f"{LC_ID_PREFIX}-{run_id}"
        return MessageForm(self._service, self._shown_name, v1 or self.output_version == "v1", message_id)

    def _live_turn(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None,
        run: CallbackManagerForLLMRun | None,
        kwargs: Mapping[str, Any],
        *,
        v1: bool = False,
    ) -> LiveTurn:
        """The turn of these messages, not sent yet."""
        prompt, session_id = self._read_input(messages, stop, kwargs)
        session = self._session_of(session_id)
        text = prompt.text
        if self._wants_system(prompt, session_id) and not session.turns():
            text = prompt.with_system()
        stream = session.stream(text, **self._turn_arguments(kwargs))
        session.create()
        self._remember(session)
        return LiveTurn(
            stream, ToolRuns(run if self.trace_tools else None), self._form(run.run_id if run else None, v1=v1)
        )

    async def _alive_turn(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None,
        run: AsyncCallbackManagerForLLMRun | None,
        kwargs: Mapping[str, Any],
        *,
        v1: bool = False,
    ) -> AsyncLiveTurn:
        """The async twin of `_live_turn`."""
        prompt, session_id = self._read_input(messages, stop, kwargs)
        held = self._session_of(session_id)
        session = held.aio
        text = prompt.text
        if self._wants_system(prompt, session_id) and not await session.turns():
            text = prompt.with_system()
        stream = session.stream(text, **self._turn_arguments(kwargs))
        await session.create()
        self._remember(held)
        tools = AsyncToolRuns(run if self.trace_tools else None)
        return AsyncLiveTurn(stream, tools, self._form(run.run_id if run else None, v1=v1))
