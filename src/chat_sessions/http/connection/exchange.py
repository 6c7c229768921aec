"""One request and its answer: how long each read may take, whether anything was sent, and how to stop it.

A context variable names the exchange in force, because a connection passes from one request to the next, which may run
in another thread or task before the first one notices.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from contextvars import ContextVar
from socket import SHUT_RDWR, socket
from typing import Protocol, TypeAlias

import httpx
from pydantic import SecretStr

from chat_sessions.http.secrets import text_without_secrets
from chat_sessions.session.waiting import in_context

__all__ = ["SHORTEST_READ", "Exchange", "Remaining", "current_exchange", "remaining"]

# A socket timeout of 0 means non-blocking; a deadline that has passed must still be a timeout.
SHORTEST_READ = 0.001
_NEVER_SENT = (httpx.PoolTimeout, httpx.UnsupportedProtocol)
_NOT_CONNECTED = (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError)

Remaining: TypeAlias = Callable[[], float | None]
"""Seconds left, never below 0, or None for no deadline."""


def remaining(seconds: float | None) -> Remaining:
    """Return a deadline that many seconds from now, as a function of what is left of it."""
    if seconds is None:
        return lambda: None
    end = time.monotonic() + seconds
    return lambda: max(0.0, end - time.monotonic())


class Closable(Protocol):
    """A connection as an exchange knows it."""

    def close(self) -> None:
        """Close it at once."""
        ...


class Exchange:
    """A request on its way. `answer` is what is left for its answer, `connect` the seconds that connecting may take.

    `is_own` says that one of our connections carries it, which knows whether a byte of it has left. `secrets` returns
    what must not be logged of it.
    """

    def __init__(
        self,
        method: str,
        *,
        answer: Remaining,
        connect: float | None,
        is_own: bool,
        secrets: Callable[[], Sequence[SecretStr]] = tuple,
    ) -> None:
        self.secrets = secrets
        self._first_line = method.encode() + b" "
        self._answer = answer
        self._connect = remaining(connect)
        self._is_own = is_own
        self._has_left = False
        self._has_traced = False
        self.is_stopped = False
        self._socket: socket | None = None
        self._opened: Closable | None = None

    def in_force(self) -> AbstractContextManager[None]:
        """Within this block, the reads and writes of the calling context are this exchange's."""
        return in_context(_current, self)

    def on_trace(self, _event: str, _info: object) -> None:
        """Note that httpcore carries the request of an injected client: its errors mean what they say."""
        self._has_traced = True

    async def async_on_trace(self, _event: str, _info: object) -> None:
        """`on_trace` for an async client."""
        self._has_traced = True

    def was_not_sent(self, error: httpx.RequestError) -> bool:
        """Whether the request provably did not leave this machine when this error came.

        Another library's transport may report a reset as a failure to connect, so that is not trusted.
        """
        if self._is_own:
            return not self._has_left
        return isinstance(error, _NEVER_SENT) or (self._has_traced and isinstance(error, _NOT_CONNECTED))

    def opened(self, connection: Closable) -> None:
        """Note the connection that is made for the request."""
        self._opened = connection

    def close_opened(self) -> None:
        """Close a connection that was opened but not finished: httpcore leaves it open if a SOCKS proxy refuses."""
        if self._opened is not None:
            self._opened.close()

    def connected(self, sock: socket) -> None:
        """Note the socket that the request takes."""
        self._socket = sock
        if self.is_stopped:
            self.stop()

    @property
    def is_connected(self) -> bool:
        """Whether the request has a connection of ours on which something was sent, if only to a proxy."""
        return self._socket is not None

    def wrote(self, data: bytes, *, is_http2: bool) -> None:
        """Note what is about to be written: the request, or what a proxy or TLS needs before it."""
        # A frame of HTTP/2 may be anything. The first one on a used connection begins the request.
        self._has_left = self._has_left or is_http2 or data.startswith(self._first_line)

    def limit(self, timeout: float | None) -> float | None:
        """Return the seconds that a read may take instead of `timeout`."""
        left = self._answer() if self._has_left else self._connect()
        if left is None:
            return timeout
        left = max(left, SHORTEST_READ)
        return left if timeout is None else min(left, timeout)

    def end_within(self, seconds: float) -> None:
        """Let each read from now on take this long, whatever the deadline."""
        self._answer = lambda: seconds

    def stop(self) -> None:
        """End any wait for the answer, in any thread: closing a socket does not end reads that are blocked on it."""
        self.is_stopped = True
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(SHUT_RDWR)


_current: ContextVar[Exchange | None] = ContextVar("chat_sessions_exchange", default=None)


def current_exchange() -> Exchange | None:
    """Return the exchange in force."""
    return _current.get()


class _WithoutSecrets(logging.Filter):
    """Takes the secrets of the exchange in force out of what is logged: a service may repeat them in its headers."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return True; a record with a secret is changed."""
        if (exchange := current_exchange()) is not None:
            said = record.getMessage()
            if (told := text_without_secrets(said, exchange.secrets())) != said:
                record.msg, record.args = told, ()
        return True


for _name in ("httpx", "httpcore.connection", "httpcore.http11", "httpcore.http2", "httpcore.proxy", "httpcore.socks"):
    logging.getLogger(_name).addFilter(_WithoutSecrets())
