"""A server that says exactly what a test tells it to, byte by byte, on a real socket.

The local server keeps to the API; this one can break it.
"""

from __future__ import annotations

import json
import os
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from chat_sessions.core.events import Event, dump_event


@dataclass
class Request:
    """One request as it came."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Connection:
    """The server's end of one request. Everything is sent at once; nothing is buffered."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    @property
    def client_port(self) -> int:
        return int(self._sock.getpeername()[1])

    def send(self, data: bytes) -> None:
        self._sock.sendall(data)

    def respond(self, status: int, body: object = None, *, headers: dict[str, str] | None = None) -> None:
        """A whole answer; the connection stays open for the next request."""
        content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(content)}", "Content-Type: application/json"]
        lines = lines[:2] if headers and any(name.lower() == "content-type" for name in headers) else lines
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        self.send("\r\n".join(lines).encode() + b"\r\n\r\n" + content)

    def start_stream(self, content_type: str = "text/event-stream; charset=utf-8") -> None:
        self.send(f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nTransfer-Encoding: chunked\r\n\r\n".encode())

    def chunk(self, data: bytes) -> None:
        self.send(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def events(self, *events: Event) -> None:
        for event in events:
            self.chunk(b"data: " + json.dumps(dump_event(event), ensure_ascii=False).encode() + b"\n\n")

    def end_stream(self) -> None:
        self.send(b"0\r\n\r\n")

    def below(self) -> socket.socket:
        """The socket under the connection's TLS, as another one."""
        return socket.socket(fileno=os.dup(self._sock.fileno()))

    def reset(self) -> None:
        """Break the connection as a crashed peer does: with a RST."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._sock.close()

    def keep_alive(self, *events: Event) -> None:
        """Send these events, or a comment if there are none, again and again until the client has gone."""
        self._sock.settimeout(0.02)
        with suppress(OSError):
            while True:
                self.events(*events) if events else self.chunk(b": still here\n\n")
                with suppress(TimeoutError):
                    if not self._sock.recv(4096):
                        return

    def wait_until_closed(self) -> None:
        """Return when the client has closed its end."""
        with suppress(OSError):
            while self._sock.recv(4096):
                pass


Handler = Callable[[Request, Connection], None]


_ports: set[int] = set()


def _new_listener(host: str, family: socket.AddressFamily) -> socket.socket:
    """Listen on a port that no earlier test had: what is known of its sessions may wait for the garbage collector."""
    others: list[socket.socket] = []
    while (listener := socket.create_server((host, 0), family=family)).getsockname()[1] in _ports:
        others.append(listener)
    for other in others:
        other.close()
    _ports.add(listener.getsockname()[1])
    return listener


@dataclass
class WireServer:
    """Answers each request with the next handler for it; the last one is used again and again."""

    host: str = "127.0.0.1"
    tls: ssl.SSLContext | None = None
    requests: list[Request] = field(default_factory=list[Request])
    # Released for each connection that has ended.
    ended: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    _handlers: list[tuple[str, str, list[Handler]]] = field(default_factory=list[tuple[str, str, list[Handler]]])

    def on(self, method: str, path: str, *handlers: Handler) -> None:
        """Handlers for requests of this method whose path ends so; later calls come first."""
        self._handlers.insert(0, (method, path, list(handlers)))

    def posts(self, path: str = "/messages/stream") -> list[Request]:
        return [r for r in self.requests if r.method == "POST" and r.target.partition("?")[0].endswith(path)]

    def was_left(self) -> bool:
        """Whether every connection that was made has been closed by the client, which is waited for."""
        for thread in self._threads:
            thread.join(30)
        return not any(thread.is_alive() for thread in self._threads)

    def __enter__(self) -> Self:
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        self._listener = _new_listener(self.host, family)
        self.port = self._listener.getsockname()[1]
        host = f"[{self.host}]" if ":" in self.host else self.host
        self.url = f"{'https' if self.tls else 'http'}://{host}:{self.port}"
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._acceptor.join()
        for sock in list(self._open):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self._open.add(sock)
            thread = threading.Thread(target=self._serve, args=(sock,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, plain: socket.socket) -> None:
        try:
            with plain if self.tls is None else self.tls.wrap_socket(plain, server_side=True) as sock:
                self.converse(sock)
        except OSError:
            plain.close()
        finally:
            self._open.discard(plain)
            self.ended.release()

    def converse(self, sock: socket.socket) -> None:
        """Read one request after another, and answer each."""
        buffer = b""
        while True:
            while b"\r\n\r\n" not in buffer:
                data = sock.recv(65536)
                if not data:
                    return
                buffer += data
            head, _, buffer = buffer.partition(b"\r\n\r\n")
            first, *lines = head.decode().split("\r\n")
            method, target, _ = first.split(" ")
            headers = {n.lower(): v for n, _, v in (line.partition(": ") for line in lines)}
            size = int(headers.get("content-length", 0))
            while len(buffer) < size:
                buffer += sock.recv(65536)
            request = Request(method, target, headers, buffer[:size])
            buffer = buffer[size:]
            self.answer(request, Connection(sock))
            if sock.fileno() < 0:
                return

    def answer(self, request: Request, connection: Connection) -> None:
        """Note the request, and let its handler answer."""
        self.requests.append(request)
        self._handler(request)(request, connection)

    def _handler(self, request: Request) -> Handler:
        path = request.target.partition("?")[0]
        for method, suffix, handlers in self._handlers:
            if method == request.method and path.endswith(suffix):
                return handlers.pop(0) if len(handlers) > 1 else handlers[0]
        return lambda _, connection: connection.respond(404, {"detail": "Not Found"})
