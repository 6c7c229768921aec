"""A TLS socket that one thread reads while others write to it and close it."""

from __future__ import annotations

import os
import selectors
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from socket import SHUT_RDWR, socket
from typing import Any, TypeVar

__all__ = ["TlsSocket"]

_Result = TypeVar("_Result")

# Unlike epoll, poll notices when another thread closes the socket. Meanwhile its descriptor may be reused for another
# one, so no wait is longer than this, in seconds.
_Selector: type[selectors.BaseSelector] = getattr(selectors, "PollSelector", selectors.SelectSelector)
_LONGEST_WAIT = 1.0


class TlsSocket:
    """What `websockets` uses of a socket, over one of `ssl`.

    OpenSSL takes one call at a time, and a blocking read of a session ticket lasts until the server sends data: a write
    meanwhile may be lost, and closing the socket does not end the read. So no call blocks here, a lock serialises them,
    and waiting happens outside of it.
    """

    def __init__(self, tls: ssl.SSLSocket) -> None:
        self._socket = tls
        self._timeout = tls.gettimeout()
        self._guard = threading.Lock()
        self._process = os.getpid()
        tls.setblocking(False)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)

    def settimeout(self, seconds: float | None) -> None:
        """Set how long a call may take, in seconds; None for as long as it takes."""
        self._timeout = seconds

    def recv(self, size: int) -> bytes:
        """Return what has come, at most this many bytes, as soon as something has; `b""` at the end."""
        return self._now_or_later(partial(self._socket.recv, size))

    def sendall(self, data: bytes) -> None:
        """Send all of it."""
        left = memoryview(data)
        while left:
            left = left[self._now_or_later(partial(self._socket.send, left)) :]

    def shutdown(self, how: int) -> None:
        """End it, which ends a call that waits."""
        # Not `SSLSocket.shutdown`: after it, other threads would read and write without TLS.
        socket.shutdown(self._socket, how)

    def close(self) -> None:
        """Close it, which ends a read that waits."""
        # In a fork, it would end the parent's connection.
        if self._process == os.getpid():
            with suppress(OSError):
                self.shutdown(SHUT_RDWR)
        self._socket.close()

    def _now_or_later(self, call: Callable[[], _Result]) -> _Result:
        end = None if self._timeout is None else time.monotonic() + self._timeout
        while True:
            try:
                with self._guard:
                    return call()
            except ssl.SSLWantReadError:
                self._wait(selectors.EVENT_READ, end)
            except ssl.SSLWantWriteError:
                self._wait(selectors.EVENT_WRITE, end)

    def _wait(self, event: int, end: float | None) -> None:
        left = _LONGEST_WAIT if end is None else min(_LONGEST_WAIT, end - time.monotonic())
        if left <= 0:
            raise TimeoutError("timed out")
        with _Selector() as selector:
            try:
                selector.register(self._socket, event)
            except ValueError:
                raise OSError("the socket was closed") from None
            selector.select(left)
