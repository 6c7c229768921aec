"""The sockets of sync connections, as a network backend of httpcore whose reads heed the exchange in force."""

from __future__ import annotations

from asyncio import AbstractEventLoop
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import Any, cast

import httpcore
import httpx

from chat_sessions.http.connection.exchange import current_exchange
from chat_sessions.http.connection.framing import Framing

__all__ = ["Backend", "Stream", "extensions_of", "headers_of", "httpx_error", "httpx_errors", "owner", "stream_of"]

_READ_SIZE = 64 * 1024

_ERRORS: dict[type[Exception], type[httpx.RequestError]] = {
    error: getattr(httpx, name)
    for name, error in vars(httpcore).items()
    if isinstance(error, type) and issubclass(error, Exception) and hasattr(httpx, name)
}


@contextmanager
def httpx_errors() -> Generator[None]:
    """Raise httpcore's errors as httpx's of the same names."""
    try:
        yield
    except tuple(_ERRORS) as error:
        raise httpx_error(error) from error
    except httpx.InvalidURL as error:
        # httpx reads the address of a redirect that it does not follow.
        raise httpx.RemoteProtocolError(f"it redirects to an invalid address: {error}") from error
    except Exception as error:
        # httpcore passes on the errors of socksio, which may not be installed.
        if type(error).__module__ != "socksio.exceptions":
            raise
        raise httpx.ProxyError("it closed the connection, or does not speak SOCKS") from error


def httpx_error(error: Exception) -> httpx.RequestError:
    """Return httpcore's error as httpx's of the same name."""
    return _ERRORS[type(error)](str(error))


def owner() -> AbstractEventLoop | None:
    """Return None: a sync connection may be used by any thread."""
    return None


def extensions_of(answer: httpcore.Response) -> dict[str, Any]:
    """Return what httpcore says about an answer."""
    return dict(cast("Any", answer).extensions)


def headers_of(answer: httpcore.Response) -> list[tuple[bytes, bytes]]:
    """Return an answer's headers, without a redirect's `Location`: it is not followed, but httpx would parse it."""
    is_redirect = 300 <= answer.status < 400
    return [(name, value) for name, value in answer.headers if not (is_redirect and name.lower() == b"location")]


def stream_of(answer: httpcore.Response) -> Stream | None:
    """Return our connection under an answer."""
    stream = extensions_of(answer).get("network_stream")
    return stream if isinstance(stream, Stream) else None


class Stream(httpcore.NetworkStream):
    """A connection: httpcore's own, with bounded reads and a body that can be read directly."""

    def __init__(self, inner: httpcore.NetworkStream) -> None:
        self._inner = inner
        self._framing = Framing()
        self._open: set[Stream] = set()

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read for httpcore."""
        if kept := self._framing.take_kept():
            return kept
        exchange = current_exchange()
        while True:
            data = self._inner.read(max_bytes, timeout if exchange is None else exchange.limit(timeout))
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

    def read_body(self, timeout: float | None) -> bytes:
        """Read once, and return the body content: empty at the body's end, of which the parser reads the rest.

        Also empty if no content has arrived yet; `can_read_body` is then still true. Raises httpcore's errors.
        """
        framing = self._framing
        content = framing.take_content()
        if content or not framing.is_body:
            return content
        if not (data := self._inner.read(_READ_SIZE, timeout)):
            framing.ended()
            return b""
        return framing.content(data)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Write for httpcore."""
        self._framing.wrote(buffer)
        if buffer and (exchange := current_exchange()) is not None:
            exchange.connected(self._inner.get_extra_info("socket"))
            exchange.wrote(buffer, is_http2=self._framing.is_http2)
        self._inner.write(buffer, timeout)

    def start_tls(self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None) -> Stream:
        """Start TLS, and return the encrypted connection."""
        return Stream(self._inner.start_tls(ssl_context, server_hostname, timeout))

    def rest(self) -> None:
        """Note that the connection is idle. There is nothing to do: a sync read leaves nothing behind."""

    def keep_in(self, streams: set[Stream]) -> None:
        """Add the connection to `streams` until it is closed."""
        self._open = streams
        streams.add(self)

    def close(self) -> None:
        """Close the socket."""
        self._inner.close()
        self._open.discard(self)

    def disown(self) -> None:
        """Close a forked process's copy of the socket."""
        self.close()

    def get_extra_info(self, info: str) -> Any:
        """Return what httpcore asks of a connection."""
        return self._inner.get_extra_info(info)


class Backend(httpcore.NetworkBackend):
    """Opens connections."""

    def __init__(self) -> None:
        self._inner = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> Stream:
        """Connect."""
        stream = Stream(self._inner.connect_tcp(host, port, timeout, local_address, socket_options))
        if (exchange := current_exchange()) is not None:
            exchange.opened(stream)
        return stream
