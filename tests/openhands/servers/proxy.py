"""A TCP proxy before a server, to break connections on purpose."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self


class Proxy:
    """Passes bytes on both ways, until `cut` breaks what is open; new connections are passed on again."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        # Called with the first bytes of each connection, when they have been passed on.
        self.on_request: Callable[[bytes], None] = lambda head: None
        # Called with the first bytes of each connection that its client has closed.
        self.on_end: Callable[[bytes], None] = lambda head: None
        # Called with what the server sends; where it is true, that is lost and every connection is cut.
        self.loses: Callable[[bytes], bool] = lambda data: False

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._start(self._accept)
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join()

    def cut(self) -> None:
        """Break every open connection, as a network that fails does: with a RST."""
        for sock in list(self._open):
            abort(sock)

    def _start(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self._port))
            except OSError:
                near.close()
                continue
            self._open |= {near, far}
            self._start(self._pass_on, near, far, True)
            self._start(self._pass_on, far, near, False)

    def _pass_on(self, source: socket.socket, target: socket.socket, is_request: bool) -> None:
        head = b""
        try:
            while data := source.recv(65536):
                if not is_request and self.loses(data):
                    self.cut()
                    return
                target.sendall(data)
                if is_request and not head:
                    head = data
                    self.on_request(head)
        except OSError:
            pass
        finally:
            if head:
                self.on_end(head)
            for sock in (source, target):
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
            self._open.discard(source)
            source.close()


class FrameProxy(Proxy):
    """Cuts websockets between two of the server's frames: the first one since `begin` at its `place`, or each there."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.begin()

    def begin(self, place: int = 0, *, every_socket: bool = False) -> None:
        """Count from 0 again, and lose the frame at this place, from 1, and what follows it; with 0 none."""
        self.sockets = self.frames = self.cuts = 0
        self._place, self._every_socket = place, every_socket

    def _pass_on(self, source: socket.socket, target: socket.socket, is_request: bool) -> None:
        if is_request:
            super()._pass_on(source, target, is_request)
            return
        with suppress(OSError):
            self._answer(source, target)
        for sock in (source, target):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self._open.discard(source)
        source.close()

    def _answer(self, source: socket.socket, target: socket.socket) -> None:
        buffer = b""
        is_websocket = False
        number = 0
        while data := source.recv(65536):
            buffer += data
            if not is_websocket and buffer.startswith(b"HTTP/1.1 101") and b"\r\n\r\n" in buffer:
                is_websocket = True
                head, _, buffer = buffer.partition(b"\r\n\r\n")
                target.sendall(head + b"\r\n\r\n")
                self.sockets += 1
            if not is_websocket:
                if not b"HTTP/1.1 101".startswith(buffer[:12]):
                    target.sendall(buffer)
                    buffer = b""
                continue
            while (size := _frame_size(buffer)) is not None and len(buffer) >= size:
                number += 1
                self.frames = max(self.frames, number)
                if number == self._place and (self._every_socket or not self.cuts):
                    self.cuts += 1
                    abort(source)
                    abort(target)
                    return
                target.sendall(buffer[:size])
                buffer = buffer[size:]


def abort(sock: socket.socket) -> None:
    """Break a connection with a RST."""
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


def _frame_size(data: bytes) -> int | None:
    """The size of the frame of a server that these bytes begin with, in bytes; None if they are too few to tell."""
    if len(data) < 2:
        return None
    extra = {126: 2, 127: 8}.get(data[1], 0)
    if not extra:
        return 2 + data[1]
    return None if len(data) < 2 + extra else 2 + extra + int.from_bytes(data[2 : 2 + extra], "big")
