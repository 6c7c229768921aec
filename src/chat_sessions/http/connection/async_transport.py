"""Our own connections as an httpx transport.

httpcore's pool looks through all its connections for each request. A turn holds its connection until it ends,
so there may be thousands: here a connection is either in use or on a stack of idle ones, and the most recently used is
taken first. httpcore makes the connections, through proxies and TLS.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import AsyncIterator

import httpcore
import httpx

from chat_sessions.http.connection.asyncio_network import AsyncBackend, AsyncStream, async_owner, async_stream_of
from chat_sessions.http.connection.cookies import Cookies
from chat_sessions.http.connection.exchange import current_exchange
from chat_sessions.http.connection.network import extensions_of, headers_of, httpx_errors
from chat_sessions.http.connection.route import Route

__all__ = ["AsyncOwnClient", "AsyncTransport"]

_MOST_IDLE = 20
# How long an idle connection may be used again, in seconds.
_IDLE_FOR = 5.0


class AsyncOwnClient(httpx.AsyncClient):
    """An httpx client that uses our own connections and ignores the environment."""

    def __init__(self, transport: AsyncTransport) -> None:
        super().__init__(transport=transport, trust_env=False)
        self.connections = transport
        self._kept = Cookies()

    @property  # type: ignore[misc]  # they are never set
    def cookies(self) -> Cookies:  # type: ignore[override]
        """The cookies that the service has set."""
        return self._kept


class AsyncTransport(httpx.AsyncBaseTransport):
    """Carries requests to one service, each on a connection of its own."""

    def __init__(self, route: Route) -> None:
        # The proxy that connections go through, as errors name it.
        self.proxy_name = route.proxy_name()
        # Only creates connections; it never pools them.
        self._maker = httpcore.AsyncConnectionPool(
            ssl_context=route.ssl_context(),
            proxy=route.proxy(),
            http2=route.http2,
            keepalive_expiry=_IDLE_FOR,
            network_backend=AsyncBackend(),
        )
        self._idle: deque[_AsyncIdle] = deque()
        # Those that are open. When a dropped turn is garbage together with its socket, Python may collect the socket
        # first and warn that it was not closed: held here, it waits for the turn to close it.
        self._streams: set[AsyncStream] = set()
        self._process = os.getpid()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request; returns the answer with its body to be read."""
        sent = httpcore.Request(
            method=request.method,
            url=httpcore.URL(
                scheme=request.url.raw_scheme,
                host=request.url.raw_host,
                port=request.url.port,
                target=request.url.raw_path,
            ),
            headers=request.headers.raw,
            content=request.stream,
            extensions=request.extensions,
        )
        connection = self._take_idle() or self._maker.create_connection(sent.url.origin)
        with httpx_errors():
            try:
                answer = await connection.handle_async_request(sent)
            except BaseException:
                await connection.aclose()
                if (exchange := current_exchange()) is not None:
                    exchange.close_opened()
                raise
        if (stream := async_stream_of(answer)) is not None:
            stream.keep_in(self._streams)
        return httpx.Response(
            answer.status,
            headers=headers_of(answer),
            stream=_AsyncBody(answer, connection, self._idle),
            extensions=extensions_of(answer),
        )

    def _take_idle(self) -> httpcore.AsyncConnectionInterface | None:
        """The last connection that is idle and can still be used here."""
        if self._process != os.getpid():
            # A fork shares the sockets: parent and child would read each other's answers.
            self._process = os.getpid()
            for stream in list(self._streams):
                stream.disown()
            self._streams.clear()
            self._idle.clear()
        here = async_owner()
        # The others stay in place: their threads may be looking for them right now.
        for idle in reversed(list(self._idle)):
            is_usable = idle.is_usable
            if is_usable and idle.owner is not here:
                continue
            try:
                self._idle.remove(idle)
            except ValueError:
                # Another thread was first.
                continue
            if is_usable:
                return idle.connection
            idle.drop()
        return None

    def close_all(self) -> None:
        """Close the sockets of all connections, at once and without an event loop."""
        # First, so that no other thread takes a connection that is closed in this moment.
        self._idle.clear()
        for stream in list(self._streams):
            stream.close()

    async def aclose(self) -> None:
        """Close all connections."""
        self.close_all()


class _AsyncIdle:
    """An idle connection, and the event loop in which it may be used."""

    def __init__(self, connection: httpcore.AsyncConnectionInterface, stream: AsyncStream) -> None:
        self.connection = connection
        self.owner = async_owner()
        self._stream = stream
        stream.rest()

    @property
    def is_usable(self) -> bool:
        """Whether it can carry another request."""
        is_gone = self.owner is not None and self.owner.is_closed()
        return (
            not is_gone and self._stream.is_at_end and self.connection.is_idle() and not self.connection.has_expired()
        )

    def drop(self) -> None:
        """Close its socket, without an event loop."""
        self._stream.close()


class _AsyncBody(httpx.AsyncByteStream):
    """The body of an answer. Once closed, its connection is idle if the body was read to its end."""

    def __init__(
        self, answer: httpcore.Response, connection: httpcore.AsyncConnectionInterface, idle: deque[_AsyncIdle]
    ) -> None:
        self._answer = answer
        self._connection = connection
        self._idle = idle
        self._is_closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with httpx_errors():
            async for part in self._answer.aiter_stream():
                yield part

    async def aclose(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        stream = async_stream_of(self._answer)
        try:
            with httpx_errors():
                await self._answer.aclose()
        except BaseException:
            # If the task is cancelled right here, nothing else would close the socket.
            if stream is not None:
                stream.close()
            raise
        # Bytes after the end would be taken for the answer to the next request.
        if self._connection.is_idle() and stream is not None and stream.is_at_end:
            self._idle.append(_AsyncIdle(self._connection, stream))
            if len(self._idle) > _MOST_IDLE:
                self._idle.popleft().drop()
        else:
            await self._connection.aclose()
