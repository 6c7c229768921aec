"""A third service, without a network: all that the engine and the agent ask of a backend."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import cast

from chat_sessions import AsyncChatSession, ChatSession, Event, SessionSummary, Timeouts
from chat_sessions.llama_index import SessionChatEngine
from chat_sessions.session import AsyncBackend, Backend
from chat_sessions.session.backend import TurnRequest
from chat_sessions.session.deadlines import EventClock

__all__ = ["engine_of", "told_client"]


class ToldConnection:
    """Tells a turn, event by event."""

    def __init__(self, events: Iterator[Event]) -> None:
        self._events = events

    def __next__(self) -> Event:
        return next(self._events)

    def ready_event(self) -> Event | None:
        return None

    def finish(self) -> None: ...

    def close(self) -> None: ...


class AsyncToldConnection:
    """The same for code that awaits."""

    def __init__(self, events: Iterator[Event]) -> None:
        self._events = events

    async def __anext__(self) -> Event:
        try:
            return next(self._events)
        except StopIteration:
            raise StopAsyncIteration from None

    def ready_event(self) -> Event | None:
        return None

    async def finish(self) -> None: ...

    async def close(self) -> None: ...


class Told:
    """What both sides of the service are."""

    service = "told"
    timeouts = Timeouts()
    index_ids = ("idx",)

    def __init__(self, events: Sequence[Event]) -> None:
        self._events = events

    def queue_key(self, session_id: str) -> tuple[str, ...]:
        return (str(id(self)), session_id)

    def check_turn(self, prompt: str, index_ids: Sequence[str] | None, *, has_images: bool = False) -> None: ...

    def _summary(self) -> SessionSummary:
        return SessionSummary(session_id="ses-1", last_updated_at=datetime.now(UTC), index_ids=list(self.index_ids))


class AsyncToldBackend(Told):
    """Answers every prompt with these events."""

    @property
    def transport(self) -> AsyncToldBackend:
        return self

    async def open_turn(self, request: TurnRequest, clock: EventClock) -> AsyncToldConnection:
        return AsyncToldConnection(iter(self._events))

    async def create(self, *, index_ids: Sequence[str] | None = None) -> SessionSummary:
        return self._summary()

    def session(self, session_id: str | None = None, *, index_ids: Sequence[str] | None = None) -> AsyncChatSession:
        return AsyncChatSession(cast("AsyncBackend", self), session_id, index_ids=index_ids)


class ToldBackend(Told):
    """Answers every prompt with these events."""

    def __init__(self, events: Sequence[Event]) -> None:
        super().__init__(events)
        self.aio = AsyncToldBackend(events)

    @property
    def transport(self) -> ToldBackend:
        return self

    def open_turn(self, request: TurnRequest, clock: EventClock) -> ToldConnection:
        return ToldConnection(iter(self._events))

    def read_back(self, session_id: str, *, timeout: float | None) -> Sequence[Event]:
        raise AssertionError("a turn that ends well is not looked up")

    def create(self, *, index_ids: Sequence[str] | None = None) -> SessionSummary:
        return self._summary()

    def session(self, session_id: str | None = None, *, index_ids: Sequence[str] | None = None) -> ChatSession:
        return ChatSession(cast("Backend", self), session_id, index_ids=index_ids)


def told_client(events: Sequence[Event]) -> Backend:
    """A client whose every turn is these events. It has what the adapter uses, and no more."""
    return cast("Backend", ToldBackend(events))


def engine_of(events: Sequence[Event]) -> SessionChatEngine:
    """An engine whose every turn is these events."""
    return SessionChatEngine(client=told_client(events))
