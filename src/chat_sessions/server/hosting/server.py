"""uvicorn, with the application's lifespan around it, and its turns ended before its connections."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import threading
from collections.abc import Callable, Generator
from concurrent.futures import Future, InvalidStateError

import uvicorn
from fastapi import FastAPI

from chat_sessions.server.hosting._compat import abort_connections

__all__ = ["Server"]

# Connections whose clients have stopped reading are cut after this many seconds.
_CLOSE_TIMEOUT = 1.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM)

# Without a handler somewhere, Python prints warnings and tracebacks to the terminal.
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
        _set(self._ending)

    def hurry(self) -> None:
        """End at once: turns that drain are closed as errors."""
        _set(self._hurrying)

    async def run(self, listener: socket.socket, *, on_listening: Callable[[], None]) -> None:
        """Serve. Raises what the lifespan raises, where uvicorn by itself would log it and exit."""
        config = uvicorn.Config(self._app, lifespan="off", log_config=None, access_log=False, ws="none")
        server = uvicorn.Server(config)
        async with self._app.state.lifespan(self._app):
            with self._heard() as hear:
                serving = asyncio.create_task(server.serve(sockets=[listener]))
                await asyncio.sleep(0)
                # By now uvicorn has installed handlers of its own, and would raise their signals again at its end.
                hear()
                try:
                    on_listening()
                    await _either(serving, self._ending)
                    # First nothing new is accepted, so that a proxy in front of the server sends it elsewhere; then
                    # the turns end, and their streams with them; then the connections.
                    server.should_exit = True
                    await self._close_turns()
                    await asyncio.wait([serving], timeout=_CLOSE_TIMEOUT)
                finally:
                    server.should_exit = True
                    abort_connections(server)
                    await serving

    async def _close_turns(self) -> None:
        close_turns = self._app.state.close_turns
        closing = asyncio.create_task(close_turns())
        await _either(closing, self._hurrying)
        if not closing.done():
            await close_turns(0.0)
        await closing

    @contextlib.contextmanager
    def _heard(self) -> Generator[Callable[[], None]]:
        """Take over the signals that end a server, and return them at the end.

        Yields the function that takes them over again. Outside the main thread it does nothing, as no signal
        arrives there.
        """

        def heard(number: int, _frame: object) -> None:
            if self._ending.done() and number == signal.SIGINT:
                self.hurry()
            self.end()

        def hear() -> None:
            for number in handlers:
                signal.signal(number, heard)

        is_main = threading.current_thread() is threading.main_thread()
        handlers = {number: signal.getsignal(number) for number in _SIGNALS if is_main}
        hear()
        try:
            yield hear
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler or signal.SIG_DFL)


async def _either(task: asyncio.Task[None], future: Future[None]) -> None:
    await asyncio.wait([task, asyncio.wrap_future(future)], return_when=asyncio.FIRST_COMPLETED)


def _set(future: Future[None]) -> None:
    with contextlib.suppress(InvalidStateError):
        future.set_result(None)
