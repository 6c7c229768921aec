"""A third service, without a network: all that the engine asks of a backend."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import cast

from chat_sessions import ChatSession, Event, SessionSummary, Timeouts
from chat_sessions.llama_index import SessionChatEngine
from chat_sessions.session import Backend
from chat_sessions.session.backend import TurnRequest
from chat_sessions.session.deadlines import EventClock

__all__ = ["engine_of"]


class ToldConnection:
    """Tells a turn, event by event."""

    def __init__(self, events: Iterator[Event]) -> None:
        self._events = events

    def __next__(self) -> Event:
        return next(self._events)

    def finish(self) -> None: ...

    def close(self) -> None: ...


class ToldBackend:
    """Answers every prompt with these events."""

    service = "told"
    timeouts = Timeouts()
    index_ids = ("idx",)

    def __init__(self, events: Sequence[Event]) -> None:
        self._events = events
        self.aio = None

    @property
    def transport(self) -> ToldBackend:
        return self

    def open_turn(self, request: TurnRequest, clock: EventClock) -> ToldConnection:
        return ToldConnection(iter(self._events))

    def read_back(self, session_id: str, *, timeout: float | None) -> Sequence[Event]:
        raise AssertionError("a turn that ends well is not looked up")

    def queue_key(self, session_id: str) -> tuple[str, ...]:
        return (str(id(self)), session_id)

    def check_turn(self, prompt: str, index_ids: Sequence[str] | None) -> None: ...

    def create(self, *, index_ids: Sequence[str] | None = None) -> SessionSummary:
        return SessionSummary(session_id="ses-1", last_updated_at=datetime.now(UTC), index_ids=list(self.index_ids))

    def session(self, session_id: str | None = None, *, index_ids: Sequence[str] | None = None) -> ChatSession:
        return ChatSession(cast("Backend", self), session_id, index_ids=index_ids)


def engine_of(events: Sequence[Event]) -> SessionChatEngine:
    """An engine whose every turn is these events."""
    # It has what an engine's sync methods use, and no more.
    return SessionChatEngine(client=cast("Backend", ToldBackend(events)))
