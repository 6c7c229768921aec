"""The API's requests as values, and its answers as models or errors. No I/O.

Endpoints: `/api/v1/chat` and `/api/v1/beta/attachments` of the platform's OpenAPI document.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TypeVar, cast
from urllib.parse import quote

import httpx
from pydantic import BaseModel, JsonValue, ValidationError

from chat_sessions.core.errors import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    ProtocolError,
    RateLimitError,
    error_for_status,
)
from chat_sessions.core.models import ImageAttachment, SessionSummary, TitledSummary
from chat_sessions.session.transport import TurnRequest

__all__ = [
    "NOT_SENT",
    "Call",
    "attachment_call",
    "create_call",
    "delete_call",
    "is_event_stream",
    "is_route_gone",
    "list_call",
    "not_an_event_stream",
    "read_error",
    "read_model",
    "retrieve_call",
    "retry_delay",
    "summary_call",
    "title_call",
    "titled",
    "transport_error",
    "turn_call",
]

_QUOTE_LIMIT = 300
_LONGEST_RETRY_AFTER = 60.0

# Errors of httpx after which no byte of the request can have left.
NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)

_Model = TypeVar("_Model", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Call:
    """One request, without the service's address. `may_repeat`: sending it twice does no harm."""

    method: str
    path: str
    may_repeat: bool
    params: Mapping[str, str | int] = field(default_factory=dict[str, str | int])
    body: Mapping[str, JsonValue] | None = None

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def _session_path(session_id: str, rest: str = "") -> str:
    return f"/api/v1/chat/{quote(session_id, safe='')}{rest}"


def create_call(index_ids: Sequence[str] | None, shared_access: str | None) -> Call:
    """Create a session; indexes given here are locked once its first message has been sent."""
    body: dict[str, JsonValue] = {}
    if index_ids is not None:
        body["index_ids"] = list(index_ids)
    if shared_access is not None:
        body["shared_access"] = shared_access
    return Call("POST", "/api/v1/chat", may_repeat=False, body=body)


def list_call(page_size: int | None, page_token: str | None) -> Call:
    """One page of the project's sessions."""
    params: dict[str, str | int] = {}
    if page_size is not None:
        params["page_size"] = page_size
    if page_token is not None:
        params["page_token"] = page_token
    return Call("GET", "/api/v1/chat", may_repeat=True, params=params)


def retrieve_call(session_id: str) -> Call:
    """The session with its events."""
    return Call("GET", _session_path(session_id), may_repeat=True)


def summary_call(session_id: str) -> Call:
    """The session without its events."""
    return Call("GET", _session_path(session_id, "/summary"), may_repeat=True)


def title_call(session_id: str, first_message: str) -> Call:
    """Have a title made. Published in May 2026 for a week; later documents do not have it."""
    return Call("POST", _session_path(session_id, "/title"), may_repeat=True, body={"first_message": first_message})


def delete_call(session_id: str) -> Call:
    """Delete the session."""
    return Call("DELETE", _session_path(session_id), may_repeat=True)


def turn_call(request: TurnRequest) -> Call:
    """Run one turn. The path keeps the history, so a second post is a second turn."""
    body: dict[str, JsonValue] = {"index_ids": list(request.index_ids), "prompt": request.prompt}
    if request.require_all_indexes:
        # Sent only when asked for: servers older than the field would refuse or ignore it.
        body["require_all_indexes"] = True
    return Call("POST", _session_path(request.session_id, "/messages/stream"), may_repeat=False, body=body)


def attachment_call(attachment: ImageAttachment) -> Call:
    """A link to a page screenshot. Names hold slashes; they go as `%2F`, as the official SDK sends them."""
    path = f"/api/v1/beta/attachments/{quote(attachment.attachment_name, safe='')}"
    return Call("GET", path, may_repeat=True, params={"source_id": attachment.source_id})


def is_route_gone(error: APIStatusError) -> bool:
    """Whether the service may not have this route at all."""
    return error.status_code in (404, 405)


def titled(summary: SessionSummary, *, automatic: bool) -> TitledSummary:
    """The summary with the word on how its title was made."""
    return TitledSummary.model_validate(
        {**summary.model_dump(), "title_origin": "automatic" if automatic else "requested"}
    )


def read_model(call: Call, response: httpx.Response, model: type[_Model]) -> _Model:
    """The answer's body as this model. Raises `ProtocolError` if it is none."""
    try:
        return model.model_validate_json(response.content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ProtocolError(
            f"{call} answered with a body that is no {model.__name__} ({where or 'body'}: {first['msg']}): "
            + _quote(response.content)
        ) from error


def read_error(call: Call, status_code: int, headers: httpx.Headers, content: bytes) -> APIStatusError:
    """The error for an answer that is no success; `content` is its body, or the beginning of it."""
    try:
        body = cast("JsonValue", json.loads(content)) if content else None
    except ValueError:
        body = content[:_QUOTE_LIMIT].decode("utf-8", "replace")
    return error_for_status(
        status_code,
        body,
        request=str(call),
        request_id=headers.get("x-request-id"),
        retry_after=_retry_after(headers),
    )


def is_event_stream(headers: httpx.Headers) -> bool:
    """Whether an answer says that it is a stream of events."""
    return _content_type(headers) == "text/event-stream"


def not_an_event_stream(call: Call, headers: httpx.Headers, start: bytes) -> ProtocolError:
    """The error for a turn answered with something else; `start` is the beginning of it."""
    return ProtocolError(
        f"{call} answered with {_content_type(headers) or 'no content type'} instead of an event stream: is base_url "
        f"right, and no proxy's page in between? It begins {_quote(start)}"
    )


def _content_type(headers: httpx.Headers) -> str:
    return str(headers.get("content-type", "")).partition(";")[0].strip().lower()


def transport_error(call: Call, error: httpx.TransportError, base_url: str) -> APIConnectionError:
    """The error for a request that found no answer."""
    reason = str(error) or type(error).__name__
    if isinstance(error, httpx.TimeoutException):
        return APITimeoutError(f"{call}: {base_url} did not answer in time ({type(error).__name__})")
    return APIConnectionError(f"{call}: cannot reach {base_url} ({reason})")


def retry_delay(call: Call, error: Exception) -> bool | float:
    """Whether the call may be sent again after this error: no, yes, or in how many seconds.

    A call that changes the session is sent again only if it provably was not taken: no byte
    of it left, or the service refused it with a 429.
    """
    if isinstance(error, RateLimitError):
        if error.retry_after is None:
            return True
        return error.retry_after if error.retry_after <= _LONGEST_RETRY_AFTER else False
    if isinstance(error, APIStatusError):
        return call.may_repeat and (error.status_code >= 500 or error.status_code == 408)
    if isinstance(error, APIConnectionError):
        return call.may_repeat or isinstance(error.__cause__, NOT_SENT)
    return False


def _retry_after(headers: httpx.Headers) -> float | None:
    """Seconds to wait, from `retry-after-ms` or `Retry-After` (seconds or a date), or None."""
    for name, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) * scale
        except ValueError:
            continue
        return seconds if math.isfinite(seconds) and seconds >= 0 else None
    try:
        return max(0.0, parsedate_to_datetime(headers.get("retry-after", "")).timestamp() - time.time())
    except (ValueError, TypeError):
        return None


def _quote(data: bytes) -> str:
    text = data[: _QUOTE_LIMIT * 4].decode("utf-8", "replace")
    return repr(text if len(text) <= _QUOTE_LIMIT else text[:_QUOTE_LIMIT] + "…")
