"""An open response: where it may be read, and how it is closed, by a thread, a task, or the garbage collector."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from socket import SHUT_RDWR, socket
from typing import Any

import httpx

from chat_sessions.core.errors import ConfigurationError
from chat_sessions.http.connection.asyncio_network import AsyncStream
from chat_sessions.http.connection.asyncio_socket import is_readable
from chat_sessions.http.connection.exchange import Exchange
from chat_sessions.http.connection.network import Stream
from chat_sessions.session.waiting import is_running, running_loop

__all__ = ["AsyncLease", "Lease", "check_loop", "check_process", "close_dropped"]


class Lease:
    """A sync response. `stream` is our own connection, None for an injected client's."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self._process = os.getpid()
        stream = _stream_of(response, Stream)
        self.stream = stream if isinstance(stream, Stream) else None
        self._socket = _socket_of(stream)

    def check(self) -> None:
        """Raise `ConfigurationError` if the response cannot be read here."""
        check_process(self._process)

    def read_end(self, chunks: Iterator[bytes], exchange: Exchange, seconds: float) -> None:
        """Read what is left of the body if it comes that soon: one more chunk at most."""
        if self.stream is not None:
            exchange.end_within(seconds)
        elif self._socket is None or self._socket.fileno() < 0 or not is_readable(self._socket, seconds):
            # Nothing bounds the reads of an injected client's connection. Its owner may have closed it.
            return
        with exchange.in_force():
            next(chunks, b"")

    def close(self) -> None:
        """Close the response: its socket, unless the body was read to its end. Ends reads in other threads."""
        if not self._response.is_closed:
            self._wake()
        self._response.close()

    def drop(self) -> None:
        """Close what was left open. Takes no lock of the pool: the garbage collector may run while that is held."""
        if self._response.is_closed:
            return
        self._wake()
        if self.stream is not None:
            self.stream.close()
        else:
            _dropped.append(self._response)

    def _wake(self) -> None:
        # A fork shares the socket: what is shut down in it would end the parent's turn.
        if self._socket is not None and self._process == os.getpid():
            with suppress(OSError):
                self._socket.shutdown(SHUT_RDWR)


_dropped: deque[httpx.Response] = deque()


def close_dropped() -> None:
    """Close the streams that were dropped while open, which returns their connections to the injected client's pool."""
    with suppress(IndexError):
        while True:
            _dropped.popleft().close()


class AsyncLease:
    """An async response, which belongs to the event loop that opened it."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self._process = os.getpid()
        self._loop = running_loop()
        stream = _stream_of(response, AsyncStream)
        self.stream = stream if isinstance(stream, AsyncStream) else None
        self._network_stream: Any = stream

    def check(self) -> None:
        """Raise `ConfigurationError` if the response cannot be read here."""
        check_process(self._process)
        check_loop(self._loop)

    async def read_end(self, chunks: AsyncIterator[bytes], exchange: Exchange, seconds: float) -> None:
        """Read what is left of the body if it comes that soon: one more chunk at most."""
        if self.stream is not None:
            exchange.end_within(seconds)
            with suppress(TimeoutError), exchange.in_force():
                await anext(chunks, b"")
            return
        # In a task of its own: an injected client's pool that is cancelled while it cleans up loses the connection.
        reading = self._loop.create_task(_read_on(chunks))
        _keep(reading)
        await asyncio.wait((reading,), timeout=seconds)

    async def close(self) -> None:
        """Close the response: its socket, unless the body was read to its end."""
        if self._response.is_closed:
            return
        if self._process != os.getpid() or not is_running(self._loop):
            self.drop()
            return
        if self.stream is not None:
            # At once, whatever becomes of this task.
            self.stream.close()
        # In a task of its own: a reader that is cancelled twice must not leave the pool with a lost connection.
        await asyncio.shield(_closing(self._loop, self._response, self._network_stream))

    def drop(self) -> None:
        """Close what was left open, in its own event loop, or without one if that has ended."""
        if self._response.is_closed:
            return
        if self._process != os.getpid():
            if self.stream is not None:
                self.stream.disown()
        elif self.stream is not None:
            # At once, and all there is to do: a loop that ends cancels a task before it has begun, or never runs it.
            self.stream.close()
        elif is_running(self._loop):
            # The task begins before the loop, which may be at its end, looks for tasks to cancel.
            _closing(self._loop, self._response, self._network_stream)
        else:
            with suppress(RuntimeError):  # the loop has ended, and the connection with it
                self._loop.call_soon_threadsafe(_closing, self._loop, self._response, self._network_stream)


_tasks: set[asyncio.Task[None]] = set()


def _keep(task: asyncio.Task[None]) -> asyncio.Task[None]:
    """Keep a task that is not awaited until it is done."""
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)
    return task


async def _read_on(chunks: AsyncIterator[bytes]) -> None:
    # The turn has its stop, so how its body ends does not matter, whatever a foreign transport raises.
    with suppress(Exception):
        await anext(chunks, b"")


def _closing(loop: asyncio.AbstractEventLoop, response: httpx.Response, stream: Any) -> asyncio.Task[None]:
    return _keep(loop.create_task(_close(response, stream)))


async def _close(response: httpx.Response, stream: Any) -> None:
    try:
        await response.aclose()
    finally:
        if stream is not None:
            # httpcore treats a clean-up as done even if a second cancellation interrupted it (encode/httpcore#1115).
            await stream.aclose()


def check_loop(loop: asyncio.AbstractEventLoop) -> None:
    """Raise `ConfigurationError` in another event loop than the one that opened the stream."""
    if running_loop() is not loop:
        raise ConfigurationError(
            "this stream was opened in another event loop, and can only be read in that one: open and read it "
            "within one asyncio.run()"
        )


def check_process(process: int) -> None:
    """Raise `ConfigurationError` in another process than the one that opened the stream."""
    if process != os.getpid():
        raise ConfigurationError(
            "this stream belongs to the parent of this forked process: open a stream of its own here"
        )


def _stream_of(response: httpx.Response, own: type) -> Any:
    """Return the connection under a response; None for one of an injected client's that other turns may share."""
    stream = response.extensions.get("network_stream")
    return None if response.http_version == "HTTP/2" and not isinstance(stream, own) else stream


def _socket_of(stream: Any) -> socket | None:
    sock = None if stream is None else stream.get_extra_info("socket")
    return sock if isinstance(sock, socket) else None
