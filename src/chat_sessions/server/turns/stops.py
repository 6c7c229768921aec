"""How a turn ends, as the store keeps it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chat_sessions.core.events import Event, Stop, parse_event_json
from chat_sessions.core.models import JobMetadata, Usage
from chat_sessions.server.store.records import StoredEvent
from chat_sessions.server.turns.segments import Segments

__all__ = ["closing", "error_stop", "job_metadata", "stored"]


def closing(events: Sequence[StoredEvent]) -> tuple[list[StoredEvent], dict[str, Any]]:
    """End a turn whose process has gone: its open segment as a whole, then an error stop.

    Returns these events, and the session's job metadata.
    """
    segments = Segments()
    for event in events:
        segments.add(parse_event_json(event.body))
    stop = error_stop("the server stopped while it was answering")
    return [stored(event) for event in (*segments.close(), stop)], job_metadata(stop)


def error_stop(error: str) -> Stop:
    """Make the stop of a turn that failed."""
    # An exception's text can hold halves of surrogate pairs, which UTF-8 cannot.
    return Stop(usage=Usage(), is_error=True, error=error.encode("utf-8", "replace").decode("utf-8"))


def stored(event: Event) -> StoredEvent:
    """Return the event as the store takes it."""
    return StoredEvent(event.type, event.model_dump_json())


def job_metadata(stop: Stop) -> dict[str, Any]:
    """Return the session's job metadata after a turn that ended with this stop."""
    usage = stop.usage.model_dump(mode="json")
    return JobMetadata.model_validate({**usage, "is_error": stop.is_error, "error": stop.error}).model_dump(mode="json")
