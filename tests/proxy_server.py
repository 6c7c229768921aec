"""A proxy on a real socket: requests in absolute form, CONNECT, and SOCKS5, each with a password or none."""

from __future__ import annotations

import socket
import struct
import threading
from base64 import b64encode
from contextlib import suppress
from types import TracebackType
from typing import Self

__all__ = ["ProxyServer"]

_OPEN, _PASSWORD = 0, 2


class ProxyServer:
    """Passes bytes on to where a client wants them, and notes the addresses."""

    def __init__(self, *, user: str = "", password: str = "") -> None:
        self._login = (user, password) if user else None
        self.targets: list[str] = []
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._start(self._accept)
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in self._open:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for sock in self._open:
            sock.close()

    def _start(self, target: object, *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                self._open.append(sock)
                self._start(self._serve, sock)

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError):
            begin = client.recv(1)
            if begin == b"\x05":
                self._socks(client)
            elif begin:
                self._http(client, begin)
        with suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)

    def _socks(self, client: socket.socket) -> None:
        methods = _exactly(client, _exactly(client, 1)[0])
        wanted = _OPEN if self._login is None else _PASSWORD
        if wanted not in methods:
            client.sendall(b"\x05\xff")
            return
        client.sendall(bytes([5, wanted]))
        if self._login is not None:
            _exactly(client, 1)
            login = tuple(_exactly(client, _exactly(client, 1)[0]).decode() for _ in range(2))
            client.sendall(bytes([1, login != self._login]))
            if login != self._login:
                return
        kind = _exactly(client, 4)[3]
        host = socket.inet_ntoa(_exactly(client, 4)) if kind == 1 else _exactly(client, _exactly(client, 1)[0]).decode()
        port = struct.unpack("!H", _exactly(client, 2))[0]
        client.sendall(b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00")
        self._tunnel(client, host, port)

    def _http(self, client: socket.socket, begin: bytes) -> None:
        data = begin
        while b"\r\n\r\n" not in data:
            data += client.recv(65536)
        head, _, rest = data.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        method, target, version = first.split(" ")
        headers = {n.lower(): v for n, _, v in (line.partition(": ") for line in lines)}
        if self._login is not None:
            known = b64encode(":".join(self._login).encode()).decode()
            if headers.get("proxy-authorization") != f"Basic {known}":
                client.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
                return
        if method == "CONNECT":
            host, _, port = target.rpartition(":")
            client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            self._tunnel(client, host, int(port))
            return
        host, _, path = target.removeprefix("http://").partition("/")
        kept = [line for line in lines if not line.lower().startswith("proxy-")]
        sent = "\r\n".join([f"{method} /{path} {version}", *kept]).encode() + b"\r\n\r\n" + rest
        name, _, port = host.rpartition(":")
        self._tunnel(client, name, int(port), sent)

    def _tunnel(self, client: socket.socket, host: str, port: int, sent: bytes = b"") -> None:
        self.targets.append(f"{host}:{port}")
        service = socket.create_connection((host.strip("[]"), port))
        self._open.append(service)
        service.sendall(sent)
        self._start(_pass_on, service, client)
        _pass_on(client, service)


def _pass_on(here: socket.socket, there: socket.socket) -> None:
    with suppress(OSError):
        while data := here.recv(65536):
            there.sendall(data)
    for sock in (here, there):
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)


def _exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = sock.recv(size - len(data))
        if not piece:
            raise OSError("the client has gone")
        data += piece
    return data
