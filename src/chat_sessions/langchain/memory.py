"""Sessions of the service as memory: their summaries, and their messages on request."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import datetime
from typing import Any, Self

from langchain_core.chat_loaders import BaseChatLoader
from langchain_core.chat_sessions import ChatSession as LoadedSession
from langchain_core.messages import BaseMessage
from langchain_core.messages.ai import UsageMetadata
from pydantic import BaseModel, ConfigDict, Field, SkipValidation

from chat_sessions.core.arguments import checked_fields
from chat_sessions.core.errors import NotFoundError
from chat_sessions.core.events import Event
from chat_sessions.core.models import JobMetadata, SessionSummary
from chat_sessions.langchain.chat_model import SessionChatModel
from chat_sessions.langchain.content import usage_metadata
from chat_sessions.langchain.input.default_client import client_or_default
from chat_sessions.langchain.messages import events_to_messages
from chat_sessions.session import Backend

__all__ = ["SessionLoader", "SessionMemory"]


class SessionMemory(BaseModel):
    """One session as memory: its summary in memory, its messages read from the service on request.

    The service is the store: there is nothing to save, and only a prompt adds messages.
    """

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    summary: SessionSummary
    """What the service said of the session."""

    client: SkipValidation[Backend] = Field(exclude=True, repr=False)
    """Where the session is."""

    def __init__(self, **fields: Any) -> None:
        """Make the memory of a session. Raises `ConfigurationError` for a wrong field."""
        with checked_fields("SessionMemory"):
            super().__init__(**fields)

    @classmethod
    def from_summary(cls, summary: SessionSummary, *, client: Backend | None = None) -> Self:
        """Return the memory of the session with this summary. Sends nothing."""
        return cls(summary=summary, client=client_or_default(client))

    @classmethod
    def from_session_id(cls, session_id: str, *, client: Backend | None = None) -> Self:
        """Return the memory of the session with this id. Raises `NotFoundError`, `APIError`."""
        backend = client_or_default(client)
        return cls(summary=backend.get_summary(session_id), client=backend)

    @classmethod
    async def afrom_session_id(cls, session_id: str, *, client: Backend | None = None) -> Self:
        """The async twin of `from_session_id`; takes the same client."""
        backend = client_or_default(client)
        return cls(summary=await backend.aio.get_summary(session_id), client=backend)

    @property
    def session_id(self) -> str:
        """The session's id."""
        return self.summary.session_id

    @property
    def title(self) -> str | None:
        """Its title on the service; None if it has none yet."""
        return self.summary.generated_title

    @property
    def tags(self) -> dict[str, str]:
        """Its tags, where the service has them; else empty."""
        return self.summary.tags

    @property
    def last_updated_at(self) -> datetime:
        """When it last changed, with a time zone."""
        return self.summary.last_updated_at

    @property
    def index_ids(self) -> tuple[str, ...] | None:
        """The indexes that it queries; None if the service does not say."""
        return None if self.summary.index_ids is None else tuple(self.summary.index_ids)

    @property
    def last_run(self) -> JobMetadata | None:
        """How its last turn went: duration in milliseconds, rounds, error; None if the service does not say."""
        return self.summary.job_metadata

    @property
    def usage_metadata(self) -> UsageMetadata | None:
        """The tokens of its last turn; None unless the service reports both counts."""
        return usage_metadata(self.summary.job_metadata)

    def messages(self, *, output_version: str | None = None) -> list[BaseMessage]:
        """Its messages, read from the service now. See `events_to_messages`. Raises `APIError`."""
        return self._messages(self.client.retrieve(self.session_id).events, output_version)

    async def amessages(self, *, output_version: str | None = None) -> list[BaseMessage]:
        """The async twin of `messages`."""
        session = await self.client.aio.retrieve(self.session_id)
        return self._messages(session.events, output_version)

    def _messages(self, events: Sequence[Event], output_version: str | None) -> list[BaseMessage]:
        return events_to_messages(
            events, session_id=self.session_id, service=self.client.service, output_version=output_version
        )

    def as_model(self, *, index_ids: list[str] | None = None, **fields: Any) -> SessionChatModel:
        """Return a chat model that continues this session; the arguments are fields of `SessionChatModel`."""
        wanted = self.summary.index_ids if index_ids is None else index_ids
        return SessionChatModel(client=self.client, session_id=self.session_id, index_ids=wanted, **fields)


class SessionLoader(BaseChatLoader):
    """Loads the sessions of the service, in the order in which it lists them.

    Pages are fetched when they are needed, and each session's messages when you reach it. `page_size` is the number of
    sessions in a page.
    """

    def __init__(
        self, *, client: Backend | None = None, page_size: int | None = None, output_version: str | None = None
    ) -> None:
        self.client = client_or_default(client)
        self.page_size = page_size
        self.output_version = output_version

    def lazy_load(self) -> Iterator[LoadedSession]:
        """Yield each session's messages. A session that is deleted meanwhile is left out. Raises `APIError`."""
        for memory in self.memories():
            try:
                yield LoadedSession(messages=memory.messages(output_version=self.output_version))
            except NotFoundError:
                continue

    async def alazy_load(self) -> AsyncIterator[LoadedSession]:
        """The async twin of `lazy_load`."""
        async for memory in self.amemories():
            try:
                yield LoadedSession(messages=await memory.amessages(output_version=self.output_version))
            except NotFoundError:
                continue

    def memories(self) -> Iterator[SessionMemory]:
        """Yield each session's summary, without its messages."""
        for summary in self.client.list(page_size=self.page_size):
            yield SessionMemory.from_summary(summary, client=self.client)

    async def amemories(self) -> AsyncIterator[SessionMemory]:
        """The async twin of `memories`."""
        async for summary in self.client.aio.list(page_size=self.page_size):
            yield SessionMemory.from_summary(summary, client=self.client)
