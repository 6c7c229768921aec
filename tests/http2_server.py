"""`WireServer` over HTTP/2: one connection per client, one request on it at a time."""

from __future__ import annotations

import json
import socket

import h2.config
import h2.connection
import h2.events

from tests.wire_server import Connection, Request, WireServer

__all__ = ["HTTP2WireServer"]


class HTTP2Connection(Connection):
    """The server's end of one request: what is sent goes into frames."""

    def __init__(self, sock: socket.socket, state: h2.connection.H2Connection, stream_id: int) -> None:
        super().__init__(sock)
        self._state = state
        self._stream_id = stream_id

    def _head(self, status: int, content_type: str) -> None:
        self._state.send_headers(self._stream_id, [(":status", str(status)), ("content-type", content_type)])
        self._flush()

    def _flush(self) -> None:
        self._sock.sendall(self._state.data_to_send())

    def respond(self, status: int, body: object = None, *, headers: dict[str, str] | None = None) -> None:
        self._head(status, "application/json")
        self.chunk(json.dumps(body).encode())
        self.end_stream()

    def start_stream(self, content_type: str = "text/event-stream; charset=utf-8") -> None:
        self._head(200, content_type)

    def chunk(self, data: bytes) -> None:
        self._state.send_data(self._stream_id, data)
        self._flush()

    def end_stream(self) -> None:
        self._state.end_stream(self._stream_id)
        self._flush()


class HTTP2WireServer(WireServer):
    """Answers as `WireServer` does, in HTTP/2."""

    def converse(self, sock: socket.socket) -> None:
        state = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        state.initiate_connection()
        sock.sendall(state.data_to_send())
        heads: dict[int, dict[str, str]] = {}
        bodies: dict[int, bytes] = {}
        while data := sock.recv(65536):
            for event in state.receive_data(data):
                if isinstance(event, h2.events.RequestReceived):
                    heads[event.stream_id] = {name.decode(): value.decode() for name, value in event.headers}
                    bodies[event.stream_id] = b""
                elif isinstance(event, h2.events.DataReceived):
                    bodies[event.stream_id] += event.data
                    state.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, h2.events.StreamEnded):
                    head = heads.pop(event.stream_id)
                    request = Request(head[":method"], head[":path"], head, bodies.pop(event.stream_id))
                    self.answer(request, HTTP2Connection(sock, state, event.stream_id))
                    if sock.fileno() < 0:
                        return
            sock.sendall(state.data_to_send())
