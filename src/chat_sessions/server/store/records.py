"""The values that the store reads and writes, and its refusals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

__all__ = [
    "Closing",
    "RunningRecord",
    "SessionRecord",
    "SourcesLocked",
    "StoredEvent",
    "TurnLost",
    "TurnRunning",
    "UnknownSession",
    "now",
]


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """A session as stored. `number` counts up with creation; `last_updated_at` is ISO 8601 in UTC without a zone."""

    number: int
    session_id: str
    last_updated_at: str
    generated_title: str | None
    index_ids: list[str] | None
    job_metadata: dict[str, Any] | None
    shared_access: str | None


def now() -> str:
    """Return the current time in the form of `last_updated_at`."""
    return datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event as stored: its type, and its whole body as a line of JSON."""

    type: str
    body: str


@dataclass(frozen=True, slots=True)
class RunningRecord:
    """A turn without an end.

    `is_own`: this process began it. `is_orphan`: the process that began it shows no sign of life. On
    SQLite, where other processes cannot be seen, no turn is an orphan.
    """

    session_id: str
    turn_id: int
    is_own: bool
    is_orphan: bool


Closing = Callable[[Sequence[StoredEvent]], tuple[Sequence[StoredEvent], dict[str, Any]]]
"""Takes the events of a turn. Returns those that end it, and the job metadata of its end."""


class UnknownSession(Exception):
    """There is no session with this id."""

    def __init__(self, session_id: str) -> None:
        super().__init__(f"session {session_id} not found")


class SourcesLocked(Exception):
    """The session has messages, and they went to other indexes: `index_ids`."""

    def __init__(self, index_ids: list[str]) -> None:
        super().__init__(index_ids)
        self.index_ids = index_ids


class TurnRunning(Exception):
    """The session has a running turn."""


class TurnLost(Exception):
    """The turn accepts no more events: it was deleted, or ended by another process. The message says which."""
