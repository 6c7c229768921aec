"""The session as LlamaIndex memory: messages are read from the service, and written only by turns."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Self, TypeAlias, cast

from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.bridge.pydantic import Field, PrivateAttr, field_serializer
from llama_index.core.memory import BaseMemory
from pydantic import BaseModel

from chat_sessions.core.arguments import checked_fields, checked_indexes, checked_items
from chat_sessions.core.errors import ChatSessionsError, ConfigurationError
from chat_sessions.core.models import JobMetadata, SessionSummary
from chat_sessions.llama_index.arguments import client_or_default
from chat_sessions.llama_index.messages import messages_of, same_talk, talk
from chat_sessions.session.backend import Backend
from chat_sessions.session.chat_session import ChatSession

__all__ = ["RemoteHistoryAppendOnlyError", "SessionMemory"]

# `list` is a method below.
Messages: TypeAlias = list[ChatMessage]


def _checked(messages: object) -> Messages:
    """Return the messages. Raises `ConfigurationError` for something else."""
    problem = "a memory takes messages of LlamaIndex: ChatMessage(role=..., content=...)"
    return checked_items(messages, ChatMessage, problem)


class RemoteHistoryAppendOnlyError(ChatSessionsError, NotImplementedError):
    """A history on the service grows by turns only: messages cannot be put, replaced or removed there."""


class SessionMemory(BaseMemory):
    """A session's history as memory.

    `get` reads the session: you get the messages that the service has, even after a turn that you left. You can put
    only messages that are there already; anything else raises `RemoteHistoryAppendOnlyError` and sends nothing.
    `reset()` and `set([])` begin a new session, created at its first turn; the old one stays on the service.

    The fields are those of a session's summary. `to_dict` and `to_json` keep them, but never the client or its key.
    Pass a client to `from_dict(data, client=...)`; without one, it is made from the environment when first needed. A
    pickle also keeps the client, with all its settings except the key, which is read from the environment again.
    """

    session_id: str | None = Field(default=None, description="The session; None until it is created.")
    index_ids: tuple[str, ...] | None = Field(default=None, description="The indexes that its turns query.")
    generated_title: str | None = Field(default=None, description="The title that the service gave it.")
    tags: dict[str, str] = Field(default_factory=dict, description="Its tags, where the service has them.")
    last_updated_at: datetime | None = Field(default=None, description="When it last changed.")
    job_metadata: JobMetadata | None = Field(default=None, description="Usage and status of its last run.")
    shared_access: str | None = Field(default=None, description="How it is shared.")

    _client: Backend | None = PrivateAttr(default=None)
    _session: ChatSession | None = PrivateAttr(default=None)

    def __init__(self, *, client: Backend | None = None, **data: object) -> None:
        checked_indexes(cast("tuple[str, ...] | None", data.get("index_ids")))
        with checked_fields("SessionMemory"):
            super().__init__(**data)
        self._client = client

    @classmethod
    def class_name(cls) -> str:
        """The name under which it is serialised."""
        return "SessionMemory"

    @classmethod
    def from_defaults(
        cls,
        *,
        client: Backend | None = None,
        session_id: str | None = None,
        index_ids: Sequence[str] | None = None,
        **kwargs: object,
    ) -> SessionMemory:
        """Return the memory of this session, or of one that is created at its first turn."""
        return cls(client=client, session_id=session_id, index_ids=index_ids, **kwargs)

    @classmethod
    def from_summary(cls, summary: SessionSummary, *, client: Backend | None = None) -> SessionMemory:
        """Return the memory of the session with this summary. Sends nothing.

        Raises `ConfigurationError` for anything but a summary.
        """
        if not isinstance(summary, SessionSummary):  # pyright: ignore[reportUnnecessaryIsInstance] - people give others
            raise ConfigurationError(
                f"from_summary takes a summary, such as client.get_summary(session_id) returns, not a "
                f"{type(summary).__name__}"
            )
        memory = cls(client=client)
        memory._adopt(summary)
        return memory

    @classmethod
    def from_session(cls, session: ChatSession) -> SessionMemory:
        """Return the memory of your session. Raises `ConfigurationError` for anything but a sync session."""
        if not isinstance(session, ChatSession):  # pyright: ignore[reportUnnecessaryIsInstance] - people give others
            raise ConfigurationError(
                f"from_session takes a session, such as client.session(), not a {type(session).__name__}; async "
                "methods go through its .aio"
            )
        memory = cls(client=session.client)
        memory._session = session
        memory.note()
        return memory

    @classmethod
    def list(cls, client: Backend, *, page_size: int | None = None) -> Iterator[SessionMemory]:
        """Yield a memory per session of the project; pages are fetched when needed."""
        client = client_or_default(client)
        for summary in client.list(page_size=page_size):
            yield cls.from_summary(summary, client=client)

    @classmethod
    async def alist(cls, client: Backend, *, page_size: int | None = None) -> AsyncIterator[SessionMemory]:
        """Yield a memory per session of the project; pages are fetched when needed."""
        client = client_or_default(client)
        async for summary in client.aio.list(page_size=page_size):
            yield cls.from_summary(summary, client=client)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], **kwargs: Any) -> Self:
        """Return the memory that `to_dict` wrote; `client=` is where its session is.

        Raises `ConfigurationError` for something else.
        """
        if not isinstance(data, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance] - people give others
            raise ConfigurationError(f"from_dict takes what to_dict returned, a dict, not a {type(data).__name__}")
        return super().from_dict(dict(data), **kwargs)

    @classmethod
    def from_json(cls, data_str: str, **kwargs: Any) -> Self:
        """Return the memory that `to_json` wrote; `client=` is where its session is.

        Raises `ConfigurationError` for something else.
        """
        try:
            data: object = json.loads(data_str)
        except (TypeError, ValueError, RecursionError):
            data = None
        if not isinstance(data, dict):
            raise ConfigurationError("from_json takes what to_json returned, which is a JSON object; this is not one")
        return cls.from_dict(cast("dict[str, Any]", data), **kwargs)

    @property
    def client(self) -> Backend:
        """The client; made from the environment at first use if none was given."""
        self._client = client_or_default(self._client)
        return self._client

    @property
    def session(self) -> ChatSession:
        """The session itself."""
        if self._session is None:
            self._session = self.client.session(self.session_id, index_ids=self.index_ids)
        return self._session

    def get(self, input: str | None = None, **kwargs: object) -> Messages:  # noqa: ARG002 - the base class's signature
        """Return every message of the session, read from the service. Raises `APIError`."""
        return self.get_all()

    async def aget(self, input: str | None = None, **kwargs: object) -> Messages:  # noqa: ARG002 - as above
        """Return every message of the session, read from the service. Raises `APIError`."""
        return await self.aget_all()

    def get_all(self) -> Messages:
        """Return every message of the session, read from the service. Raises `APIError`."""
        messages = messages_of(self.session.turns())
        self.note()
        return messages

    async def aget_all(self) -> Messages:
        """Return every message of the session, read from the service. Raises `APIError`."""
        messages = messages_of(await self.session.aio.turns())
        self.note()
        return messages

    def put(self, message: ChatMessage) -> None:
        """Do nothing if this is the session's last message; else raise `RemoteHistoryAppendOnlyError`."""
        self.put_messages([message])

    async def aput(self, message: ChatMessage) -> None:
        """Do nothing if this is the session's last message; else raise `RemoteHistoryAppendOnlyError`."""
        await self.aput_messages([message])

    def put_messages(self, messages: Messages) -> None:
        """Do nothing if the session ends with these messages; else raise `RemoteHistoryAppendOnlyError`."""
        self._require_tail(_checked(messages), self.get_all())

    async def aput_messages(self, messages: Messages) -> None:
        """Do nothing if the session ends with these messages; else raise `RemoteHistoryAppendOnlyError`."""
        self._require_tail(_checked(messages), await self.aget_all())

    def set(self, messages: Messages) -> None:
        """Begin a new session for `[]`, do nothing for the same history; else raise `RemoteHistoryAppendOnlyError`."""
        if not messages:
            self.reset()
        else:
            self._require_same(_checked(messages), self.get_all())

    async def aset(self, messages: Messages) -> None:
        """As `set`."""
        if not messages:
            await self.areset()
        else:
            self._require_same(_checked(messages), await self.aget_all())

    def reset(self) -> None:
        """Begin a new session over the same indexes, created at its first turn; the old one stays.

        Sends nothing, unless it must ask for the indexes of the old session.
        """
        self._replace(self.new_session())

    async def areset(self) -> None:
        """As `reset`."""
        self._replace(await self.anew_session())

    def new_session(self) -> ChatSession:
        """Return a new session over the same indexes, created at its first turn."""
        if self._lacks_indexes():
            self.session.summary()
        return self.client.session(index_ids=self.session.index_ids)

    async def anew_session(self) -> ChatSession:
        """As `new_session`."""
        if self._lacks_indexes():
            await self.session.aio.summary()
        return self.client.session(index_ids=self.session.index_ids)

    def _lacks_indexes(self) -> bool:
        return self.session.id is not None and self.session.index_ids is None and self.client.index_ids is None

    def _replace(self, session: ChatSession) -> None:
        self._adopt(None)
        self._session = session
        self.note()

    def refresh(self) -> SessionMemory:
        """Return this memory with the session's current summary. Raises `APIError`."""
        self._adopt(self.session.summary())
        return self

    async def arefresh(self) -> SessionMemory:
        """Return this memory with the session's current summary. Raises `APIError`."""
        self._adopt(await self.session.aio.summary())
        return self

    def note(self) -> None:
        """Take over what `session` has learned without asking: its id once it is created, and its indexes."""
        if self._session is not None:
            self.session_id = self._session.id
            self.index_ids = self._session.index_ids

    def delete(self) -> None:
        """Delete the session on the service, which cannot be undone, and begin a new one. Raises `APIError`."""
        successor = self.new_session()
        self.session.delete()
        self._replace(successor)

    async def adelete(self) -> None:
        """Delete the session on the service, which cannot be undone, and begin a new one. Raises `APIError`."""
        successor = await self.anew_session()
        await self.session.aio.delete()
        self._replace(successor)

    def to_dict(self, **kwargs: object) -> dict[str, object]:
        """Return what `from_dict` reads: the summary's fields, without the client."""
        self.note()
        return super().to_dict(**kwargs)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SessionMemory) and self.to_dict() == other.to_dict()

    def __getstate__(self) -> dict[str, Any]:
        self.note()
        # Not the base component's own, which leaves out what does not pickle. A client does, without its key.
        return {**BaseModel.__getstate__(self), "__pydantic_private__": {"_client": self._client, "_session": None}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # The base class restores only the fields.
        super().__setstate__(state)
        self._client = state["__pydantic_private__"]["_client"]

    @field_serializer("last_updated_at")
    def _serialize_time(self, value: datetime | None) -> str | None:
        # So that `json.dumps` accepts what `to_dict` returns.
        return value.isoformat() if value else None

    def _adopt(self, summary: SessionSummary | None) -> None:
        """Take over what a summary says; None is a session that does not exist yet."""
        self.session_id = summary.session_id if summary else None
        self.index_ids = tuple(summary.index_ids) if summary and summary.index_ids else None
        self.generated_title = summary.generated_title if summary else None
        self.tags = summary.tags if summary else {}
        self.last_updated_at = summary.last_updated_at if summary else None
        self.job_metadata = summary.job_metadata if summary else None
        self.shared_access = summary.shared_access if summary else None

    def _require_tail(self, messages: Messages, history: Messages) -> None:
        wanted = talk(messages)
        if not wanted or wanted != talk(history)[-len(wanted) :]:
            raise RemoteHistoryAppendOnlyError(
                "the history of a session grows by its turns only, and these are not its last messages: send a prompt "
                "with SessionChatEngine instead, or use another memory for messages of other models"
            )

    def _require_same(self, messages: Messages, history: Messages) -> None:
        if not same_talk(messages, history):
            raise RemoteHistoryAppendOnlyError(
                "the history of a session cannot be replaced, and these messages differ from it: use reset() or "
                "set([]) for a new session"
            )
