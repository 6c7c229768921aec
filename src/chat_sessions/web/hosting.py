"""The page in a process of its own, or beside the caller."""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import Callable

import uvicorn
from starlette.types import ASGIApp

from chat_sessions.core.errors import ConfigurationError

__all__ = ["Listener", "run", "serve"]

_LOOPBACK = "127.0.0.1"


class Listener:
    """A port on this machine and the token of its page.

    Raises `ConfigurationError` for a port that is in use; `option` is what chooses another.
    """

    def __init__(self, port: int = 0, *, option: str = "--port") -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self.socket.bind((_LOOPBACK, port))
        except (OSError, OverflowError) as error:
            self.socket.close()
            raise ConfigurationError(f"port {port} cannot be used ({error}); {option} 0 takes a free one") from error
        self.port: int = self.socket.getsockname()[1]
        self.token = secrets.token_urlsafe(24)

    @property
    def hosts(self) -> tuple[str, ...]:
        """The names under which the page is served."""
        return f"{_LOOPBACK}:{self.port}", f"localhost:{self.port}"

    @property
    def address(self) -> str:
        """The address that opens the page, with its token."""
        return self.address_of("/")

    def address_of(self, path: str) -> str:
        """Return the address that opens a view of the page, with its token."""
        return f"http://{_LOOPBACK}:{self.port}{path}?token={self.token}"


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
