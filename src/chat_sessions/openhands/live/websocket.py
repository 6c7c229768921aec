"""The websocket of a turn as a thread reads it; `async_websocket` is the same for a task.

`websockets` has only one sync client, which reads in a thread of its own.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from inspect import iscoroutine
from socket import SHUT_RDWR
from ssl import SSLSocket
from typing import Any, cast

from websockets.sync.client import ClientConnection, connect

from chat_sessions.core.errors import ConfigurationError
from chat_sessions.http.lease import check_process
from chat_sessions.http.secrets import Concealed
from chat_sessions.openhands.confirmation import ConfirmationRequest, OnConfirmation
from chat_sessions.openhands.live.sockets import CLOSE_TIMEOUT, LOGGER, READ_OFF, handshake
from chat_sessions.openhands.live.tls_socket import TlsSocket
from chat_sessions.openhands.settings import Settings

__all__ = ["WebSocket", "answer_of"]


class WebSocket:
    """The websocket of a turn, which opens a new one when it breaks."""

    def __init__(self, settings: Settings, headers: Mapping[str, str]) -> None:
        self._settings = settings
        self._headers = Concealed(headers)
        self._opening: ClientConnection | None = None
        self._stack = ExitStack()
        self._socket: ClientConnection | None = None
        self._closing = threading.Event()
        self._process = os.getpid()

    @property
    def _opened(self) -> ClientConnection:
        assert self._socket is not None  # noqa: S101 - `open` made it
        return self._socket

    def open(self, url: str) -> None:
        """Connect to this address, instead of the last one. Raises one of `CANNOT_OPEN`."""
        self._stack.close()
        options = self._settings.socket_options(self._headers)
        with handshake():
            opening = cast("Any", connect)(
                url,
                open_timeout=self._settings.timeouts.connect,
                close_timeout=CLOSE_TIMEOUT,
                max_size=self._settings.max_event_bytes * READ_OFF,
                logger=LOGGER,
                create_connection=self._begun,
                **options,
            )
        self._socket = self._stack.enter_context(opening)
        self._opening = None
        # A stream that was dropped without being closed: its socket's thread must end.
        weakref.finalize(self, _hang_up, self._socket, self._process).atexit = False
        if self._closing.is_set():
            self._stack.close()

    def _begun(self, socket: Any, *arguments: Any, **more: Any) -> ClientConnection:
        """Make the connection object; TCP and TLS are up, the handshake is still to come."""
        if isinstance(socket, SSLSocket):
            socket = TlsSocket(socket)
        self._opening = made = ClientConnection(socket, *arguments, **more)
        if self._closing.is_set():
            _hang_up(made, self._process)
        return made

    @property
    def host(self) -> str | None:
        """The host that the handshake was with, or None."""
        request = self._opened.request
        return None if request is None else request.headers.get("Host")

    def send(self, frame: str) -> None:
        """Send a frame."""
        self._opened.send(frame)

    def recv(self, limit: float | None) -> str | bytes:
        """Return the next frame. Raises `TimeoutError` after `limit` seconds, `ConfigurationError` in a fork."""
        check_process(self._process)
        return self._opened.recv(timeout=limit)

    def pause(self, seconds: float) -> bool:
        """Wait; returns whether the socket is still wanted."""
        return not self._closing.wait(seconds)

    def stop(self) -> None:
        """End what waits for it, the handshake included, from any thread."""
        self._closing.set()
        for socket in (self._opening, self._socket):
            if socket is not None:
                _hang_up(socket, self._process)

    def close(self) -> None:
        """Close it at once, also within its handshake; in any thread."""
        self._closing.set()
        if self._process != os.getpid():
            # A closing frame would end the parent's turn: only this process's copy of the socket is closed.
            self._stack.pop_all()
            if self._socket is not None:
                self._socket.socket.close()
            return
        if self._opening is not None:
            _hang_up(self._opening, self._process)
        self._stack.close()


def answer_of(on_confirmation: OnConfirmation, request: ConfirmationRequest) -> bool | str:
    """Return what the user's function says to a request. Raises `ConfigurationError` for a coroutine."""
    answer = on_confirmation(request)
    if isinstance(answer, bool | str):
        return answer
    if iscoroutine(answer):
        answer.close()
    raise ConfigurationError(
        "on_confirmation must return True, False or a reason; only the async client awaits an answer"
    )


def _hang_up(socket: ClientConnection, process: int) -> None:
    # If a fork shut down the parent's socket, it would end the parent's turn.
    if process == os.getpid():
        with suppress(OSError):
            socket.socket.shutdown(SHUT_RDWR)
