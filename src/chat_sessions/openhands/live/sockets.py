"""The server's websockets: their addresses, the key's frame, and what closing them means. No I/O."""

from __future__ import annotations

import json
import logging
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Literal, TypeAlias
from urllib.parse import quote

import httpx
from pydantic import JsonValue, SecretStr
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, WebSocketException

from chat_sessions.core.errors import APIConnectionError, APIError, APITimeoutError, ProtocolError, error_for_status
from chat_sessions.http.calls import frameless, path_segment
from chat_sessions.http.secrets import text_without_secrets
from chat_sessions.openhands.events.json_values import JsonObject
from chat_sessions.openhands.live.turn import LiveTurn
from chat_sessions.openhands.settings import Settings
from chat_sessions.openhands.wire import HINTS

__all__ = [
    "CANNOT_OPEN",
    "CLOSE_TIMEOUT",
    "LOGGER",
    "READ_OFF",
    "SocketKind",
    "address",
    "check_host",
    "closing_error",
    "decode",
    "handshake",
    "is_frame_too_large",
    "key_frame",
    "opening_error",
    "too_large",
    "was_not_opened",
]

SocketKind: TypeAlias = Literal["session", "events"]

# Frames, the key's among them, are what websockets logs at DEBUG.
LOGGER = logging.getLogger("chat_sessions.openhands.socket")
LOGGER.setLevel(logging.INFO)
# The errors of a socket that could not be opened.
CANNOT_OPEN = (OSError, WebSocketException, EOFError)
# How long the server may take to say goodbye, in seconds, before the socket is closed without it.
CLOSE_TIMEOUT = 0.5
# An event over the limit, up to this many times as large, is read and discarded: disconnecting midway keeps 1.18.1 busy
# for a minute, because it logs the whole event.
READ_OFF = 4
_QUOTE_LIMIT = 300
_NO_SOCKET = "not a websocket; is base_url an OpenHands Agent Server, and do proxies on the way pass websockets?"
_UNAUTHORIZED, _NOT_FOUND, _TOO_BIG, _TRY_AGAIN = 4001, 4004, 1009, 1013
_CLOSED_HINTS = {401: HINTS[401], 404: "the server has no such conversation; check the id"}


def address(settings: Settings, session_id: str, kind: SocketKind, turn: LiveTurn | None = None) -> str:
    """Return the address of a conversation's socket; with a turn, from the last event that it received."""
    url = f"{settings.socket_url}/sockets/{kind}/{path_segment(session_id, 'session id')}"
    if turn is None:
        return url
    if kind == "session":
        return f"{url}?after_seq={-1 if turn.last_seq is None else turn.last_seq}"
    # The times are the server's own, without a zone, and go back as they came.
    return f"{url}?resend_mode=since&after_timestamp={quote(turn.last_time or '', safe='')}"


def key_frame(settings: Settings) -> str | None:
    """Return the first frame to send, which holds the key, so that no address or header does; None without a key."""
    if settings.api_key is None:
        return None
    return json.dumps({"type": "auth", "session_api_key": settings.api_key.get_secret_value()})


def check_host(settings: Settings, host: str | None) -> None:
    """Raise `ProtocolError` if the handshake was redirected to another host: the key is not for it."""
    expected = httpx.URL(settings.route.base_url).netloc.decode()
    if host is not None and host.lower() != expected.lower():
        raise ProtocolError(f"the websocket was redirected to {host}; set base_url to the final address")


def decode(data: str | bytes, secrets: Sequence[SecretStr] = ()) -> JsonObject:
    """Return the object in a frame. Raises `ProtocolError` for anything else, without the `secrets`."""
    text = data if isinstance(data, str) else data.decode("utf-8", "replace")
    try:
        frame: JsonValue = json.loads(text)
    except ValueError:
        problem = "is not JSON"
    else:
        if isinstance(frame, dict):
            return frame
        problem = "is not a JSON object"
    # No cause: it holds the whole frame.
    raise ProtocolError(
        f"the server sent a frame that {problem}: {text_without_secrets(text, secrets)[:_QUOTE_LIMIT]!r}"
    )


@contextmanager
def handshake() -> Generator[None]:
    """Raise one of `CANNOT_OPEN` for a redirect to an invalid address."""
    try:
        yield
    except ValueError as error:
        raise InvalidHandshake(f"the server redirects to an invalid address: {error}") from None


def opening_error(error: Exception, url: str, *, is_beside_client: bool = False) -> APIError:
    """Return the error for a socket that could not be opened; raise it from `error`. Nothing of the turn was sent.

    `is_beside_client` says that requests take an injected HTTP client, whose certificates and proxy no websocket has.
    Takes the traceback from `error`: its frames may hold the frame with the key.
    """
    frameless(error)
    where = url.partition("?")[0]
    if isinstance(error, InvalidStatus):
        status = error.response.status_code
        # The server refuses an address that it does not know with a 403.
        hint = HINTS.get(404 if status == 403 else status, _NO_SOCKET if status < 300 else None)
        return error_for_status(status, None, request=f"WEBSOCKET {where}", hint=hint)
    if isinstance(error, TimeoutError):
        return APITimeoutError(f"WEBSOCKET {where}: the server did not answer in time")
    problem = f"WEBSOCKET {where}: cannot be opened ({str(error) or type(error).__name__}); "
    if is_beside_client:
        return APIConnectionError(
            f"{problem}it has the headers of http_client, but not its certificates or proxy: give the client verify= "
            "and proxy= as well, if it takes them to reach the server"
        )
    return APIConnectionError(f"{problem}does an OpenHands Agent Server run at base_url?")


def was_not_opened(error: Exception) -> bool:
    """Return whether a websocket could not be opened for a reason that may pass."""
    return isinstance(error, APIConnectionError)


def is_frame_too_large(error: ConnectionClosed) -> bool:
    """Return whether the server has closed the session socket over an event that is too large for it: over 4 MiB.

    It would do so again at the same place; the other socket has no such limit.
    """
    return error.rcvd is not None and error.rcvd.code == _TRY_AGAIN and "frame_too_large" in error.rcvd.reason


def too_large(max_event_bytes: int) -> ProtocolError:
    """Return the error for an event over the limit."""
    return ProtocolError(
        f"the server sent an event of more than {max_event_bytes:,} bytes; max_event_bytes= allows larger ones"
    )


def closing_error(error: ConnectionClosed, session_id: str, max_event_bytes: int) -> APIError | ProtocolError | None:
    """Return the error that closing a socket means; None if the connection only broke."""
    if error.sent is not None and error.sent.code == _TOO_BIG and error.rcvd_then_sent is not True:
        return too_large(max_event_bytes)
    code = None if error.rcvd is None else error.rcvd.code
    status = {_UNAUTHORIZED: 401, _NOT_FOUND: 404}.get(code or 0)
    if status is None:
        return None
    return error_for_status(status, None, request=f"WEBSOCKET of conversation {session_id}", hint=_CLOSED_HINTS[status])
