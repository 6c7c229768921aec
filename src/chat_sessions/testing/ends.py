"""The two ends of a request that the proxy passes on: the client's connection, and one to the service."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Self

import h11

from chat_sessions.testing.fault import Head
from chat_sessions.testing.script import SeenRequest

__all__ = ["ClientEnd", "ServiceEnd"]

_READ = 65536
_LOOPBACK = "127.0.0.1"
# Headers that belong to a connection and not to the answer; the proxy writes its own.
_OF_A_CONNECTION = frozenset((b"connection", b"transfer-encoding", b"content-length", b"keep-alive"))


class ClientEnd:
    """The client's end of a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._early = b""
        self._is_chunked = False
        self._is_last = False
        # asyncio sets this only for sockets that were created with an explicit protocol.
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # What was sent before a break has left: nothing waits here for the break to drop.
        writer.transport.set_write_buffer_limits(0)

    async def next_request(self) -> tuple[h11.Request, SeenRequest] | None:
        """Read the next request. Returns None when the client has left."""
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
        """Wait until the client closes its end; what it sends before is kept."""
        with suppress(OSError):
            while data := await self._reader.read(_READ):
                self._early += data

    def head_bytes(self, head: Head, *, length: int | None, has_no_body: bool = False) -> bytes:
        """Return the head as it is sent, and choose how the body will end."""
        self._is_last = head.version == "1.0"
        self._is_chunked = length is None and not has_no_body and not self._is_last
        lines = [f"HTTP/{head.version} {head.status} X", *(f"{name}: {value}" for name, value in head.headers)]
        if self._is_chunked:
            lines.append("Transfer-Encoding: chunked")
        elif length is not None and not self._is_last:
            lines.append(f"Content-Length: {length}")
        return "\r\n".join((*lines, "", "")).encode("latin-1")

    async def send_head(self, head: Head, *, length: int | None, has_no_body: bool = False) -> None:
        """Send the head; see `head_bytes`."""
        await self.send_raw(self.head_bytes(head, length=length, has_no_body=has_no_body))

    async def send(self, data: bytes) -> None:
        """Send a piece of the body, as a chunk of its own if the answer is chunked."""
        if data:
            await self.send_raw(b"%x\r\n%b\r\n" % (len(data), data) if self._is_chunked else data)

    async def end(self) -> bool:
        """End the body. Returns whether the connection can take another request."""
        if self._is_chunked:
            await self.send_raw(b"0\r\n\r\n")
        return not self._is_last

    async def send_raw(self, data: bytes) -> None:
        """Send these bytes as they are."""
        if data:
            self._writer.write(data)
            await self._writer.drain()

    def reset(self) -> None:
        """End the connection like a crashed peer: with a RST."""
        sock = self._writer.get_extra_info("socket")
        with suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    def close(self) -> None:
        """End the connection like a peer that has sent everything."""
        self._writer.close()


class ServiceEnd:
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
        """Send the request, and read the head of the answer."""
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
        """Yield the rest of the body. If the server ends early, the answer does too."""
        while not isinstance(event := await self._next(), h11.EndOfMessage):
            if isinstance(event, h11.Data):
                yield bytes(event.data)

    async def _next(self) -> h11.Event:
        while True:
            event = self._protocol.next_event()
            # Otherwise it is NEED_DATA: nothing is sent for which the protocol would pause.
            if isinstance(event, h11.Event):
                return event
            self._protocol.receive_data(await self._reader.read(_READ))

    def close(self) -> None:
        """Leave, like a client that stops waiting."""
        self._writer.transport.abort()
