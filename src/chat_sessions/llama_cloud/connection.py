"""A turn's HTTP response as live events, bounded by event deadlines.

httpx's read timeout is fixed per response and starts anew with each byte, so a keep-alive
comment moves it on. The transport's socket stream is part of httpx's documented extensions
(`network_stream`): its `read` is bounded here by what is left until the next event is due. A
transport without one (in-process, or another library's) keeps httpx's own timeout, and the
deadline is then noticed at the next bytes. So does HTTP/2, which an injected client may speak: its
streams share one socket, which is not one turn's to bound or to shut down.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Protocol

import httpx

from chat_sessions.core.events import Event
from chat_sessions.llama_cloud.sse import EventDecoder
from chat_sessions.session.deadlines import EventClock
from chat_sessions.session.transport import ConnectionLost, DeadlinePassed

__all__ = ["AsyncResponseEvents", "ResponseEvents", "close_dropped", "lost"]

# How long the end of the body may take after the stop, in seconds: long enough for bytes that
# are on their way, too short to be noticed. Then the connection is not used again.
_END_WAIT = 0.02
_BROKEN = (httpx.TransportError, httpx.StreamError, httpx.DecodingError)
# A socket timeout of 0 means non-blocking; a deadline that has passed must still be a timeout.
_SHORTEST_READ = 0.001


class _Closing(Protocol):
    """What bounds a read: seconds left, or None."""

    def remaining(self) -> float | None: ...


class _EndWait:
    """The bound of the reads after the stop."""

    def remaining(self) -> float | None:
        return _END_WAIT


def lost(error: Exception, clock: EventClock) -> ConnectionLost | DeadlinePassed:
    """The signal for an error of httpx after bytes of a turn may have left."""
    if isinstance(error, httpx.TimeoutException):
        return DeadlinePassed(clock.describe())
    return ConnectionLost(f"the connection broke ({str(error) or type(error).__name__})")


class _BoundedReads:
    """Bounds the reads of a response's socket, and gives the socket back as it was."""

    def __init__(self, response: httpx.Response, clock: EventClock) -> None:
        self.bound: _Closing = clock
        is_own = response.http_version.startswith("HTTP/1")
        stream: Any = response.extensions.get("network_stream") if is_own else None
        self._stream: Any = stream
        self._unbounded: Callable[..., Any] | None = None
        if stream is None:
            return
        # From here on only the bound counts; the transport looks this up when the body is first read.
        response.request.extensions["timeout"]["read"] = None
        read: Callable[..., Any] = stream.read
        self._unbounded = read

        def bounded(max_bytes: int, timeout: float | None = None) -> Any:  # noqa: ARG001 - the signature is httpcore's
            return read(max_bytes, timeout=self._timeout())

        stream.read = bounded

    def _timeout(self) -> float | None:
        left = self.bound.remaining()
        return None if left is None else max(left, _SHORTEST_READ)

    def undo(self) -> None:
        # Once: the socket may be another request's by the time of a second call.
        if self._unbounded is not None:
            self._stream.read, self._unbounded = self._unbounded, None

    def wake(self) -> None:
        """End a read in another thread: closing a socket does not end the reads that wait for it."""
        sock = self._stream.get_extra_info("socket") if self._stream is not None else None
        if isinstance(sock, socket.socket):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


class ResponseEvents:
    """The events of an open response; an `EventConnection`."""

    def __init__(self, response: httpx.Response, clock: EventClock, *, max_event_bytes: int) -> None:
        self._response = response
        self._clock = clock
        self._reads = _BoundedReads(response, clock)
        # Nothing to decode, as a rule: a compressed stream was not asked for.
        self._chunks = response.iter_bytes() if "content-encoding" in response.headers else response.iter_raw()
        self._decoder = EventDecoder(max_event_bytes)

    def __next__(self) -> Event:
        while (event := self._decoder.next_event()) is None:
            if self._clock.remaining() == 0:
                raise DeadlinePassed(self._clock.describe())
            try:
                self._decoder.feed(next(self._chunks))
            except _BROKEN as error:
                raise lost(error, self._clock) from error
        return event

    def finish(self) -> None:
        """Read the end of the body if it is there, so that the connection can be used again; then close."""
        self._reads.bound = _EndWait()
        with suppress(*_BROKEN):
            # One more chunk at most: a server that goes on after the stop is not listened to.
            next(self._chunks, None)
        self.close()

    def close(self) -> None:
        """Close the response: its socket, unless the body was read to its end."""
        self._reads.undo()
        if not self._response.is_closed:
            self._reads.wake()
        self._response.close()

    def __del__(self) -> None:
        # The garbage collector may be at work inside the connection pool, under a lock of its own: so the
        # socket is shut down, which needs none, and the pool is told at the client's next request.
        if not self._response.is_closed:
            self._reads.undo()
            self._reads.wake()
            _dropped.append((self._response, self._chunks))


_dropped: deque[tuple[httpx.Response, Iterator[bytes]]] = deque()


def close_dropped() -> None:
    """Give back the connections of streams that were dropped without being closed."""
    with suppress(IndexError):
        while True:
            _dropped.popleft()[0].close()


class AsyncResponseEvents:
    """The async twin of `ResponseEvents`; an `AsyncEventConnection`."""

    def __init__(self, response: httpx.Response, clock: EventClock, *, max_event_bytes: int) -> None:
        self._response = response
        self._clock = clock
        self._reads = _BoundedReads(response, clock)
        self._chunks = response.aiter_bytes() if "content-encoding" in response.headers else response.aiter_raw()
        self._decoder = EventDecoder(max_event_bytes)
        self._loop = asyncio.get_running_loop()

    async def __anext__(self) -> Event:
        while (event := self._decoder.next_event()) is None:
            if self._clock.remaining() == 0:
                raise DeadlinePassed(self._clock.describe())
            try:
                self._decoder.feed(await anext(self._chunks))
            except _BROKEN as error:
                raise lost(error, self._clock) from error
        return event

    async def finish(self) -> None:
        """Read the end of the body if it is there, so that the connection can be used again; then close."""
        self._reads.bound = _EndWait()
        with suppress(*_BROKEN):
            await anext(self._chunks, None)
        await self.close()

    async def close(self) -> None:
        """Close the response: its socket, unless the body was read to its end."""
        self._reads.undo()
        await self._response.aclose()

    def __del__(self) -> None:
        # Its loop closes what was dropped, at its next step; a loop that has ended has closed it already.
        if not self._response.is_closed and not self._loop.is_closed():
            self._reads.undo()
            self._loop.call_soon_threadsafe(_close_soon, self._response)


_closing: set[asyncio.Task[None]] = set()


def _close_soon(response: httpx.Response) -> None:
    _closing.add(task := asyncio.ensure_future(response.aclose()))
    task.add_done_callback(_closing.discard)
