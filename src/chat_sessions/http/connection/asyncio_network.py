"""The sockets of async connections, as a network backend of httpcore whose reads heed the exchange in force."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterable
from typing import Any, cast

import httpcore

from chat_sessions.http.connection.asyncio_socket import TLS, Pipe, Socket, connect
from chat_sessions.http.connection.exchange import current_exchange
from chat_sessions.http.connection.forks import load_for_asyncio
from chat_sessions.http.connection.framing import Framing
from chat_sessions.http.connection.network import extensions_of
from chat_sessions.session.waiting import running_loop

__all__ = ["AsyncBackend", "AsyncStream", "async_owner", "async_stream_of"]


def async_owner() -> asyncio.AbstractEventLoop | None:
    """Return the running event loop: its connections are used by no other."""
    return running_loop()


def async_stream_of(answer: httpcore.Response) -> AsyncStream | None:
    """Return our connection under an answer."""
    stream = extensions_of(answer).get("network_stream")
    return stream if isinstance(stream, AsyncStream) else None


class AsyncStream(httpcore.AsyncNetworkStream):
    """A connection, with bounded reads and a body that can be read directly. See `network.Stream`."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self._framing = Framing()

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002 - h11 takes any size
        """Read for httpcore."""
        if kept := self._framing.take_kept():
            return kept
        exchange = current_exchange()
        while True:
            data = await self._pipe.receive(timeout if exchange is None else exchange.limit(timeout))
            if (given := self._framing.head(data)) or not data:
                return given

    @property
    def is_at_end(self) -> bool:
        """Whether the answer was read to its end, and nothing came after it."""
        return self._framing.is_at_end and not self.get_extra_info("is_readable")

    @property
    def can_read_body(self) -> bool:
        """Whether the body of the answer whose head was just read can be read by `read_body`."""
        return self._framing.is_body

    async def read_body(self, timeout: float | None) -> bytes:
        """Read once, and return the body content: empty at the body's end, of which the parser reads the rest.

        Also empty if no content has arrived yet; `can_read_body` is then still true. Raises httpcore's errors.
        """
        framing = self._framing
        content = framing.take_content()
        if content or not framing.is_body:
            return content
        if not (data := await self._pipe.receive(timeout)):
            framing.ended()
            return b""
        return framing.content(data)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Write for httpcore."""
        self._framing.wrote(buffer)
        if buffer and (exchange := current_exchange()) is not None:
            exchange.connected(self._pipe.sock)
            exchange.wrote(buffer, is_http2=self._framing.is_http2)
        await self._pipe.send(buffer, timeout)

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> AsyncStream:
        """Start TLS, and return the encrypted connection."""
        tls = TLS(self._pipe, ssl_context, server_hostname)
        try:
            async with asyncio.timeout(timeout):
                await tls.handshake()
        except TimeoutError as error:
            self.close()
            raise httpcore.ConnectTimeout("the TLS handshake took too long") from error
        except (OSError, httpcore.NetworkError, httpcore.TimeoutException) as error:
            self.close()
            raise httpcore.ConnectError(str(error)) from error
        except BaseException:
            self.close()
            raise
        return AsyncStream(tls)

    def rest(self) -> None:
        """Note that the connection is idle, and belongs to no event loop until it is used again."""
        self._pipe.rest()

    def keep_in(self, streams: set[AsyncStream]) -> None:
        """Add the connection to `streams` until its socket is closed, which its event loop may do a moment later."""
        streams.add(self)
        self._pipe.when_closed(lambda: streams.discard(self))

    def close(self) -> None:
        """Close the socket, at once."""
        self._pipe.close()

    def disown(self) -> None:
        """Close a forked process's copy of the socket."""
        self._pipe.disown()

    async def aclose(self) -> None:
        """Close the socket, at once."""
        self.close()

    def get_extra_info(self, info: str) -> Any:
        """Return what httpcore asks of a connection."""
        match info:
            case "ssl_object":
                return self._pipe.object if isinstance(self._pipe, TLS) else None
            case "socket":
                return self._pipe.sock
            case "client_addr":
                return self._pipe.sock.getsockname()
            case "server_addr":
                return self._pipe.sock.getpeername()
            case "is_readable":
                return self._pipe.has_unread()
            case _:
                return None


class AsyncBackend(httpcore.AsyncNetworkBackend):
    """Opens connections. Made in a running event loop."""

    def __init__(self) -> None:
        running_loop()
        load_for_asyncio()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> AsyncStream:
        """Connect to the first address of the host that answers."""
        try:
            async with asyncio.timeout(timeout):
                sock = await connect(host, port, local_address)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(f"{host} did not answer in time") from error
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from error
        for option in socket_options or ():
            cast("Any", sock).setsockopt(*option)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stream = AsyncStream(Socket(sock))
        if (exchange := current_exchange()) is not None:
            exchange.opened(stream)
        return stream

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)
