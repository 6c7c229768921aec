"""Sockets without a machine: the transports are the package's own, what they read and write is here.

Each byte of an answer has a time, the faults of `chat_sessions.testing` change bytes and times
as they do behind the real proxy, and who reads waits in virtual time.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import h11
import httpcore
import httpx

from chat_sessions.http.connection.async_transport import AsyncTransport
from chat_sessions.http.connection.asyncio_network import AsyncStream
from chat_sessions.http.connection.network import Stream
from chat_sessions.http.connection.route import Route
from chat_sessions.http.connection.transport import Transport
from chat_sessions.testing import Faults, SeenRequest
from chat_sessions.testing.fault import Break, Fault, Head
from tests.simulation.clock import VirtualClock
from tests.simulation.service import Answered, Service, paced

__all__ = ["Network"]

T = TypeVar("T")
# Longer than anybody waits, in seconds.
_FOR_EVER = 3600.0
_READ_SIZE = 64 * 1024
_ROUTE = Route("http://127.0.0.1", verify=False, trust_env=False)
# A piece of an answer: bytes, or how the connection ends.
_Piece = tuple[float, bytes | str]


def _now(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that waits for nothing real."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
    raise AssertionError("a simulated answer waited for something real")


def _pulled(body: AsyncIterator[bytes]) -> Iterator[bytes]:
    async def pull() -> bytes | None:
        return await anext(body, None)

    while (data := _now(pull())) is not None:
        yield data


class Network:
    """The way between clients and one service. `unreachable`: how many connections are refused first."""

    def __init__(self, clock: VirtualClock, service: Service) -> None:
        self.clock = clock
        self.service = service
        self.faults = Faults()
        self.unreachable = 0
        self.refused = 0
        self.connections: list[Connection] = []

    def connect(self) -> Connection:
        if self.unreachable:
            self.unreachable -= 1
            raise httpcore.ConnectError("connection refused")
        made = Connection(self)
        self.connections.append(made)
        return made

    @property
    def busy(self) -> list[Connection]:
        """Connections that a client holds open though no answer of theirs is whole."""
        return [one for one in self.connections if not one.is_closed and one.is_unread]

    def client(self) -> httpx.Client:
        made = Transport(_ROUTE)
        made._maker = httpcore.ConnectionPool(network_backend=_Backend(self))
        return httpx.Client(transport=made, trust_env=False)

    def async_client(self) -> httpx.AsyncClient:
        made = AsyncTransport(_ROUTE)
        made._maker = httpcore.AsyncConnectionPool(network_backend=_AsyncBackend(self))
        return httpx.AsyncClient(transport=made, trust_env=False)


class Connection:
    """One connection, seen from the network."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._parser = h11.Connection(h11.SERVER)
        self._head: h11.Request | None = None
        self._body = b""
        self._pieces: Iterator[_Piece] = iter(())
        self._next: _Piece | None = None
        # The time of the answer under way, which may run ahead of the clock.
        self._at = 0.0
        self._answer: Answered | None = None
        self._is_chunked = False
        self.is_answering = False
        self.is_dead = False
        self.is_closed = False

    def write(self, data: bytes) -> None:
        if self.is_dead:
            raise httpcore.WriteError("broken pipe")
        if data:
            self._parser.receive_data(data)
        while isinstance(event := self._parser.next_event(), h11.Event):
            if isinstance(event, h11.Request):
                self._head, self._body = event, b""
            elif isinstance(event, h11.Data):
                self._body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage) and self._head is not None:
                path = self._head.target.decode().partition("?")[0]
                self._parser = h11.Connection(h11.SERVER)
                self._at = self._network.clock.now
                self.is_answering = True
                self._pieces = self._answered(SeenRequest(self._head.method.decode(), path, self._body))
                # Landed or not is decided now, whoever reads the answer.
                self._next = next(self._pieces, None)

    def ready_in(self) -> float:
        """Seconds until there is something to read."""
        if self.is_dead:
            return 0.0
        if self._next is None:
            self._next = next(self._pieces, None)
        return math.inf if self._next is None else self._next[0] - self._network.clock.now

    def take(self, most: int) -> bytes:
        """What there is to read now. Raises `httpcore.ReadError` for a reset."""
        if self.is_dead or self._next is None:
            raise httpcore.ReadError("connection reset")
        at, data = self._next
        if data == "fin":
            return b""
        if isinstance(data, str):
            raise httpcore.ReadError("connection reset")
        self._next = (at, data[most:]) if len(data) > most else next(self._pieces, None)
        return data[:most]

    def close(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            if self._answer is not None:
                self._answer.left(self._network.clock.now)

    @property
    def is_unread(self) -> bool:
        return self.is_answering or (self._next is not None and self._next[1] != "fin")

    @property
    def is_readable(self) -> bool:
        return self.is_dead or (not self.is_answering and self.ready_in() <= 0)

    def _answered(self, seen: SeenRequest) -> Iterator[_Piece]:
        """One request answered as the real proxy does."""
        network = self._network
        if network.refused:
            network.refused -= 1
            yield self._at, "reset"
            return
        faults = network.faults.meet(seen)
        self._answer = None
        try:
            replies = [reply for fault in faults if (reply := fault.reply()) is not None]
            if not replies or replies[0].lands:
                self._answer = network.service.ask(seen.method, seen.path, seen.body, self._at)
                self._at = max(self._at, self._answer.begins)
            if replies:
                reply = replies[0]
                yield self._at, self._head_bytes(reply, length=len(reply.body or b"")) + (reply.body or b"")
                yield from self._ended(is_last=False)
            elif self._answer is not None:
                yield from self._passed_on(self._answer, faults)
        except Break as end:
            yield from self._broken(end)
        finally:
            if self._answer is not None:
                self._answer.left(self._at)
                self._answer = None

    def _passed_on(self, answer: Answered, faults: Sequence[Fault]) -> Iterator[_Piece]:
        head = Head(answer.status, answer.headers)
        for fault in faults:
            head = fault.head(head)
        body = paced(answer.body(), self._wait)
        for fault in faults:
            _now(fault.begin(self._head_bytes(head), body))
            body = fault.body(body, self._hold)
        yield self._at, self._head_bytes(head)
        for data in _pulled(body):
            if data:
                yield self._at, b"%x\r\n%b\r\n" % (len(data), data) if self._is_chunked else data
        yield from self._ended(is_last=head.version == "1.0")

    def _broken(self, end: Break) -> Iterator[_Piece]:
        if end.refused:
            self._network.refused = end.refused
            for other in self._network.connections:
                other.is_dead = other.is_dead or other is not self
        if end.sent:
            yield self._at, end.sent
        if end.how == "clean":
            yield from self._ended(is_last=False)
        elif end.how == "half_open":
            # Nobody tells the service.
            self._answer = None
            yield math.inf, "fin"
        else:
            self._left()
            yield self._at, end.how

    def _ended(self, *, is_last: bool) -> Iterator[_Piece]:
        self._left()
        self.is_answering = False
        if self._is_chunked:
            yield self._at, b"0\r\n\r\n"
        if is_last:
            yield self._at, "fin"

    def _left(self) -> None:
        if self._answer is not None:
            self._answer.left(self._at)
            self._answer = None

    def _head_bytes(self, head: Head, *, length: int | None = None) -> bytes:
        self._is_chunked = length is None and head.version == "1.1"
        lines = [f"HTTP/{head.version} {head.status} X", *(f"{name}: {value}" for name, value in head.headers)]
        if self._is_chunked:
            lines.append("Transfer-Encoding: chunked")
        elif length is not None:
            lines.append(f"Content-Length: {length}")
        return "\r\n".join((*lines, "", "")).encode()

    def _wait(self, until: float) -> None:
        self._at = max(self._at, until)

    async def _hold(self, seconds: float | None) -> bool:
        self._at += math.inf if seconds is None else seconds
        if self._at > self._network.clock.now + _FOR_EVER:
            # A stall without end must not keep whoever reads the whole of it from an end.
            self._at = math.inf
        return self._at == math.inf


class _Stream(httpcore.NetworkStream):
    def __init__(self, network: Network) -> None:
        self._clock = network.clock
        self._connection = network.connect()

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        wait = self._connection.ready_in()
        if timeout is not None and wait > timeout:
            self._clock.advance(timeout)
            raise httpcore.ReadTimeout("timed out")
        self._clock.advance(wait)
        return self._connection.take(max_bytes)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._connection.write(buffer)

    def close(self) -> None:
        self._connection.close()

    def get_extra_info(self, info: str) -> Any:
        return self._connection.is_readable if info == "is_readable" else None


class _Pipe:
    """What `AsyncStream` reads and writes."""

    sock: Any = None

    def __init__(self, network: Network) -> None:
        self._connection = network.connect()
        self._calls: list[Callable[[], object]] = []

    async def receive(self, timeout: float | None) -> bytes:
        wait = self._connection.ready_in()
        if timeout is not None and wait > timeout:
            await asyncio.sleep(timeout)
            raise httpcore.ReadTimeout("timed out")
        if wait == math.inf:
            await asyncio.get_running_loop().create_future()
        if wait > 0:
            await asyncio.sleep(wait)
        return self._connection.take(_READ_SIZE)

    async def send(self, data: bytes, timeout: float | None) -> None:
        self._connection.write(data)

    def has_unread(self) -> bool:
        return self._connection.is_readable

    def rest(self) -> None:
        """It belongs to no loop."""

    def when_closed(self, call: Callable[[], object]) -> None:
        self._calls = [call]

    def close(self) -> None:
        self._connection.close()
        for call in self._calls:
            call()

    disown = close


class _Backend(httpcore.NetworkBackend):
    def __init__(self, network: Network) -> None:
        self._network = network

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        return Stream(_Stream(self._network))


class _AsyncBackend(httpcore.AsyncNetworkBackend):
    def __init__(self, network: Network) -> None:
        self._network = network

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        return AsyncStream(_Pipe(self._network))
