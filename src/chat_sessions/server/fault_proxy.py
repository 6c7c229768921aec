"""The place where faults happen: a TCP proxy before the real server.

A reset, a half-open connection or an HTTP/1.0 answer cannot be said through ASGI, so the answers
are the server's own bytes, and this proxy misbehaves with them. It runs in the server's event
loop; a test scripts it from its own thread by `Faults`.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import struct
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import h11

from chat_sessions.core.errors import ConfigurationError
from chat_sessions.server.fault import Break, Fault, Head, Route

__all__ = ["FaultProxy", "Faults", "SeenRequest"]

_READ = 65536
_LOOPBACK = "127.0.0.1"
# What belongs to one connection and not to the answer; the proxy writes its own.
_OF_A_CONNECTION = frozenset((b"connection", b"transfer-encoding", b"content-length", b"keep-alive"))
_ROUTES: tuple[tuple[str, str, Route], ...] = (
    ("POST", r"/api/v1/chat/[^/]+/messages/stream", "turn"),
    ("GET", r"/api/v1/chat/[^/]+", "history"),
    ("POST", r"/api/v1/chat", "create"),
)


@dataclass(frozen=True, slots=True)
class SeenRequest:
    """A request as it came; `faults` are those that it met, `path` is without the query."""

    method: str
    path: str
    body: bytes = field(repr=False)
    faults: tuple[Fault, ...] = ()

    @property
    def route(self) -> Route:
        """Which kind of request it is."""
        for method, pattern, route in _ROUTES:
            if self.method == method and re.fullmatch(pattern, self.path):
                return route
        return "other"


@dataclass(eq=False)
class _Planned:
    faults: tuple[Fault, ...]
    left: int | None


class Faults:
    """The script of a server's faults, and what it saw. Safe from any thread.

    A fault, or a tuple of faults for one request, waits in line for the first request of its route.
    """

    def __init__(self, *faults: Fault | Sequence[Fault]) -> None:
        self._planned: list[_Planned] = []
        self._requests: list[SeenRequest] = []
        self._changed = threading.Condition()
        self._open = 0
        self._held = 0
        # Set by the proxy, whose loop the answers wait in.
        self.on_release: Callable[[], None] | None = None
        self.script(*faults)

    def script(self, *faults: Fault | Sequence[Fault]) -> None:
        """Add faults to the end of the line. Raises `ConfigurationError` for what is none."""
        planned: list[_Planned] = []
        for item in faults:
            together = (item,) if isinstance(item, Fault) else tuple(item)
            if not together or not all(_is_fault(fault) for fault in together):
                raise ConfigurationError(f"{item!r} is no fault: script values of chat_sessions.server.faults")
            if len({fault.on for fault in together}) > 1:
                raise ConfigurationError(f"{together!r}: faults that meet one request together have the same on=")
            planned.append(_Planned(together, together[0].times))
        with self._changed:
            self._planned += planned

    def clear(self) -> None:
        """Forget the faults that still wait, and the requests seen."""
        with self._changed:
            self._planned.clear()
            self._requests.clear()

    def release(self) -> None:
        """Let every answer that a `Stall` or `SlowStart` holds go on."""
        if self.on_release is not None:
            self.on_release()

    @property
    def requests(self) -> tuple[SeenRequest, ...]:
        """Every request that came, in order, those that no service saw included."""
        with self._changed:
            return tuple(self._requests)

    @property
    def prompts(self) -> tuple[str, ...]:
        """The prompts that were posted, each as often as it was: what a client sends twice is here twice."""
        return tuple(json.loads(request.body)["prompt"] for request in self.requests if request.route == "turn")

    @property
    def pending(self) -> tuple[tuple[Fault, ...], ...]:
        """The faults that no request has met yet."""
        with self._changed:
            return tuple(item.faults for item in self._planned if item.left is not None)

    @property
    def open_connections(self) -> int:
        """How many connections clients hold open, pooled ones included."""
        with self._changed:
            return self._open

    def wait_until_held(self, timeout: float = 10.0) -> None:
        """Return when a `Stall` or `SlowStart` holds an answer. Raises `TimeoutError` after `timeout` seconds."""
        self._wait(lambda: self._held > 0, timeout, "no answer is held")

    def wait_until_left(self, timeout: float = 10.0) -> None:
        """Return when no client holds a connection any more. Raises `TimeoutError` after `timeout` seconds."""
        self._wait(lambda: self._open == 0, timeout, "a client still holds a connection")

    def _wait(self, is_so: Callable[[], bool], timeout: float, problem: str) -> None:
        with self._changed:
            if not self._changed.wait_for(is_so, timeout):
                raise TimeoutError(f"{problem}, after {timeout:g} s")

    def count(self, *, connections: int = 0, held: int = 0) -> None:
        """For the proxy: more or fewer connections and held answers."""
        with self._changed:
            self._open += connections
            self._held += held
            self._changed.notify_all()

    def meet(self, request: SeenRequest) -> tuple[Fault, ...]:
        """For the proxy: the faults for this request; both are noted."""
        with self._changed:
            found = next((item for item in self._planned if item.faults[0].on in (request.route, "any")), None)
            if found is not None and found.left is not None:
                found.left -= 1
                if not found.left:
                    self._planned.remove(found)
            faults = () if found is None else found.faults
            self._requests.append(SeenRequest(request.method, request.path, request.body, faults))
            return faults


class FaultProxy:
    """Takes connections on `listener`, asks the server on `port`, and does what `faults` say to the answers.

    An async context manager; on leaving it, its connections are closed. `listener` stays the caller's.
    """

    def __init__(self, listener: socket.socket, port: int, faults: Faults) -> None:
        self._listener = listener
        self._port = port
        self.faults = faults
        self._connections: dict[asyncio.Task[None], _Client] = {}
        self._holds: set[asyncio.Event] = set()
        self._refused = 0

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self.faults.on_release = lambda: _call(loop, self._release)
        self._server = await asyncio.start_server(self._accept, sock=self._listener)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.faults.on_release = None
        self._server.close()
        while self._connections:
            for task in self._connections:
                task.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = _Client(reader, writer)
        task = asyncio.get_running_loop().create_task(self._serve(client))
        self._connections[task] = client
        self.faults.count(connections=1)

        def ended(_: object) -> None:
            del self._connections[task]
            client.close()
            self.faults.count(connections=-1)

        task.add_done_callback(ended)

    async def _serve(self, client: _Client) -> None:
        """Answers the requests of one connection, until either side ends it."""
        with suppress(OSError, h11.RemoteProtocolError):
            while (request := await client.next_request()) is not None:
                head, seen = request
                if self._refused:
                    self._refused -= 1
                    client.reset()
                    return
                faults = self.faults.meet(seen)
                answering = asyncio.ensure_future(self._answer(client, head, seen.body, faults))
                leaving = asyncio.ensure_future(client.left())
                try:
                    await asyncio.wait((answering, leaving), return_when=asyncio.FIRST_COMPLETED)
                    if not (answering.done() and answering.result()):
                        return
                finally:
                    for task in (answering, leaving):
                        task.cancel()
                    await asyncio.gather(answering, leaving, return_exceptions=True)

    async def _answer(self, client: _Client, head: h11.Request, body: bytes, faults: Sequence[Fault]) -> bool:
        """Answers one request; gives whether the connection can take another."""
        service: _Service | None = None
        try:
            replies = [reply for fault in faults if (reply := fault.reply()) is not None]
            if not replies or replies[0].lands:
                service = await _Service.ask(self._port, head, body)
            if replies:
                await client.send_head(replies[0], length=len(replies[0].body or b""))
                await client.send(replies[0].body or b"")
                return True
            assert service is not None  # noqa: S101 (asked, as there is no reply)
            return await self._pass_on(client, service, faults)
        except Break as end:
            return await self._break(client, service, end)
        finally:
            if service is not None:
                service.close()

    async def _pass_on(self, client: _Client, service: _Service, faults: Sequence[Fault]) -> bool:
        answer = service.head
        for fault in faults:
            answer = fault.head(answer)
        body: AsyncIterator[bytes] = service.body()
        has_no_body = answer.status in (204, 304) or service.is_head
        length = service.length if has_no_body or not faults else None
        for fault in faults:
            await fault.begin(client.head_bytes(answer, length=length, has_no_body=has_no_body), body)
            body = fault.body(body, self._hold)
        await client.send_head(answer, length=length, has_no_body=has_no_body)
        async for data in body:
            await client.send(data)
        return await client.end()

    async def _break(self, client: _Client, service: _Service | None, end: Break) -> bool:
        if end.refused:
            self._refused = end.refused
            for task, other in self._connections.items():
                if other is not client:
                    other.reset()
                    task.cancel()
        with suppress(OSError):
            await client.send_raw(end.sent)
        if end.how == "clean":
            return await client.end()
        if end.how == "half_open":
            # Nobody tells the service either: it goes on to its end.
            if service is not None:
                async for _ in service.body():
                    pass
            await asyncio.get_running_loop().create_future()
        if end.how == "reset":
            client.reset()
        return False

    async def _hold(self, seconds: float | None) -> bool:
        released = asyncio.Event()
        self._holds.add(released)
        self.faults.count(held=1)
        try:
            await asyncio.wait_for(released.wait(), seconds)
        except TimeoutError:
            return False
        finally:
            self._holds.discard(released)
            self.faults.count(held=-1)
        return True

    def _release(self) -> None:
        for released in self._holds:
            released.set()


class _Client:
    """The client's end of a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._early = b""
        self._is_chunked = False
        self._is_last = False
        # asyncio sets this only for sockets that were made with their protocol.
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # What was sent before a break has left: nothing waits here that the break would drop.
        writer.transport.set_write_buffer_limits(0)

    async def next_request(self) -> tuple[h11.Request, SeenRequest] | None:
        """The next request, whole; None when the client has left."""
        protocol = h11.Connection(h11.SERVER)
        data, self._early = self._early, b""
        head: h11.Request | None = None
        body = bytearray()
        while True:
            if data:
                protocol.receive_data(data)
            event = protocol.next_event()
            while event is not h11.NEED_DATA:
                if isinstance(event, h11.Request):
                    head = event
                elif isinstance(event, h11.Data):
                    body += event.data
                elif isinstance(event, h11.EndOfMessage) and head is not None:
                    self._early = protocol.trailing_data[0]
                    path = head.target.decode("latin-1").partition("?")[0]
                    return head, SeenRequest(head.method.decode("latin-1"), path, bytes(body))
                event = protocol.next_event()
            data = await self._reader.read(_READ)
            if not data:
                return None

    async def left(self) -> None:
        """Returns when the client closes its end; what it sends before is kept."""
        with suppress(OSError):
            while data := await self._reader.read(_READ):
                self._early += data

    def head_bytes(self, head: Head, *, length: int | None, has_no_body: bool = False) -> bytes:
        """The head as it is sent, and with it how the body ends."""
        self._is_last = head.version == "1.0"
        self._is_chunked = length is None and not has_no_body and not self._is_last
        lines = [f"HTTP/{head.version} {head.status} X", *(f"{name}: {value}" for name, value in head.headers)]
        if self._is_chunked:
            lines.append("Transfer-Encoding: chunked")
        elif length is not None and not self._is_last:
            lines.append(f"Content-Length: {length}")
        return "\r\n".join((*lines, "", "")).encode("latin-1")

    async def send_head(self, head: Head, *, length: int | None, has_no_body: bool = False) -> None:
        await self.send_raw(self.head_bytes(head, length=length, has_no_body=has_no_body))

    async def send(self, data: bytes) -> None:
        """A piece of the body, as a chunk of its own where the answer has chunks."""
        if data:
            await self.send_raw(b"%x\r\n%b\r\n" % (len(data), data) if self._is_chunked else data)

    async def end(self) -> bool:
        """The body is whole; gives whether the connection can take another request."""
        if self._is_chunked:
            await self.send_raw(b"0\r\n\r\n")
        return not self._is_last

    async def send_raw(self, data: bytes) -> None:
        if data:
            self._writer.write(data)
            await self._writer.drain()

    def reset(self) -> None:
        """End the connection as a crashed peer does: with a RST."""
        sock = self._writer.get_extra_info("socket")
        with suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    def close(self) -> None:
        self._writer.close()


class _Service:
    """One request to the real server, and its answer."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._protocol = h11.Connection(h11.CLIENT)
        self.head = Head(0)
        self.length: int | None = None
        self.is_head = False

    @classmethod
    async def ask(cls, port: int, request: h11.Request, body: bytes) -> Self:
        """Sends the request, and reads the head of the answer."""
        made = cls(*await asyncio.open_connection(_LOOPBACK, port))
        try:
            headers = [(name, value) for name, value in request.headers if name not in _OF_A_CONNECTION]
            protocol = made._protocol
            made.is_head = request.method == b"HEAD"
            parts: list[h11.Event] = [
                h11.Request(
                    method=request.method,
                    target=request.target,
                    headers=[*headers, (b"content-length", b"%d" % len(body))],
                ),
                *([h11.Data(data=body)] if body else []),
                h11.EndOfMessage(),
            ]
            made._writer.write(b"".join(protocol.send(part) or b"" for part in parts))
            event = await made._next()
            while not isinstance(event, h11.Response):
                event = await made._next()
            lengths = [int(value) for name, value in event.headers if name == b"content-length"]
            made.length = lengths[0] if lengths else None
            kept = [(n.decode("latin-1"), v.decode("latin-1")) for n, v in event.headers if n not in _OF_A_CONNECTION]
            made.head = Head(event.status_code, tuple(kept))
        except BaseException:
            made.close()
            raise
        return made

    async def body(self) -> AsyncIterator[bytes]:
        """What is left of the body. Ends early where the server does: then the answer does, too."""
        while not isinstance(event := await self._next(), h11.EndOfMessage):
            if isinstance(event, h11.Data):
                yield bytes(event.data)

    async def _next(self) -> h11.Event:
        while True:
            event = self._protocol.next_event()
            # Not a sentinel: NEED_DATA. Nothing is sent that the protocol would pause for.
            if isinstance(event, h11.Event):
                return event
            self._protocol.receive_data(await self._reader.read(_READ))

    def close(self) -> None:
        self._writer.transport.abort()


def _is_fault(value: object) -> bool:
    return isinstance(value, Fault)


def _call(loop: asyncio.AbstractEventLoop, function: Callable[[], None]) -> None:
    with suppress(RuntimeError):  # the server has ended, and holds nothing any more
        loop.call_soon_threadsafe(function)
