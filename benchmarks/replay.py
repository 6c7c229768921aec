"""A server in a process of its own that replays one recorded turn as fast as the socket takes it."""

from __future__ import annotations

import json
import socket
import threading

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
STOP = {"type": "stop", "usage": {"total_input_tokens": 1}, "is_error": False, "error": None}


def event(body: dict[str, object]) -> bytes:
    return b"event: delta\ndata: " + json.dumps(body).encode() + b"\n\n"


def chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def turn(count: int, framing: str) -> bytes:
    """The answer to a post: `count` deltas, one chunk per event ("chunk") or chunks of 16 KiB ("co16")."""
    events = [event({"type": "text_delta", "content": f"tok{n % 10} "}) for n in range(count)] + [event(STOP)]
    if framing == "chunk":
        return HEAD + b"".join(map(chunk, events)) + b"0\r\n\r\n"
    data = b"".join(events)
    return HEAD + b"".join(chunk(data[i : i + 16384]) for i in range(0, len(data), 16384)) + b"0\r\n\r\n"


def serve(ready: object, count: int) -> None:
    """Answer each POST with the turn that the session id names, e.g. `/api/v1/chat/co16/messages/stream`."""
    answers = {framing: turn(count, framing) for framing in ("co16", "chunk")}
    listener = socket.create_server(("127.0.0.1", 0))
    ready.send(listener.getsockname()[1])  # type: ignore[attr-defined]

    def answer(sock: socket.socket) -> None:
        buffer = b""
        with sock:
            while True:
                while b"\r\n\r\n" not in buffer:
                    data = sock.recv(65536)
                    if not data:
                        return
                    buffer += data
                head, _, buffer = buffer.partition(b"\r\n\r\n")
                size = int(
                    next(
                        (
                            v
                            for k, _, v in (h.partition(b": ") for h in head.split(b"\r\n"))
                            if k.lower() == b"content-length"
                        ),
                        b"0",
                    )
                )
                while len(buffer) < size:
                    buffer += sock.recv(65536)
                buffer = buffer[size:]
                sock.sendall(answers["chunk" if b"/chunk/" in head.split(b"\r\n")[0] else "co16"])

    while True:
        sock, _ = listener.accept()
        threading.Thread(target=answer, args=(sock,), daemon=True).start()
