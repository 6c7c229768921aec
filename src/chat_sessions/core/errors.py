"""Everything this package raises.

```text
ChatSessionsError
├── ConfigurationError                 no key, bad base URL, extra not installed, input that cannot be sent
│   └── UnsupportedError               what a session on a service cannot do; also a NotImplementedError
├── APIError
│   ├── APIStatusError                 the service answered with an error status
│   │   ├── AuthenticationError        401
│   │   ├── PermissionDeniedError      403
│   │   ├── NotFoundError              404
│   │   ├── ConflictError              409
│   │   ├── UnprocessableEntityError   422
│   │   ├── RateLimitError             429, with retry_after
│   │   └── InternalServerError        5xx
│   └── APIConnectionError             nothing was sent, or a read that may be repeated
│       └── APITimeoutError
├── ProtocolError                      not an event stream, broken JSON, an event over the size cap
└── TurnError                          a turn that did not end well; the turn so far is on it
    ├── TurnFailed                     the service said so: stop.is_error
    ├── TurnInterrupted                it ended without stop, and the session shows an unfinished turn
    ├── TurnStalled                    no event within the deadline
    └── TurnOutcomeUnknown             the prompt may or may not have landed; not safe to send again
```
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from pydantic import JsonValue

if TYPE_CHECKING:
    from chat_sessions.core.turn import Turn

__all__ = [
    "APIConnectionError",
    "APIError",
    "APIStatusError",
    "APITimeoutError",
    "AuthenticationError",
    "ChatSessionsError",
    "ConfigurationError",
    "ConflictError",
    "InternalServerError",
    "NotFoundError",
    "PermissionDeniedError",
    "ProtocolError",
    "RateLimitError",
    "TurnError",
    "TurnFailed",
    "TurnInterrupted",
    "TurnOutcomeUnknown",
    "TurnStalled",
    "UnprocessableEntityError",
    "UnsupportedError",
    "error_for_status",
    "failed_turn",
    "failed_without_index",
]

_QUOTE_LIMIT = 500


class ChatSessionsError(Exception):
    """The base of the errors of services, connections and turns."""

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions are unpickled by calling their class with `args`, which lacks what is given by name.
        return _unpickled, (type(self), self.args), self.__dict__


def _unpickled(kind: type[ChatSessionsError], args: tuple[object, ...]) -> ChatSessionsError:
    return kind.__new__(kind, *args)


class ConfigurationError(ChatSessionsError, ValueError):
    """Something in your setup or input is missing or cannot work; raised before any request."""


class UnsupportedError(ConfigurationError, NotImplementedError):
    """A hosted session cannot do this; the message says what to do instead. Frameworks catch `NotImplementedError`."""


class APIError(ChatSessionsError):
    """A request to the service did not succeed."""


class APIStatusError(APIError):
    """The service answered with an error status.

    `status_code` is the HTTP status, `body` the parsed JSON body (or its text),
    `request_id` the service's id for the request, if it sent one.
    """

    def __init__(
        self,
        message: str,
        *,
        status_code: int,
        body: JsonValue = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.body = body
        self.request_id = request_id


class AuthenticationError(APIStatusError):
    """401: the key is missing, wrong or for another region."""


class PermissionDeniedError(APIStatusError):
    """403: the key is valid but may not do this."""


class NotFoundError(APIStatusError):
    """404: no such session, index or attachment in this project."""


class ConflictError(APIStatusError):
    """409: the session is busy, or the request conflicts with its state. `may_pass`: waiting may help."""

    may_pass: bool = True


class UnprocessableEntityError(APIStatusError):
    """422: the service refused the request's content; `body["detail"]` says why."""


class RateLimitError(APIStatusError):
    """429: refused for now. `retry_after` is the wait in seconds that the service asked for, or None."""

    def __init__(
        self,
        message: str,
        *,
        status_code: int,
        body: JsonValue = None,
        request_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, status_code=status_code, body=body, request_id=request_id)
        self.retry_after = retry_after


class InternalServerError(APIStatusError):
    """5xx: the service, or a proxy before it, failed. `may_pass`: the same request may succeed later."""

    may_pass: bool = True


class APIConnectionError(APIError):
    """The service could not be reached. If this was a turn, nothing was sent; a read is safe to repeat.

    `was_sent` is False if no byte of the request left this machine. If it is True, the request may have arrived.
    """

    def __init__(self, message: str, *, was_sent: bool = False) -> None:
        super().__init__(message)
        self.was_sent = was_sent


class APITimeoutError(APIConnectionError):
    """The service did not answer within the deadline.

    Raised for requests other than turns, and for a turn of which no byte was sent; for other turns see `TurnError`.
    """


class ProtocolError(ChatSessionsError, RuntimeError):
    """The service sent something that its API does not allow. The message quotes the beginning.

    The prompt may have landed. This is a `RuntimeError` because frameworks retry errors of types that they don't know,
    but not this one. `turn` is the turn so far; None outside of a turn.
    """

    turn: Turn | None = None


class TurnError(ChatSessionsError, RuntimeError):
    """A turn that did not end well.

    `turn` is the turn so far, with its text, tool runs and sources; `session_id` says where it ran. A `RuntimeError`,
    for the same reason as `ProtocolError`.
    """

    def __init__(self, message: str, *, turn: Turn, session_id: str) -> None:
        super().__init__(message)
        self.turn = turn
        self.session_id = session_id


class TurnFailed(TurnError):
    """The turn ended, and the service said that it failed (`stop.is_error`)."""


class TurnInterrupted(TurnError):
    """The stream ended without a stop, and the session shows the prompt with an unfinished answer."""


class TurnStalled(TurnError):
    """No event came within the deadline, and the session did not show the end of the turn either."""


class TurnOutcomeUnknown(TurnError):
    """The prompt may or may not have landed: look at the session before sending it again."""


_STATUS_ERRORS: dict[int, tuple[type[APIStatusError], str]] = {
    401: (AuthenticationError, "the API key was refused; check the key and the region it belongs to"),
    403: (PermissionDeniedError, "this key may not do that; check the project and the plan"),
    404: (NotFoundError, "not found; check the id and the base URL, and the project where there is one"),
    409: (ConflictError, "the session is busy or in another state; wait for its turn to end"),
    422: (UnprocessableEntityError, "the request was refused"),
    429: (RateLimitError, "too many requests; wait and try again"),
}

_FAILED = "the service failed; try again later, but send a prompt again only if its session does not show it"


_NO_INDEX = "check the ids and their project; this session keeps its indexes, so start a new one with others"


def _detail(body: JsonValue) -> str | None:
    """Return the readable part of a FastAPI-style error body, or None."""
    detail = body.get("detail") if isinstance(body, dict) else body
    if isinstance(detail, list):
        parts: list[str] = []
        for item in detail:
            if isinstance(item, dict):
                loc = item.get("loc")
                where = ".".join(str(part) for part in loc) if isinstance(loc, list) else ""
                message = str(item.get("msg", item))
                parts.append(f"{where}: {message}" if where else message)
            else:
                parts.append(str(item))
        detail = "; ".join(parts)
    if detail is None:
        return json.dumps(body) if body else None
    return (detail if isinstance(detail, str) else json.dumps(detail)).strip() or None


def error_for_status(
    status_code: int,
    body: JsonValue,
    *,
    request: str,
    request_id: str | None = None,
    retry_after: float | None = None,
    hint: str | None = None,
) -> APIStatusError:
    """Return the error for a status that is not a success.

    `request` is the method and path, for the message; it must hold no credentials. `hint` replaces
    the usual advice for the status.
    """
    error_type, usual_hint = _STATUS_ERRORS.get(status_code, (APIStatusError, "the request was refused"))
    if status_code >= 500:
        error_type, usual_hint = InternalServerError, _FAILED
    elif status_code < 400 and status_code != 304:
        usual_hint = "redirects are not followed; set base_url to the final address"
    hint = hint or usual_hint
    detail = _detail(body)
    if detail is not None and len(detail) > _QUOTE_LIMIT:
        detail = detail[:_QUOTE_LIMIT] + "…"
    message = f"{request} answered {status_code}: {hint}" + (f" ({detail})" if detail else "")
    if error_type is RateLimitError:
        return RateLimitError(
            message, status_code=status_code, body=body, request_id=request_id, retry_after=retry_after
        )
    return error_type(message, status_code=status_code, body=body, request_id=request_id)


def failed_without_index(turn: Turn) -> bool:
    """Whether a failed turn never began, because its indexes could not be queried."""
    return bool(turn.skipped_index_ids) and not turn.text and not turn.tool_runs


def failed_turn(turn: Turn, session_id: str) -> TurnFailed:
    """Return the error for a turn whose stop says that it failed.

    A turn that began without its indexes would fail again in the same session, so the message says what to do.
    """
    remedy = f" ({_NO_INDEX})" if failed_without_index(turn) else ""
    return TurnFailed(
        f"the turn failed in session {session_id}: {turn.error}{remedy}", turn=turn, session_id=session_id
    )
