"""An agent that stops for permission to act: its request, and the answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from pydantic import JsonValue

from chat_sessions.core.events import ToolCall, UnknownEvent
from chat_sessions.openhands.events.json_values import JsonObject, as_text
from chat_sessions.openhands.events.mapping import events_of

__all__ = [
    "ConfirmAction",
    "ConfirmationRequest",
    "OnConfirmation",
    "request_event",
    "request_of",
    "waits_for_confirmation",
]


@dataclass(frozen=True)
class ConfirmAction:
    """One action that waits. `risk` is the server's own estimate, e.g. "LOW" or "UNKNOWN"."""

    call_id: str
    name: str
    arguments: Mapping[str, JsonValue]
    summary: str = ""
    risk: str = ""


@dataclass(frozen=True)
class ConfirmationRequest:
    """The actions that the agent of a session wants to take; they are allowed or refused together."""

    session_id: str
    actions: tuple[ConfirmAction, ...]


# True allows the actions, False refuses them, a string refuses them with this reason for the agent.
OnConfirmation: TypeAlias = Callable[[ConfirmationRequest], bool | str | Awaitable[bool | str]]


def request_of(session_id: str, actions: tuple[JsonObject, ...]) -> ConfirmationRequest:
    """Return the request for these actions, which have no result yet."""
    return ConfirmationRequest(
        session_id,
        tuple(
            ConfirmAction(
                event.call_id,
                event.name,
                event.arguments,
                as_text(action.get("summary")),
                as_text(action.get("security_risk")),
            )
            for action in actions
            for event in events_of(action)
            if isinstance(event, ToolCall)
        ),
    )


def request_event(request: ConfirmationRequest) -> UnknownEvent:
    """Return the request as an event of the turn, of the type "confirmation_request"."""
    actions: list[JsonValue] = [
        {
            "call_id": action.call_id,
            "name": action.name,
            "arguments": dict(action.arguments),
            "summary": action.summary,
            "risk": action.risk,
        }
        for action in request.actions
    ]
    return UnknownEvent(raw={"type": "confirmation_request", "actions": actions})


def waits_for_confirmation(info: JsonObject) -> bool:
    """Whether the conversation has stopped for permission to take its next actions."""
    return info.get("execution_status") == "waiting_for_confirmation"
