"""A request bounded as a whole, from its first header line to the end of its answer.

httpx's read timeout starts anew with each byte, so a server that drips header lines, early hints or a
body holds a request for as long as it likes. Two of httpx's documented extensions set that right: `trace`
hands out each new connection's stream, whose reads are bounded from then on by what is in force where they
are called, and tells when an HTTP/1.1 answer is awaited. So nothing has to be undone when a connection goes
from one request to the next, which may be in another thread or task before the first one knows. HTTP/2
streams share a connection, whose reads are nobody's own: they keep httpx's timeouts, and so does a
connection of an injected client that was made without a trace. What is overdue there is noticed at the next
piece of the body.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any, Protocol, TypeAlias

import httpx

__all__ = [
    "ERROR_BODY_LIMIT",
    "SHORTEST_READ",
    "ReadBound",
    "abeginning",
    "abody",
    "beginning",
    "body",
    "bound_reads",
    "bounded",
    "bounded_async",
    "read_bound",
]

# How much of an error's body is read, in bytes: a proxy's page may be of any size.
ERROR_BODY_LIMIT = 64 * 1024
# A socket timeout of 0 means non-blocking; a deadline that has passed must still be a timeout.
SHORTEST_READ = 0.001

# Seconds left, or None for no deadline.
Remaining: TypeAlias = Callable[[], float | None]


class ReadBound(Protocol):
    """What bounds the reads of a socket."""

    def shorten(self, timeout: float | None) -> float | None:
        """The timeout that a read may have instead of this one, in seconds; None for none."""
        ...


class _Bound:
    """The deadline of one request; it counts once its HTTP/1.1 answer is awaited."""

    def __init__(self, remaining: Remaining) -> None:
        self._remaining = remaining
        self._counts = False

    def on_trace(self, event: str, info: Mapping[str, Any]) -> None:
        if event == "http11.receive_response_headers.started":
            self._counts = True
        elif event.endswith((".connect_tcp.complete", ".connect_unix_socket.complete", ".start_tls.complete")):
            bound_reads(info["return_value"])

    def shorten(self, timeout: float | None) -> float | None:
        left = self._remaining() if self._counts else None
        if left is None:
            return timeout
        left = max(left, SHORTEST_READ)
        return left if timeout is None else min(left, timeout)


read_bound: ContextVar[ReadBound | None] = ContextVar("chat_sessions_read_bound", default=None)


class _BoundedRead:
    """A stream's `read`, which heeds the bound in force."""

    def __init__(self, read: Callable[..., Any]) -> None:
        self._read = read

    def __call__(self, max_bytes: int, timeout: float | None = None) -> Any:
        bound = read_bound.get()
        return self._read(max_bytes, timeout=timeout if bound is None else bound.shorten(timeout))


def bound_reads(stream: Any) -> None:
    """Have a connection's stream heed `read_bound` from now on. Once is enough; more does no harm."""
    if not isinstance(stream.read, _BoundedRead):
        stream.read = _BoundedRead(stream.read)


@contextmanager
def bounded(request: httpx.Request, remaining: Remaining) -> Generator[None]:
    """Within this block the reads of the request end with `httpx.ReadTimeout` when nothing remains."""
    bound = _Bound(remaining)
    request.extensions["trace"] = bound.on_trace
    with _in_force(bound):
        yield


@contextmanager
def bounded_async(request: httpx.Request, remaining: Remaining) -> Generator[None]:
    """`bounded` for a request of an async client. Nothing in it is awaited."""
    bound = _Bound(remaining)

    async def on_trace(event: str, info: Mapping[str, Any]) -> None:
        bound.on_trace(event, info)

    trace: Callable[[str, Mapping[str, Any]], Awaitable[None]] = on_trace
    request.extensions["trace"] = trace
    with _in_force(bound):
        yield


@contextmanager
def _in_force(bound: _Bound) -> Generator[None]:
    token = read_bound.set(bound)
    try:
        yield
    finally:
        read_bound.reset(token)


def body(response: httpx.Response, remaining: Remaining) -> bytes:
    """The whole body. Raises `httpx.RequestError`: `ReadTimeout` when nothing remains."""
    return b"".join(_timely(response.iter_bytes(), remaining))


async def abody(response: httpx.Response, remaining: Remaining) -> bytes:
    """The async twin of `body`."""
    pieces: list[bytes] = []
    async for piece in response.aiter_bytes():
        pieces.append(piece)
        _check(remaining)
    return b"".join(pieces)


def beginning(response: httpx.Response, remaining: Remaining) -> bytes:
    """What an error's body begins with: as much as comes in time and without an error, up to the limit."""
    start = bytearray()
    with suppress(httpx.RequestError):
        for piece in _timely(response.iter_bytes(), remaining):
            start += piece
            if len(start) >= ERROR_BODY_LIMIT:
                break
    return bytes(start[:ERROR_BODY_LIMIT])


async def abeginning(response: httpx.Response, remaining: Remaining) -> bytes:
    """The async twin of `beginning`."""
    start = bytearray()
    with suppress(httpx.RequestError):
        async for piece in response.aiter_bytes():
            start += piece
            if len(start) >= ERROR_BODY_LIMIT:
                break
            _check(remaining)
    return bytes(start[:ERROR_BODY_LIMIT])


def _timely(pieces: Iterable[bytes], remaining: Remaining) -> Iterator[bytes]:
    for piece in pieces:
        yield piece
        _check(remaining)


def _check(remaining: Remaining) -> None:
    if remaining() == 0:
        raise httpx.ReadTimeout("the answer took too long")
