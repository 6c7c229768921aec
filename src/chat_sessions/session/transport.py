"""How a turn is sent and read: what `TurnStream` needs of a service, and what its streams may raise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from chat_sessions.core.errors import ProtocolError
from chat_sessions.core.events import Event
from chat_sessions.session.deadlines import EventClock

__all__ = [
    "AsyncEventConnection",
    "AsyncTurnTransport",
    "ConnectionLost",
    "DeadlinePassed",
    "EventConnection",
    "EventUnreadable",
    "TurnRequest",
    "TurnTransport",
]


@dataclass(frozen=True, slots=True)
class TurnRequest:
    """One turn as it is sent: checked, complete, and the same each time it is looked at."""

    session_id: str
    prompt: str
    index_ids: tuple[str, ...]
    require_all_indexes: bool = False


class ConnectionLost(Exception):
    """The stream broke, or could not be opened after bytes of the request may have left."""


class DeadlinePassed(Exception):
    """No event came in time."""


class EventUnreadable(Exception):
    """An event came that cannot be read, so what follows it is not known to be the answer. `error` says what it was."""

    def __init__(self, error: ProtocolError) -> None:
        super().__init__(str(error))
        self.error = error


class EventConnection(Protocol):
    """The live events of one turn. Ends when the service closes the stream.

    `__next__` may raise `ConnectionLost`, `DeadlinePassed` or `EventUnreadable`, after which the turn is
    looked up in its session, or `ProtocolError`, which ends it; `close` is idempotent and closes the
    socket at once.
    """

    def __next__(self) -> Event: ...
    def finish(self) -> None:
        """The stop has come: let the connection be used again if the stream ends at once."""
        ...

    def close(self) -> None: ...


class AsyncEventConnection(Protocol):
    """The async twin of `EventConnection`."""

    async def __anext__(self) -> Event: ...
    async def finish(self) -> None: ...
    async def close(self) -> None: ...


class TurnTransport(Protocol):
    """How a turn is sent, and how its session is read back when the stream broke."""

    def open_turn(self, request: TurnRequest, clock: EventClock) -> EventConnection:
        """Post the turn, once.

        Raises `APIStatusError` for an error status, `APIConnectionError` if no byte left,
        `ConnectionLost` or `DeadlinePassed` if some may have.
        """
        ...

    def read_back(self, session_id: str, *, timeout: float | None) -> Sequence[Event]:
        """The session's history, one attempt within `timeout` seconds. Raises `APIError`."""
        ...


class AsyncTurnTransport(Protocol):
    """The async twin of `TurnTransport`."""

    async def open_turn(self, request: TurnRequest, clock: EventClock) -> AsyncEventConnection: ...
    async def read_back(self, session_id: str, *, timeout: float | None) -> Sequence[Event]: ...
