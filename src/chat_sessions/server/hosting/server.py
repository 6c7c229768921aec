"""uvicorn, with the application's lifespan around it, and its turns ended before its connections."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError

import uvicorn
from fastapi import FastAPI

from chat_sessions.server.hosting._compat import abort_connections

__all__ = ["Server"]

# Connections whose clients have stopped reading are cut after this many seconds.
_CLOSE_TIMEOUT = 1.0

# Without any handler, Python would print warnings and tracebacks to the terminal.
for _name in ("uvicorn", "chat_sessions"):
    logging.getLogger(_name).addHandler(logging.NullHandler())


class Server:
    """Serves an application on a socket until `end` is called or, in the main thread, SIGINT or SIGTERM arrives."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        self._ending: Future[None] = Future()
        self._hurrying: Future[None] = Future()

    def end(self) -> None:
        """Accept no more connections, let running turns drain, then end. Safe from any thread, and at any time."""
        with contextlib.suppress(InvalidStateError):
            self._ending.set_result(None)

    def hurry(self) -> None:
        """End at once: turns that drain are closed as errors."""
        with contextlib.suppress(InvalidStateError):
            self._hurrying.set_result(None)

    async def run(self, listener: socket.socket, *, on_listening: Callable[[], None]) -> None:
        """Serve. Raises what the lifespan raises, which uvicorn would only log before it exits."""
        config = uvicorn.Config(self._app, lifespan="off", log_config=None, access_log=False, ws="none")
        server = uvicorn.Server(config)
        async with self._app.state.lifespan(self._app):
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            await asyncio.sleep(0)
            # By now uvicorn has installed signal handlers, which would raise each signal again when it has ended. It
            # restores the caller's.
            if threading.current_thread() is threading.main_thread():
                for number in (signal.SIGINT, signal.SIGTERM):
                    signal.signal(number, self._hear)
            try:
                on_listening()
                await _either(serving, self._ending)
                # First stop accepting, so that a proxy in front sends new requests elsewhere; then end the turns and
                # with them their streams; then the connections.
                server.should_exit = True
                await self._close_turns()
                await asyncio.wait([serving], timeout=_CLOSE_TIMEOUT)
            finally:
                server.should_exit = True
                abort_connections(server)
                await serving

    def _hear(self, number: int, _frame: object) -> None:
        if self._ending.done() and number == signal.SIGINT:
            self.hurry()
        self.end()

    async def _close_turns(self) -> None:
        close_turns = self._app.state.close_turns
        closing = asyncio.create_task(close_turns())
        await _either(closing, self._hurrying)
        if not closing.done():
            await close_turns(0.0)
        await closing


async def _either(task: asyncio.Task[None], future: Future[None]) -> None:
    await asyncio.wait([task, asyncio.wrap_future(future)], return_when=asyncio.FIRST_COMPLETED)
