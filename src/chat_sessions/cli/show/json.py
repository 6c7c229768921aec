"""Turns and sessions as JSON for scripts. Fields are named as on the Python objects."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel

from chat_sessions.core.models import SessionSummary
from chat_sessions.core.turn import Turn, turn_fields

__all__ = ["dump", "summary_report", "turn_report"]


def dump(value: Any, *, indent: int | None = 2) -> str:
    """Write JSON in ASCII: no character in it can control a terminal, whatever a document contains."""
    return json.dumps(value, indent=indent, default=_model).replace("\x7f", "\\u007f")


def turn_report(turn: Turn, *, session_id: str | None, service: str) -> dict[str, Any]:
    """Report a turn and everything derived from it; `error` is None if it went well."""
    return {"session_id": session_id, "service": service, **turn_fields(turn)}


def summary_report(summary: SessionSummary) -> dict[str, Any]:
    """Report a session without its events."""
    return summary.model_dump(mode="json", by_alias=False, exclude={"events"})


def _model(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=False)
    raise TypeError(f"{type(value).__name__} has no JSON")
