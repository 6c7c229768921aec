"""Sockets for asyncio, plain and with TLS.

A socket here belongs to no transport and, between two requests, to no event loop: a reader is added for as long as
something is read. So a connection may outlive a loop, and closing it does not need one. One timer per socket bounds its
reads, and moves on with them only when it fires. Works with uvloop as well.
"""

from __future__ import annotations

import asyncio
import select
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

import httpcore

from chat_sessions.http.connection.exchange import SHORTEST_READ
from chat_sessions.session.waiting import is_running

__all__ = ["TLS", "Pipe", "Socket", "connect", "is_readable"]

_READ_SIZE = 32 * 1024
# How much may wait to be read, in bytes, before the socket is left alone.
_MOST_UNREAD = 32 * 1024
# How long one address may take to connect before the next is tried too, in seconds (RFC 8305).
_NEXT_ADDRESS = 0.25


class Pipe(Protocol):
    """Bytes in and out: a socket, or TLS over one. Raises httpcore's errors."""

    @property
    def sock(self) -> socket.socket:
        """The socket underneath."""
        ...

    async def receive(self, timeout: float | None) -> bytes:
        """Return what has come, one byte at least; nothing at the end."""
        ...

    async def send(self, data: bytes, timeout: float | None) -> None:
        """Send all of the data."""
        ...

    def has_unread(self) -> bool:
        """Whether something can be read at once, the end included."""
        ...

    def rest(self) -> None:
        """Leave the event loop until the next read."""
        ...

    def when_closed(self, call: Callable[[], object]) -> None:
        """Call this once the socket is closed."""
        ...

    def close(self) -> None:
        """Close the socket at once, and wake whoever reads; from any thread."""
        ...

    def disown(self) -> None:
        """Close a forked process's copy of the socket, which leaves the parent's as it is."""
        ...


class Socket:
    """A socket that is read by the event loop in which its reader waits."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._unread: deque[bytes] = deque()
        self._size = 0
        self._end: OSError | None = None
        self._has_ended = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._when_closed: Callable[[], object] | None = None

    async def receive(self, timeout: float | None) -> bytes:
        """Return what has come, one byte at least; nothing at the end."""
        if not self._unread and not self._has_ended and self._loop is not asyncio.get_running_loop():
            # Once registered, the loop reads for us.
            self._on_readable()
            if self._unread:
                # Reading on without a pause would starve the loop's other tasks and timers.
                await asyncio.sleep(0)
        while not self._unread:
            if self._end is not None:
                raise httpcore.ReadError(str(self._end)) from self._end
            if self._has_ended:
                return b""
            await self._wait(timeout)
        data = self._unread.popleft() if len(self._unread) == 1 else b"".join(self._unread)
        self._unread.clear()
        self._size = 0
        return data

    async def _wait(self, timeout: float | None) -> None:
        loop = asyncio.get_running_loop()
        self._read_in(loop)
        if timeout is not None:
            self._due = loop.time() + timeout
            if self._timer is not None and self._timer.when() > self._due:
                self._timer.cancel()
                self._timer = None
            if self._timer is None:
                self._timer = loop.call_at(self._due, self._on_timer)
        else:
            self._due = float("inf")
        self._waiter = loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _read_in(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._loop is not loop:
            self._stop_reading()
            self._loop = loop
            self._timer = None
            try:
                loop.add_reader(self.sock.fileno(), self._on_readable)
            except (OSError, ValueError) as error:
                # Another thread has closed it in this moment.
                self._loop = None
                raise httpcore.ReadError("the connection was closed") from error

    def _stop_reading(self) -> None:
        loop, self._loop = self._loop, None
        if loop is not None and not loop.is_closed() and (number := self.sock.fileno()) >= 0:
            loop.remove_reader(number)

    def _on_readable(self) -> None:
        try:
            data = self.sock.recv(_READ_SIZE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._end, self._has_ended = error, True
        else:
            if data:
                self._unread.append(data)
                self._size += len(data)
            else:
                self._has_ended = True
        if self._has_ended or self._size > _MOST_UNREAD:
            self._stop_reading()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _on_timer(self) -> None:
        loop, self._timer = self._loop, None
        if loop is None or self._waiter is None or self._waiter.done():
            return
        if loop.time() < self._due:
            if self._due < float("inf"):
                self._timer = loop.call_at(self._due, self._on_timer)
            return
        # A lagging loop may not have noticed yet what came in time.
        self._on_readable()
        if not self._waiter.done():
            self._waiter.set_exception(httpcore.ReadTimeout("nothing came in time"))

    async def send(self, data: bytes, timeout: float | None) -> None:
        """Send all of the data."""
        try:
            with suppress(BlockingIOError, InterruptedError):
                data = data[self.sock.send(data) :]
            if data:
                async with asyncio.timeout(timeout):
                    await asyncio.get_running_loop().sock_sendall(self.sock, data)
        except TimeoutError as error:
            raise httpcore.WriteTimeout(str(error)) from error
        except (OSError, ValueError) as error:
            # The latter from asyncio, if another thread has closed the socket in this moment.
            raise httpcore.WriteError(str(error)) from error

    def has_unread(self) -> bool:
        """Whether something can be read at once, the end included."""
        if self._unread or self._has_ended or self.sock.fileno() < 0:
            return True
        return is_readable(self.sock)

    def rest(self) -> None:
        """Leave the event loop until the next read."""
        self._stop_reading()
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def when_closed(self, call: Callable[[], object]) -> None:
        """Call this once the socket is closed."""
        self._when_closed = call

    def close(self) -> None:
        """Close the socket at once, and wake whoever reads; from any thread."""
        # A loop that does not run may never run again.
        if (loop := self._loop) is None or loop.is_closed() or is_running(loop) or not loop.is_running():
            self.rest()
            self._end_socket()
            if loop is not None and loop.is_closed():
                # The reader cannot be woken any more. Without its waiter it is garbage.
                self._waiter = None
            elif self._waiter is not None and not self._waiter.done():
                self._waiter.set_result(None)
            return
        # It is the loop's to close, which sees the end at once.
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        try:
            loop.call_soon_threadsafe(self.close)
        except RuntimeError:
            # The loop was closed in this moment.
            self._loop = self._timer = self._waiter = None
            self._end_socket()

    def disown(self) -> None:
        """Close a forked process's copy of the socket, which leaves the parent's as it is."""
        # The loop stays untouched: its selector is the parent's too.
        self._loop = self._timer = None
        self._end_socket()

    def _end_socket(self) -> None:
        self.sock.close()
        self._has_ended = True
        call, self._when_closed = self._when_closed, None
        if call is not None:
            call()


class TLS:
    """TLS over a pipe."""

    def __init__(self, pipe: Pipe, context: ssl.SSLContext, server_hostname: str | None) -> None:
        self._pipe = pipe
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        # Whether everything received was read. Asking OpenSSL would raise an exception for each event.
        self._is_drained = False
        self.object = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_hostname)

    @property
    def sock(self) -> socket.socket:
        """The socket underneath."""
        return self._pipe.sock

    async def handshake(self) -> None:
        """Begin TLS. Raises what `ssl` and the pipe raise."""
        while True:
            try:
                self.object.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush(None)
                self._feed(await self._pipe.receive(None))
            else:
                await self._flush(None)
                return

    async def receive(self, timeout: float | None) -> bytes:
        """Return what has come, one byte at least; nothing at the end."""
        due, is_waiting = time.monotonic() + (timeout or 0), False
        while True:
            parts: list[bytes] = []
            try:
                while not self._is_drained and (part := self.object.read(_READ_SIZE)):
                    parts.append(part)
                    self._is_drained = not self._incoming.pending and not self.object.pending()
            except ssl.SSLWantReadError:
                self._is_drained = True
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return b"".join(parts)
            except ssl.SSLError as error:
                raise httpcore.ReadError(str(error)) from error
            if self._outgoing.pending:
                await self._flush(timeout)
            if parts:
                return b"".join(parts)
            if is_waiting and timeout is not None:
                # A part of a TLS record has come: the rest has what is left of the time.
                timeout = max(due - time.monotonic(), SHORTEST_READ)
            self._feed(await self._pipe.receive(timeout))
            is_waiting = True

    async def send(self, data: bytes, timeout: float | None) -> None:
        """Send all of the data."""
        while data:
            try:
                data = data[self.object.write(data) :]
            except ssl.SSLWantReadError:
                self._feed(await self._pipe.receive(timeout))
            except ssl.SSLError as error:
                raise httpcore.WriteError(str(error)) from error
        await self._flush(timeout)

    def _feed(self, data: bytes) -> None:
        self._is_drained = False
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    async def _flush(self, timeout: float | None) -> None:
        if data := self._outgoing.read():
            await self._pipe.send(data, timeout)

    def has_unread(self) -> bool:
        """Whether something can be read at once, the end included."""
        return self._pipe.has_unread()

    def rest(self) -> None:
        """Leave the event loop until the next read."""
        self._pipe.rest()

    def when_closed(self, call: Callable[[], object]) -> None:
        """Call this once the socket is closed."""
        self._pipe.when_closed(call)

    def close(self) -> None:
        """Close the socket at once, and wake whoever reads; from any thread."""
        self._pipe.close()

    def disown(self) -> None:
        """Close a forked process's copy of the socket, which leaves the parent's as it is."""
        self._pipe.disown()


async def connect(host: str, port: int, local_address: str | None) -> socket.socket:
    """Try the addresses of a host, each a moment after the one before it; returns the first socket that connects."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    # One of each family in turn, as the host's resolver orders them.
    rank = {family: deque[Any]() for family, *_ in found}
    for info in found:
        rank[info[0]].append(info)
    addresses = [queue[number] for number in range(len(found)) for queue in rank.values() if number < len(queue)]
    attempts: set[asyncio.Task[socket.socket]] = set()
    errors: list[OSError] = []
    try:
        while addresses or attempts:
            if addresses:
                family, kind, protocol, _, address = addresses.pop(0)
                attempts.add(loop.create_task(_try(family, kind, protocol, address, local_address)))
            done, attempts = await asyncio.wait(
                attempts, timeout=_NEXT_ADDRESS if addresses else None, return_when=asyncio.FIRST_COMPLETED
            )
            while done:
                attempt = done.pop()
                if isinstance(error := attempt.exception(), OSError):
                    errors.append(error)
                else:
                    # Another one may have connected in the same moment.
                    attempts |= done
                    return attempt.result()
        raise errors[0] if errors else OSError(f"{host} has no address")
    finally:
        for attempt in attempts:
            attempt.cancel()
            attempt.add_done_callback(_close_late)


async def _try(family: int, kind: int, protocol: int, address: Any, local_address: str | None) -> socket.socket:
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setblocking(False)
        if local_address is not None:
            sock.bind((local_address, 0))
        await asyncio.get_running_loop().sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock


def _close_late(attempt: asyncio.Task[socket.socket]) -> None:
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result().close()


def is_readable(sock: socket.socket, seconds: float = 0.0) -> bool:
    """Whether something can be read from the socket within this many seconds, the end included."""
    try:
        if isinstance(sock, ssl.SSLSocket) and sock.pending():
            return True
        if hasattr(select, "poll"):
            poll = select.poll()
            poll.register(sock, select.POLLIN)
            return bool(poll.poll(seconds * 1000))
        return bool(select.select([sock], [], [], seconds)[0])  # pragma: no cover - Windows
    except ValueError:
        # Another thread has just closed it, which counts as its end.
        return True
