"""Serve the page, on a port that is opened first."""

from __future__ import annotations

import asyncio
import errno
import secrets
import socket
from collections.abc import Callable
from ipaddress import ip_address

import uvicorn
from starlette.types import ASGIApp

from chat_sessions.core.errors import ConfigurationError

__all__ = ["Listener", "run", "serve"]

_LOOPBACK = "127.0.0.1"
_EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 (asked for by name)


class Listener:
    """A port on this machine and the token of its page. `host` is the address or name that it listens on.

    Raises `ConfigurationError` for a port in use and for a host that is not this machine's; the message names `option`
    as the way to choose another port.
    """

    def __init__(self, port: int = 0, *, host: str = _LOOPBACK, option: str = "--port") -> None:
        try:
            family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        except (OSError, OverflowError, UnicodeError) as error:
            raise ConfigurationError(f"{host} is not an address of this machine ({error})") from error
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self.socket.bind(address)
        except (OSError, OverflowError) as error:
            self.socket.close()
            reason = f"cannot be used ({error})"
            if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
                reason = f"is already in use on {host}"
            raise ConfigurationError(f"port {port} {reason}; {option} 0 takes a free one") from error
        self.port: int = self.socket.getsockname()[1]
        self.token = secrets.token_urlsafe(24)
        self._host = host
        self.is_private = ip_address(self.socket.getsockname()[0]).is_loopback

    @property
    def hosts(self) -> tuple[str, ...]:
        """The names under which the page is served."""
        names = [self._host]
        if self.is_private or self._host in _EVERYWHERE:
            names += [_LOOPBACK, "localhost"]
        if self._host in _EVERYWHERE:
            names += [socket.gethostname(), *_own_addresses()]
        return tuple(dict.fromkeys(f"{_in_url(name)}:{self.port}" for name in names))

    @property
    def address(self) -> str:
        """The address that opens the page, with its token."""
        host = _LOOPBACK if self._host in _EVERYWHERE else self._host
        return f"http://{_in_url(host)}:{self.port}/?token={self.token}"


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _own_addresses() -> list[str]:
    try:
        return [str(found[4][0]) for found in socket.getaddrinfo(socket.gethostname(), None, type=socket.SOCK_STREAM)]
    except OSError:
        return []


async def serve(app: ASGIApp, listener: Listener, *, on_listening: Callable[[], None] = lambda: None) -> None:
    """Serve the page until the task is cancelled or, in the main thread, until Ctrl-C."""
    config = uvicorn.Config(
        app,
        # The page has no web sockets, and no library for them is loaded.
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        # Feeds stay open as long as their pages.
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    task = asyncio.ensure_future(server.serve(sockets=[listener.socket]))
    listener.socket.listen()
    on_listening()
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        server.should_exit = True
        await task
        raise


def run(app: ASGIApp, listener: Listener, *, on_listening: Callable[[], None] = lambda: None) -> None:
    """Serve the page until Ctrl-C."""
    asyncio.run(serve(app, listener, on_listening=on_listening))
