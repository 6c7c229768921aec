"""A hosted chat session as a LlamaIndex chat engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Never, NoReturn, Unpack

from llama_index.core.callbacks import CallbackManager
from llama_index.core.chat_engine.types import BaseChatEngine
from llama_index.core.schema import NodeWithScore
from llama_index.core.tools import QueryEngineTool

from chat_sessions.core.errors import ConfigurationError
from chat_sessions.http.secrets import as_secret
from chat_sessions.llama_index.arguments import ClientArguments, client_of, client_or_default, manager_of
from chat_sessions.llama_index.conversation import Conversation
from chat_sessions.llama_index.memory.history import ChatHistoryPolicy, check_policy
from chat_sessions.llama_index.memory.session_memory import SessionMemory
from chat_sessions.llama_index.page_image import PageImage
from chat_sessions.llama_index.query_engine import SessionQueryEngine
from chat_sessions.session.backend import Backend
from chat_sessions.session.chat_session import ChatSession
from chat_sessions.session.stored.busy import check_wait

__all__ = ["SessionChatEngine"]

_ARGUMENTS = ("client", "session_id", "index_ids", "callback_manager", "on_chat_history", "wait_if_busy")
_TAKES = (
    f"it takes {', '.join((*_ARGUMENTS, *ClientArguments.__annotations__))}. The hosted agent has its own model, "
    "prompt, tools and memory"
)


class SessionChatEngine(Conversation, BaseChatEngine):
    """A session of a backend, with LlamaIndex's five chat methods.

    `client` is a backend's sync client; async methods use its async twin. Without one, the engine makes a
    `LlamaCloudChat` from `api_key`, `base_url`, `project_id`, `organization_id`, `max_retries` and `timeout` (seconds
    to wait for each event), and from the environment for what you leave out. An unknown argument raises
    `ConfigurationError`; one that other engines take and that has no meaning here, such as `temperature`, warns.

    With `session_id` the engine continues that session; without one it creates a session at its first turn. `index_ids`
    are what its turns query; by default the session's own, or the client's.

    The service keeps the history, so a `chat_history=` given to a method cannot replace it. `[]` begins a new session;
    the session's own history changes nothing; any other follows `on_chat_history`: "error" raises `ValueError` before
    anything is sent, "warn" warns and continues with the session's own history, "ignore" continues silently.

    `wait_if_busy` says how long a turn waits for one that still runs in its session: True (up to 10 minutes), False, or
    seconds; None leaves it to the session. The `ConflictError` is raised then.

    A pickle keeps the session, the client's settings and the policy, but never the key, which is read from the
    environment again. Pickling fails if a handler of `callback_manager` cannot be pickled.

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
        wait_if_busy: bool | float | None = None,
        **client_arguments: Unpack[ClientArguments],
    ) -> None:
        if "api_key" in client_arguments:
            # A traceback may show local variables.
            client_arguments["api_key"] = as_secret(client_arguments["api_key"])
        client = client_of("SessionChatEngine", client, client_arguments, _ARGUMENTS, takes=_TAKES)
        session = client.session(session_id, index_ids=index_ids)
        self._set_up(session, callback_manager, on_chat_history, wait_if_busy)

    @classmethod
    def from_session(
        cls,
        session: ChatSession,
        *,
        callback_manager: CallbackManager | None = None,
        on_chat_history: ChatHistoryPolicy = "error",
        wait_if_busy: bool | float | None = None,
    ) -> SessionChatEngine:
        """Return an engine over your session; both know its id once it is created.

        Raises `ConfigurationError` for an id: `SessionChatEngine(session_id=...)` takes that.
        """
        if not hasattr(session, "client"):
            raise ConfigurationError(
                f"from_session takes a session such as chat.session(...), not {type(session).__name__}; to continue "
                "a session by its id, use SessionChatEngine(client=chat, session_id=...)"
            )
        engine = cls.__new__(cls)
        engine._set_up(session, callback_manager, on_chat_history, wait_if_busy)
        return engine

    @classmethod
    def from_defaults(cls, *_: Never, **__: Never) -> NoReturn:
        """Raise `ConfigurationError`: a hosted agent has its own model, tools and prompt."""
        raise ConfigurationError(f"SessionChatEngine has no from_defaults: make it by its constructor, for {_TAKES}")

    def _set_up(
        self,
        session: ChatSession,
        callback_manager: CallbackManager | None,
        on_chat_history: ChatHistoryPolicy,
        wait_if_busy: bool | float | None,
    ) -> None:
        client_or_default(session.client)
        check_policy(on_chat_history)
        if wait_if_busy is not None:
            check_wait(wait_if_busy)
        self._wait_if_busy = wait_if_busy
        self.callback_manager = manager_of(callback_manager)
        self._on_chat_history = on_chat_history
        self._memory = SessionMemory.from_session(session)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(session_id={self.session_id!r}, service={self.client.service!r})"

    def page_image(self, node: NodeWithScore) -> PageImage | None:
        """Return the screenshot of the page with this passage, or None. Nothing is fetched yet."""
        return PageImage.of(node, client=self.client)

    def in_session(self, session: ChatSession) -> SessionChatEngine:
        """Return an engine with the same settings over another session."""
        return self.from_session(
            session,
            callback_manager=self.callback_manager,
            on_chat_history=self._on_chat_history,
            wait_if_busy=self._wait_if_busy,
        )

    def as_query_engine(self, *, new_session: bool = True) -> SessionQueryEngine:
        """Return a query engine over the same indexes.

        Each query has a session of its own, which stays on the service; with `new_session=False`
        every query is a turn of this engine's session.
        """
        return SessionQueryEngine(self, new_session=new_session)

    def as_tool(self, name: str, description: str, *, new_session: bool = True) -> QueryEngineTool:
        """Return a tool for agents that answers questions over the same indexes. See `as_query_engine`."""
        return QueryEngineTool.from_defaults(
            self.as_query_engine(new_session=new_session), name=name, description=description
        )
