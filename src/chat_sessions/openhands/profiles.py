"""Agents that the server keeps: a profile is named by its id or by its name. No I/O."""

from __future__ import annotations

import uuid

from chat_sessions.core.errors import ProtocolError
from chat_sessions.http.calls import Call
from chat_sessions.openhands.events.json_values import JsonObject, as_object, as_text

__all__ = ["profile_id", "profile_name"]


def profile_name(body: JsonObject) -> str | None:
    """The name that stands in a create where an agent profile's id must; None for an id, and for no profile."""
    given = body.get("agent_profile_id")
    if not isinstance(given, str):
        return None
    try:
        uuid.UUID(given)
    except ValueError:
        return given
    return None


def profile_id(call: Call, answer: JsonObject) -> str:
    """The id of the profile that the server gave. Raises `ProtocolError` if it has none."""
    found = as_text(as_object(answer.get("profile")).get("id"))
    if not found:
        raise ProtocolError(f"{call} answered with an agent profile without an id")
    return found
