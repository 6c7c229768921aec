"""A hosted chat session as a LlamaIndex chat engine."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Never, NoReturn, get_args

from llama_index.core import Settings
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.callbacks import CallbackManager
from llama_index.core.chat_engine.types import AgentChatResponse, BaseChatEngine
from llama_index.core.schema import NodeWithScore
from llama_index.core.tools import QueryEngineTool

from chat_sessions.core.errors import ConfigurationError
from chat_sessions.llama_index.answer import Answer, AsyncAnswer, start_trace
from chat_sessions.llama_index.client import client_or_default
from chat_sessions.llama_index.history import ChatHistoryPolicy, history_problem
from chat_sessions.llama_index.images import PageImage
from chat_sessions.llama_index.memory import SessionMemory
from chat_sessions.llama_index.query_engine import SessionQueryEngine
from chat_sessions.llama_index.response import StreamingSessionResponse
from chat_sessions.llama_index.tracing import own_span
from chat_sessions.session.backend import Backend
from chat_sessions.session.chat_session import ChatSession

__all__ = ["SessionChatEngine"]

_TAKES = (
    "it takes client, session_id, index_ids, callback_manager and on_chat_history. The hosted agent has its own model, "
    "prompt, tools and memory; a key or an address is given to the client"
)


class SessionChatEngine(BaseChatEngine):
    """A session of a backend behind LlamaIndex's five chat methods.

    `client` is a backend's sync client, by default one made from the environment; async methods go
    through its async twin. With `session_id` the engine continues that session, without one it
    creates a session at its first turn. `index_ids` are what its turns query; by default the
    session's own, or the client's.

    The service keeps the history, so a `chat_history=` given to a method cannot replace it. `[]` begins a
    new session; the session's own history (as those who talk see it) changes nothing; any other follows
    `on_chat_history`: "error" raises `ValueError` before anything is sent, "warn" warns and goes on with the
    session's own history, "ignore" goes on in silence.

    Turns of one engine run one after the other: a second one waits until the first has been read to
    its end or closed.
    """

    def __init__(
        self,
        client: Backend | None = None,
        session_id: str | None = None,
        index_ids: Sequence[str] | None = None,
        *,
        callback_manager: CallbackManager | None = None,
        on_chat_history: ChatHistoryPolicy = "error",
        **meaningless: Never,
    ) -> None:
        if meaningless:
            raise ConfigurationError(f"SessionChatEngine takes no {', '.join(meaningless)}: {_TAKES}")
        session = client_or_default(client).session(session_id, index_ids=index_ids)
        self._set_up(session, callback_manager, on_chat_history)

    @classmethod
    def from_session(
        cls,
        session: ChatSession,
        *,
        callback_manager: CallbackManager | None = None,
        on_chat_history: ChatHistoryPolicy = "error",
    ) -> SessionChatEngine:
        """An engine over the session that you hold; both know its id once it is created.

        Raises `ConfigurationError` for an id: `SessionChatEngine(session_id=...)` takes that.
        """
        if not hasattr(session, "client"):
            raise ConfigurationError(
                f"from_session takes a session such as chat.session(...), not {type(session).__name__}; to go on with "
                "the session of an id, use SessionChatEngine(client=chat, session_id=...)"
            )
        engine = cls.__new__(cls)
        engine._set_up(session, callback_manager, on_chat_history)
        return engine

    @classmethod
    def from_defaults(cls, *_: Never, **__: Never) -> NoReturn:
        """Raise `ConfigurationError`: what stock engines take here, a hosted agent has itself."""
        raise ConfigurationError(f"SessionChatEngine has no from_defaults: make it by its constructor, for {_TAKES}")

    def _set_up(
        self, session: ChatSession, callback_manager: CallbackManager | None, on_chat_history: ChatHistoryPolicy
    ) -> None:
        client_or_default(session.client)
        if on_chat_history not in get_args(ChatHistoryPolicy):
            raise ConfigurationError(f'on_chat_history={on_chat_history!r}: use "error", "warn" or "ignore"')
        self.callback_manager = callback_manager or Settings.callback_manager
        self._on_chat_history = on_chat_history
        self._memory = SessionMemory.from_session(session)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(session_id={self.session_id!r}, service={self.client.service!r})"

    @property
    def client(self) -> Backend:
        """The backend's client."""
        return self._memory.client

    @property
    def session(self) -> ChatSession:
        """The session that the next turn goes to."""
        return self._memory.session

    @property
    def session_id(self) -> str | None:
        """The session's id; None until it is created, at the first turn."""
        return self._memory.session.id

    @property
    def memory(self) -> SessionMemory:
        """The session as memory; to reset one is to reset the other."""
        self._memory.note()
        return self._memory

    @property
    def chat_history(self) -> list[ChatMessage]:
        """The session's messages, read from the service at each access. Raises `APIError`."""
        return self._memory.get_all()

    async def achat_history(self) -> list[ChatMessage]:
        """The session's messages, read from the service. Raises `APIError`."""
        return await self._memory.aget_all()

    @own_span
    def chat(self, message: str, chat_history: list[ChatMessage] | None = None) -> AgentChatResponse:
        """The whole answer, with `sources`, `source_nodes` and `metadata`.

        Raises `APIError` if the turn could not be sent, and a `TurnError`, with the turn so far on it,
        if it did not end well.
        """
        return self._begin("chat", message, chat_history).read()

    @own_span
    async def achat(self, message: str, chat_history: list[ChatMessage] | None = None) -> AgentChatResponse:
        """The whole answer. See `chat`."""
        answer = await self._abegin("achat", message, chat_history)
        return await answer.read()

    @own_span
    def stream_chat(self, message: str, chat_history: list[ChatMessage] | None = None) -> StreamingSessionResponse:
        """The answer as it comes. The prompt is sent before this returns: `APIError` is raised here."""
        return StreamingSessionResponse(self._begin("stream_chat", message, chat_history))

    @own_span
    async def astream_chat(
        self, message: str, chat_history: list[ChatMessage] | None = None
    ) -> StreamingSessionResponse:
        """The answer as it comes. The prompt is sent before this returns: `APIError` is raised here."""
        return StreamingSessionResponse(await self._abegin("astream_chat", message, chat_history))

    def reset(self) -> None:
        """Begin a new session with the next turn. The old one stays on the service. See `SessionMemory.reset`."""
        self._memory.reset()

    def page_image(self, node: NodeWithScore) -> PageImage | None:
        """The screenshot of the page that this passage stands on, or None. Nothing is fetched yet."""
        return PageImage.of(node, client=self.client)

    def as_query_engine(self, *, new_session: bool = True) -> SessionQueryEngine:
        """A query engine over the same indexes.

        Each query has a session of its own, which stays on the service; with `new_session=False`
        every query is a turn of this engine's session.
        """
        return SessionQueryEngine(self, new_session=new_session)

    def as_tool(self, name: str, description: str, *, new_session: bool = True) -> QueryEngineTool:
        """A tool for agents that answers a question over the same indexes. See `as_query_engine`."""
        return QueryEngineTool.from_defaults(
            self.as_query_engine(new_session=new_session), name=name, description=description
        )

    def _begin(self, method: str, message: str, chat_history: list[ChatMessage] | None) -> Answer:
        if chat_history:
            self._check_history(chat_history, self.chat_history)
        elif chat_history is not None:
            self.reset()
        session = self.session
        stream = session.stream(message)
        answer = Answer(stream, start_trace(self, method, message, session, self.callback_manager))
        answer.open()
        self._memory.note()
        return answer

    async def _abegin(self, method: str, message: str, chat_history: list[ChatMessage] | None) -> AsyncAnswer:
        if chat_history:
            self._check_history(chat_history, await self.achat_history())
        elif chat_history is not None:
            await self._memory.areset()
        session = self.session.aio
        stream = session.stream(message)
        answer = AsyncAnswer(stream, start_trace(self, method, message, session, self.callback_manager))
        await answer.open()
        self._memory.note()
        return answer

    def _check_history(self, given: list[ChatMessage], own: list[ChatMessage]) -> None:
        if self._on_chat_history == "ignore":
            return
        problem = history_problem(given, own, self.session_id)
        if problem and self._on_chat_history == "error":
            raise ValueError(problem)
        if problem:
            warnings.warn(f"{problem} The session's own history is used.", UserWarning, stacklevel=4)
