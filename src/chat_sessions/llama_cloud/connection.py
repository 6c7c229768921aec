"""A turn's HTTP response as live events, bounded by event deadlines.

httpx's read timeout is fixed per response and starts anew with each byte, so a keep-alive
comment moves it on. The transport's socket stream is part of httpx's documented extensions
(`network_stream`): its `read` is bounded here by what is left until the next event is due. A
transport without one (in-process, or another library's) keeps httpx's own timeout, and the
deadline is then noticed at the next bytes. HTTP/2, which an injected client may speak, looks the
read timeout up at each read, and is told what is left; its streams share one socket, which is not
one turn's to shut down.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Protocol

import httpx

from chat_sessions.core.errors import ConfigurationError, ProtocolError
from chat_sessions.core.events import Event
from chat_sessions.http.bounds import SHORTEST_READ, bound_reads, read_bound
from chat_sessions.http.calls import frameless, reason
from chat_sessions.llama_cloud.sse import EventDecoder
from chat_sessions.session.backend import ConnectionLost, DeadlinePassed, EventUnreadable
from chat_sessions.session.deadlines import EventClock

__all__ = ["AsyncResponseEvents", "ResponseEvents", "close_dropped", "lost"]

# How long the end of the body may take after the stop, in seconds: long enough for bytes that
# are on their way, too short to be noticed. Then the connection is not used again.
_END_WAIT = 0.02
_BROKEN = (httpx.TransportError, httpx.StreamError, httpx.DecodingError)


class _Closing(Protocol):
    """What bounds a read: seconds left, or None."""

    def remaining(self) -> float | None: ...


class _EndWait:
    """The bound of the reads after the stop."""

    def remaining(self) -> float | None:
        return _END_WAIT


def lost(error: Exception, clock: EventClock) -> ConnectionLost | DeadlinePassed:
    """The signal for an error of httpx after bytes of a turn may have left; to be raised from `error`.

    Takes the traceback from `error`: see `frameless`.
    """
    frameless(error)
    if isinstance(error, httpx.TimeoutException):
        return DeadlinePassed(clock.describe())
    return ConnectionLost(f"the connection broke ({reason(error)})")


def _next_event(decoder: EventDecoder) -> Event | None:
    try:
        return decoder.next_event()
    except ProtocolError as error:
        if decoder.is_over_limit:
            # The session's history would bring what is too large here.
            raise
        raise EventUnreadable(error) from error


class _BoundedReads:
    """Bounds the reads of a response's socket while it is in force: `with` it, in the reader's own context."""

    def __init__(self, response: httpx.Response, clock: EventClock) -> None:
        self.bound: _Closing = clock
        self._process = os.getpid()
        self._stream: Any = None
        timeouts: dict[str, float | None] = response.request.extensions["timeout"]
        if response.http_version.startswith("HTTP/2"):
            response.request.extensions["timeout"] = _TimeLeft(timeouts, self)
        elif (stream := response.extensions.get("network_stream")) is not None:
            self._stream = stream
            bound_reads(stream)
            # From here on only the bound counts; the transport looks this up when the body is first read.
            timeouts["read"] = None

    def __enter__(self) -> None:
        read_bound.set(self)

    def __exit__(self, *_: object) -> None:
        read_bound.set(None)

    def shorten(self, timeout: float | None = None) -> float | None:  # noqa: ARG002 - httpx's own is None
        """Seconds that the next read may take."""
        left = self.bound.remaining()
        return None if left is None else max(left, SHORTEST_READ)

    @property
    def is_inherited(self) -> bool:
        """Whether this process is a fork of the one that opened the socket."""
        return os.getpid() != self._process

    def wake(self) -> None:
        """End a read in another thread: closing a socket does not end the reads that wait for it."""
        if self.is_inherited:
            # A fork shares the socket: what is shut down here would end the parent's turn.
            return
        sock = self._stream.get_extra_info("socket") if self._stream is not None else None
        if isinstance(sock, socket.socket):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    async def aclose(self) -> None:
        """Close the socket of an async response whose body was not read to its end."""
        if self._stream is not None:
            await self._stream.aclose()


class _TimeLeft(dict[str, float | None]):
    """A request's timeouts, of which the one for reading is what is left until the next event is due."""

    def __init__(self, timeouts: dict[str, float | None], reads: _BoundedReads) -> None:
        super().__init__(timeouts)
        self._reads = reads

    def get(self, key: str, default: Any = None) -> Any:
        if key != "read":
            return super().get(key, default)
        if self._reads.bound.remaining() == 0:
            # Before the read: one that times out breaks the connection, and with it the turns that share it.
            raise httpx.ReadTimeout("no event came in time")
        return self._reads.shorten()


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
        while (event := _next_event(self._decoder)) is None:
            if self._clock.remaining() == 0:
                raise DeadlinePassed(self._clock.describe())
            if self._reads.is_inherited:
                raise ConfigurationError(
                    "this stream was opened in the process that this one was forked from, which reads it: ask in here "
                    "with a stream of its own"
                )
            try:
                with self._reads:
                    chunk = next(self._chunks)
            except _BROKEN as error:
                raise lost(error, self._clock) from error
            self._decoder.feed(chunk)
        return event

    def finish(self) -> None:
        """Read the end of the body if it is there, so that the connection can be used again; then close."""
        self._reads.bound = _EndWait()
        with self._reads, suppress(*_BROKEN):
            # One more chunk at most: a server that goes on after the stop is not listened to.
            next(self._chunks, None)
        self.close()

    def close(self) -> None:
        """Close the response: its socket, unless the body was read to its end."""
        if not self._response.is_closed:
            self._reads.wake()
        self._response.close()

    def __del__(self) -> None:
        # The garbage collector may be at work inside the connection pool, under a lock of its own: so the
        # socket is shut down, which needs none, and the pool is told at the client's next request.
        if not self._response.is_closed:
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
        while (event := _next_event(self._decoder)) is None:
            if self._clock.remaining() == 0:
                raise DeadlinePassed(self._clock.describe())
            if asyncio.get_running_loop() is not self._loop:
                raise ConfigurationError(
                    "this stream was opened in another event loop, and can only be read in that one: open and read it "
                    "within one asyncio.run()"
                )
            try:
                with self._reads:
                    chunk = await anext(self._chunks)
            except _BROKEN as error:
                raise lost(error, self._clock) from error
            self._decoder.feed(chunk)
        return event

    async def finish(self) -> None:
        """Read the end of the body if it is there, so that the connection can be used again; then close."""
        self._reads.bound = _EndWait()
        with self._reads, suppress(*_BROKEN):
            await anext(self._chunks, None)
        await self.close()

    async def close(self) -> None:
        """Close the response: its socket, unless the body was read to its end."""
        if self._response.is_closed:
            return
        if asyncio.get_running_loop() is self._loop:
            try:
                await self._response.aclose()
            finally:
                # In a task of its own: a reader that is cancelled twice must not leave the socket open.
                closing = _close_soon(self._response, self._reads)
            await asyncio.shield(closing)
        elif not self._loop.is_closed():
            # A loop that has ended has closed it already.
            self._loop.call_soon_threadsafe(_close_soon, self._response, self._reads)

    def __del__(self) -> None:
        # Its loop closes what was dropped, at its next step; a loop that has ended has closed it already.
        if not self._response.is_closed and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(_close_soon, self._response, self._reads)


_closing: set[asyncio.Task[None]] = set()


def _close_soon(response: httpx.Response, reads: _BoundedReads) -> asyncio.Task[None]:
    _closing.add(task := asyncio.create_task(_close(response, reads)))
    task.add_done_callback(_closing.discard)
    return task


async def _close(response: httpx.Response, reads: _BoundedReads) -> None:
    await response.aclose()
    # httpcore takes a clean-up for done that a second cancellation has interrupted (encode/httpcore#1115).
    await reads.aclose()
