"""Requests as values, and answers as models or errors: what HTTP is to every backend. No I/O."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TypeVar, cast
from urllib.parse import quote

import httpx
from pydantic import BaseModel, JsonValue, SecretStr, ValidationError

from chat_sessions.core.errors import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    ConfigurationError,
    InternalServerError,
    ProtocolError,
    RateLimitError,
    error_for_status,
)
from chat_sessions.core.events import Event, Session, Stop, load_json, load_session
from chat_sessions.http.connection.exchange import Exchange
from chat_sessions.http.secrets import text_without_secrets, without_secrets
from chat_sessions.session.backend import ConnectionLost, DeadlinePassed
from chat_sessions.session.deadlines import EventClock

__all__ = [
    "Call",
    "check_page_size",
    "frameless",
    "is_event_stream",
    "lost",
    "not_an_event_stream",
    "path_segment",
    "quoted",
    "read_error",
    "read_model",
    "reason",
    "retry_delay",
    "told",
    "transport_error",
]

_QUOTE_LIMIT = 300
_LONGEST_RETRY_AFTER = 60.0

_Model = TypeVar("_Model", bound=BaseModel)
_Error = TypeVar("_Error", bound=BaseException)


@dataclass(frozen=True, slots=True)
class Call:
    """One request, without the service's address. `may_repeat`: sending it twice does no harm.

    The body may hold a key, such as that of an agent's model: it is in no `repr`.
    """

    method: str
    path: str
    may_repeat: bool
    params: Mapping[str, str | int] = field(default_factory=dict[str, str | int])
    body: Mapping[str, JsonValue] | None = field(default=None, repr=False)
    # Instead of a body: a file to upload as a form, its name and its content.
    file: tuple[str, bytes] | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def check_page_size(page_size: int | None) -> None:
    """Raise `ConfigurationError` unless this is None or a whole number of at least 1."""
    is_whole = isinstance(page_size, int) and not isinstance(page_size, bool)  # pyright: ignore[reportUnnecessaryIsInstance]
    if page_size is not None and not (is_whole and page_size >= 1):
        raise ConfigurationError(f"page_size must be 1 or more; got {page_size!r}")


def path_segment(value: object, what: str) -> str:
    """Return an id as one segment of a path. Raises `ConfigurationError` for what cannot be one."""
    if not isinstance(value, str):
        raise ConfigurationError(f"the {what} must be a string; got {value!r}")
    if not value or value in (".", "..") or not value.isprintable():
        raise ConfigurationError(f"{value!r} cannot be used as the {what}")
    # Lone surrogates are not printable.
    return quote(value, safe="")


def read_model(call: Call, content: bytes, model: type[_Model], *, secrets: Sequence[SecretStr] = ()) -> _Model:
    """Return the answer's body as this model. Raises `ProtocolError` if it does not fit.

    `secrets` are not repeated in the error, even if the body holds one.
    """
    try:
        return model.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_input=False, include_context=False)[0]
    try:
        # A second reader, slower and more tolerant: the one that live events have.
        return model.model_validate(load_session(content) if issubclass(model, Session) else load_json(content))
    except (ValueError, RecursionError):
        pass
    where = ".".join(str(part) for part in first["loc"])
    # No cause: the validation's own error repeats its input.
    raise ProtocolError(
        f"{call} answered with a body that is not a {model.__name__} ({where or 'body'}: {first['msg']}): "
        + quoted(content, secrets)
    )


def read_error(
    call: Call,
    status_code: int,
    headers: httpx.Headers,
    content: bytes,
    *,
    secrets: Sequence[SecretStr] = (),
    hint: str | None = None,
) -> APIStatusError:
    """Return the error for an answer that is not a success; `content` is its body, or the beginning of it.

    `secrets` are not repeated in the error: some services and proxies send the request's headers back. `hint`:
    see `error_for_status`.
    """
    content = without_secrets(content, secrets)
    try:
        body = cast("JsonValue", load_json(content)) if content else None
    except ValueError:
        body = content[:_QUOTE_LIMIT].decode("utf-8", "replace")
    request_id: str | None = headers.get("x-request-id")
    return error_for_status(
        status_code,
        body,
        request=str(call),
        request_id=None if request_id is None else text_without_secrets(request_id, secrets),
        retry_after=_retry_after(headers),
        hint=hint,
    )


def transport_error(
    call: Call, error: httpx.RequestError, exchange: Exchange, base_url: str, *, proxy: str | None = None
) -> APIConnectionError:
    """Return the error for a request without an answer that can be read; raise it from `error`.

    `proxy` names the one that our connections go through. Takes the traceback from `error`: see `frameless`.
    """
    frameless(error, exchange.secrets())
    name, was_sent = type(error).__name__, not exchange.was_not_sent(error)
    if isinstance(error, httpx.PoolTimeout):
        return APITimeoutError(
            f"{call}: no connection of the http_client's pool became free in time ({name}); its "
            "httpx.Limits(max_connections=...) limits how many turns and requests it runs at once"
        )
    if isinstance(error, httpx.TimeoutException):
        silent = base_url if proxy is None or exchange.is_connected else f"{proxy} on the way to {base_url}"
        return APITimeoutError(f"{call}: {silent} did not answer in time ({name})", was_sent=was_sent)
    if isinstance(error, httpx.DecodingError):
        said = f"the answer from {base_url} does not match its Content-Encoding ({error})"
    elif isinstance(error, httpx.LocalProtocolError):
        return UnsendableRequest(f"{call}: the request to {base_url} breaks the rules of HTTP ({name})")
    elif isinstance(error, httpx.ProxyError):
        said = f"{proxy or 'the proxy'} on the way to {base_url} refused to connect ({reason(error)})"
    elif isinstance(error, httpx.ConnectError) and proxy is not None and not exchange.is_connected:
        said = f"cannot reach {proxy} on the way to {base_url} ({reason(error)}): nothing was sent; check its address"
    else:
        said = f"cannot reach {base_url} ({reason(error)})"
        if not was_sent:
            said += ": nothing was sent; check base_url and the network"
    return APIConnectionError(f"{call}: {said}", was_sent=was_sent)


class UnsendableRequest(APIConnectionError):
    """A request that no connection can carry: it is not tried again."""


def lost(
    error: httpx.RequestError | httpx.StreamError, clock: EventClock, exchange: Exchange
) -> ConnectionLost | DeadlinePassed:
    """Return the signal for an httpx error after bytes of a turn may have left; raise it from `error`.

    Takes the traceback from `error`: see `frameless`.
    """
    frameless(error, exchange.secrets())
    if isinstance(error, httpx.TimeoutException):
        return DeadlinePassed(clock.describe())
    return ConnectionLost(f"the connection broke ({reason(error)})")


def frameless(error: _Error, secrets: Sequence[SecretStr] = ()) -> _Error:
    """Remove the tracebacks, the requests and the secrets from an error and its causes; return the error.

    The first two hold the request as it was written, key included. The messages say what went wrong, and may quote
    bytes that are not HTTP; the error raised from this one has its own traceback.
    """
    one: BaseException | None = error
    while one is not None:
        one.__traceback__ = None
        one.args = tuple(text_without_secrets(arg, secrets) if isinstance(arg, str) else arg for arg in one.args)
        if isinstance(one, httpx.RequestError):
            with suppress(RuntimeError):  # it has none
                one.request = httpx.Request(one.request.method, one.request.url)
        one = one.__cause__ or one.__context__
    return error


def told(event: Event, secrets: Sequence[SecretStr]) -> Event:
    """Return the event; a stop without the secrets in its error, which becomes the message of a `TurnFailed`."""
    if not isinstance(event, Stop) or event.error is None:
        return event
    return event.model_copy(update={"error": text_without_secrets(event.error, secrets)})


def reason(error: Exception) -> str:
    """Return the message of an httpx error, or its name if the message may quote a header."""
    return type(error).__name__ if isinstance(error, httpx.LocalProtocolError) else str(error) or type(error).__name__


def retry_delay(call: Call, error: Exception) -> bool | float:
    """Return whether the call may be sent again after this error: no, yes, or in how many seconds.

    A call that changes the session is sent again only if it provably was not taken: no byte
    of it left, or the service refused it with a 429.
    """
    if isinstance(error, RateLimitError):
        if not error.retry_after:
            # 0 counts as no wait given: retrying at once would send a busy service three posts in a row.
            return True
        return error.retry_after if error.retry_after <= _LONGEST_RETRY_AFTER else False
    if isinstance(error, APIStatusError):
        is_failure = isinstance(error, InternalServerError) and error.may_pass
        return call.may_repeat and (is_failure or error.status_code == 408)
    if isinstance(error, APIConnectionError) and not isinstance(error, UnsendableRequest):
        return call.may_repeat or not error.was_sent
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
    except (ValueError, TypeError, OverflowError):
        return None


def quoted(data: bytes, secrets: Sequence[SecretStr] = ()) -> str:
    """Return the beginning of a body for an error, without the secrets in it."""
    text = without_secrets(data, secrets)[: _QUOTE_LIMIT * 4].decode("utf-8", "replace")
    return repr(text if len(text) <= _QUOTE_LIMIT else text[:_QUOTE_LIMIT] + "…")


def is_event_stream(headers: httpx.Headers) -> bool:
    """Whether an answer says that it is a stream of events."""
    return _content_type(headers) == "text/event-stream"


def not_an_event_stream(
    call: Call, headers: httpx.Headers, start: bytes, secrets: Sequence[SecretStr] = ()
) -> ProtocolError:
    """Return the error for a turn whose answer is not an event stream; `start` is the beginning of its body."""
    return ProtocolError(
        f"{call} answered with {_content_type(headers) or 'no content type'} instead of an event stream: check "
        f"base_url, and whether a proxy answered with a page of its own. It begins {quoted(start, secrets)}. The "
        "prompt may have arrived: read the session before sending it again"
    )


def _content_type(headers: httpx.Headers) -> str:
    # A header that comes twice is one with a comma.
    return str(headers.get("content-type", "")).partition(",")[0].partition(";")[0].strip().lower()
