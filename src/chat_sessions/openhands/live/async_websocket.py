"""The websocket of a turn as a task reads it; `websocket` is the same for a thread."""

from __future__ import annotations

import os
import weakref
from asyncio import AbstractEventLoop, CancelledError, Task, current_task, sleep, timeout
from collections.abc import Mapping
from contextlib import suppress
from inspect import isawaitable
from socket import SHUT_RDWR
from typing import cast

from websockets.asyncio.client import ClientConnection, connect

from chat_sessions.core.errors import ConfigurationError
from chat_sessions.http.lease import check_loop, check_process
from chat_sessions.http.secrets import Concealed
from chat_sessions.openhands.confirmation import ConfirmationRequest, OnConfirmation
from chat_sessions.openhands.live.sockets import CLOSE_TIMEOUT, LOGGER, READ_OFF, handshake
from chat_sessions.openhands.settings import Settings
from chat_sessions.session.waiting import is_running, running_loop

__all__ = ["AsyncWebSocket", "async_answer_of"]


class AsyncWebSocket:
    """The websocket of a turn, which opens a new one when it breaks."""

    def __init__(self, settings: Settings, headers: Mapping[str, str]) -> None:
        self._settings = settings
        self._headers = Concealed(headers)
        self._socket: ClientConnection | None = None
        self._opening: Task[ClientConnection] | None = None
        self._loop = running_loop()
        self._process = os.getpid()
        self._is_closed = False

    @property
    def _opened(self) -> ClientConnection:
        assert self._socket is not None  # noqa: S101 - `open` made it
        return self._socket

    async def open(self, url: str) -> None:
        """Connect to this address, instead of the last one. Raises one of `CANNOT_OPEN`."""
        if self._socket is not None:
            await self._socket.close()
        # A task of its own, as `stop` must end it and not the reader.
        self._opening = self._loop.create_task(self._connect(url))
        try:
            if self._is_closed:
                self._hang_up()
            self._socket = await self._opening
        except CancelledError:
            if self._is_closed and (task := current_task()) is not None and not task.cancelling():
                raise ConnectionAbortedError("the stream was closed") from None
            raise
        finally:
            self._opening = None
        # A stream that was dropped without being closed: the event loop would keep its socket open.
        weakref.finalize(self, _drop, self._socket, self._loop, self._process).atexit = False
        if self._is_closed:
            await self._socket.close()

    async def _connect(self, url: str) -> ClientConnection:
        options = self._settings.socket_options(self._headers)
        with handshake():
            return await connect(
                url,
                open_timeout=self._settings.timeouts.connect,
                close_timeout=CLOSE_TIMEOUT,
                max_size=self._settings.max_event_bytes * READ_OFF,
                logger=LOGGER,
                **options,
            )

    @property
    def host(self) -> str | None:
        """The host that the handshake was with, or None."""
        request = self._opened.request
        return None if request is None else request.headers.get("Host")

    async def send(self, frame: str) -> None:
        """Send a frame."""
        await self._opened.send(frame)

    async def recv(self, limit: float | None) -> str | bytes:
        """Return the next frame. Raises `TimeoutError` after `limit` seconds.

        Raises `ConfigurationError` in another event loop, and in a forked process.
        """
        check_process(self._process)
        check_loop(self._loop)
        async with timeout(limit):
            return await self._opened.recv()

    async def pause(self, seconds: float) -> bool:
        """Wait; returns whether the socket is still wanted."""
        await sleep(seconds)
        return not self._is_closed

    def stop(self) -> None:
        """End what waits for it, opening included, from any thread."""
        self._is_closed = True
        if self._process == os.getpid():
            with suppress(RuntimeError):
                # The loop may have ended.
                self._loop.call_soon_threadsafe(self._hang_up)

    def _hang_up(self) -> None:
        if self._opening is not None:
            self._opening.cancel()
        elif self._socket is not None:
            self._socket.transport.abort()

    async def close(self) -> None:
        """Close it at once, whether it is open or being opened."""
        self._is_closed = True
        if self._process != os.getpid() or not is_running(self._loop):
            self.stop()
            if self._socket is not None:
                _drop(self._socket, self._loop, self._process)
        elif self._opening is not None:
            self._hang_up()
        elif self._socket is not None:
            await self._socket.close()


def _drop(socket: ClientConnection, loop: AbstractEventLoop, process: int) -> None:
    """Close a socket from outside of its event loop, which may have ended."""
    if process != os.getpid():
        # The parent's: what is shut down here would end its turn.
        return
    try:
        loop.call_soon_threadsafe(socket.transport.abort)
    except RuntimeError:
        # A transport that is closed has no socket any more.
        if (left := socket.transport.get_extra_info("socket")) is not None:
            with suppress(OSError):
                left.shutdown(SHUT_RDWR)


async def async_answer_of(on_confirmation: OnConfirmation, request: ConfirmationRequest) -> bool | str:
    """Return what the user's function says to a request. Raises `ConfigurationError` for another answer."""
    said = on_confirmation(request)
    answer = cast("object", await said if isawaitable(said) else said)
    if isinstance(answer, bool | str):
        return answer
    raise ConfigurationError("on_confirmation must return True, False or a reason")
