"""The websocket of a turn as a task reads it; `websocket` is the same for a thread."""

from __future__ import annotations

from asyncio import sleep, timeout
from inspect import isawaitable

from websockets.asyncio.client import ClientConnection, connect

from chat_sessions.openhands.confirmation import ConfirmationRequest, OnConfirmation
from chat_sessions.openhands.settings import Settings
from chat_sessions.openhands.sockets import CLOSE_TIMEOUT, LOGGER

__all__ = ["AsyncWebSocket", "async_answer_of"]


class AsyncWebSocket:
    """One websocket after the other: a turn opens a new one where the last one broke."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._socket: ClientConnection | None = None
        self._is_closed = False

    @property
    def _opened(self) -> ClientConnection:
        assert self._socket is not None  # noqa: S101 - `open` made it
        return self._socket

    async def open(self, url: str) -> None:
        """Connect to this address, instead of the last one. Raises one of `CANNOT_OPEN`."""
        if self._socket is not None:
            await self._socket.close()
        self._socket = await connect(
            url,
            open_timeout=self._settings.timeouts.connect,
            close_timeout=CLOSE_TIMEOUT,
            max_size=self._settings.max_event_bytes,
            logger=LOGGER,
            **self._settings.socket_options(),
        )
        if self._is_closed:
            await self._socket.close()

    @property
    def host(self) -> str | None:
        """The host that the handshake was with, or None."""
        request = self._opened.request
        return None if request is None else request.headers.get("Host")

    async def send(self, frame: str) -> None:
        """Send a frame."""
        await self._opened.send(frame)

    async def recv(self, limit: float | None) -> str | bytes:
        """Return the next frame. Raises `TimeoutError` after `limit` seconds."""
        async with timeout(limit):
            return await self._opened.recv()

    async def pause(self, seconds: float) -> bool:
        """Wait; returns whether the socket is still wanted."""
        await sleep(seconds)
        return not self._is_closed

    async def close(self) -> None:
        """Close it at once, or as soon as it is open."""
        self._is_closed = True
        if self._socket is not None:
            await self._socket.close()


async def async_answer_of(on_confirmation: OnConfirmation, request: ConfirmationRequest) -> bool | str:
    """Return what the user's function says to a request."""
    answer = on_confirmation(request)
    return await answer if isawaitable(answer) else answer
