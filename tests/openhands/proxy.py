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
            with suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

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
        tells = is_request
        try:
            while data := source.recv(65536):
                if not is_request and self.loses(data):
                    self.cut()
                    return
                target.sendall(data)
                if tells:
                    self.on_request(data)
                    tells = False
        except OSError:
            pass
        finally:
            for sock in (source, target):
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
            self._open.discard(source)
            source.close()
