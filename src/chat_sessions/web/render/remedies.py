"""What to do about an error, in a sentence."""

from __future__ import annotations

from chat_sessions.core.errors import (
    APIConnectionError,
    AuthenticationError,
    ConfigurationError,
    ConflictError,
    InternalServerError,
    NotFoundError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitError,
    TurnFailed,
    TurnInterrupted,
    TurnOutcomeUnknown,
    TurnStalled,
    UnprocessableEntityError,
    failed_without_index,
)
from chat_sessions.core.turn import Turn

__all__ = ["remedy_for", "remedy_for_failed", "status_for"]

_FAILED = "The service reported this failure. Send the message again, or ask in another way."
_NO_INDEX = "Check the ids of its indexes and their project. This session keeps them: start a new one with others."
_REMEDIES: tuple[tuple[type[Exception], str], ...] = (
    (TurnOutcomeUnknown, "The service may hold your message. Reload the session before you send it again."),
    (TurnInterrupted, "What arrived is shown. Reload the session in a while: it says what became of the rest."),
    (TurnStalled, "The service may still be working. Reload the session in a while."),
    (AuthenticationError, "Start `chat-sessions ui` again with a valid key."),
    (PermissionDeniedError, "Use a key that may do this, or ask whoever manages the project."),
    (NotFoundError, "It may have been deleted. Go back to the list of sessions."),
    (ConflictError, "Nothing was sent. Send again when the turn before it has ended."),
    (RateLimitError, "Nothing was sent. Wait a little, then send again."),
    (UnprocessableEntityError, "Nothing was sent. Change the message or the indexes."),
    (InternalServerError, "The service failed. Try again in a while."),
    (APIConnectionError, "Nothing was sent. Check that the service is running and reachable, then send again."),
    (ProtocolError, "The service sent something that is not in its API. Reload the session to see what it holds."),
    (ConfigurationError, "Nothing was sent. Change what the message above names."),
)
_STATUSES: tuple[tuple[type[Exception], int], ...] = (
    (NotFoundError, 404),
    (ConflictError, 409),
    (UnprocessableEntityError, 422),
    (ConfigurationError, 400),
    (RateLimitError, 503),
)


def remedy_for(error: BaseException, *, was_reading: bool = False) -> str:
    """Say what to do about an error; `was_reading` if nothing was to be sent."""
    if isinstance(error, TurnFailed):
        return remedy_for_failed(error.turn)
    if was_reading and isinstance(error, APIConnectionError):
        return "Check that the service is running and reachable, then reload the page."
    if was_reading and isinstance(error, RateLimitError):
        return "Wait a little, then reload the page."
    return next((remedy for kind, remedy in _REMEDIES if isinstance(error, kind)), "Try again.")


def remedy_for_failed(turn: Turn) -> str:
    """Say what to do about a turn that the service failed."""
    return _NO_INDEX if failed_without_index(turn) else _FAILED


def status_for(error: BaseException) -> int:
    """Choose the HTTP status of a page that shows this error: 502 if the service is at fault."""
    return next((status for kind, status in _STATUSES if isinstance(error, kind)), 502)
