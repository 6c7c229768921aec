"""One recorded turn, played again and again behind the real fault proxy.

A real server takes tens of milliseconds for a turn of 200 events; here its bytes are played, so
that every one of them can be the last.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from contextlib import suppress
from itertools import count
from types import TracebackType
from typing import Self

import httpx

from chat_sessions import LlamaCloudChat, LocalServer, Timeouts
from chat_sessions.testing import FaultProxy, Faults

QUESTION = "What rose?"


def record(server: LocalServer) -> tuple[bytes, bytes]:
    """The body of a turn's stream and of the session afterwards, from a real server."""
    session = server.client().session().create()
    headers = {"Authorization": f"Bearer {server.api_key}"}
    with httpx.Client(base_url=server.url, headers=headers, timeout=60) as client:
        body = {"index_ids": list(server.index_ids), "prompt": QUESTION}
        stream = client.post(f"/api/v1/chat/{session}/messages/stream", json=body).content
        return stream, client.get(f"/api/v1/chat/{session}").content


class Playback:
    """A server that answers each message with `stream` and each read with `history`, behind a `FaultProxy`.

    Each session that is created has, when it is read, that one turn: ask it once.
    """

    def __init__(self, stream: bytes, history: bytes) -> None:
        self._stream = stream
        self._history = json.loads(history)
        self._numbers = count()
        self.faults = Faults()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run)

    def client(self) -> LlamaCloudChat:
        port = self._listener.getsockname()[1]
        # One look suffices: the recorded turn has ended.
        timeouts = Timeouts(first_event=10, idle=10, recovery=10)
        return LlamaCloudChat(
            api_key="k", base_url=f"http://127.0.0.1:{port}", index_ids=["idx-docs"], timeouts=timeouts
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._listener.close()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        async with FaultProxy(self._listener, server.sockets[0].getsockname()[1], self.faults):
            await self._stop.wait()
        server.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            method, path, _ = head.decode().split(" ", 2)
            content_type, body = "text/event-stream", self._stream
            target = path.partition("?")[0]
            if not target.endswith("/messages/stream"):
                session_id = target.split("/")[4] if method == "GET" else f"ses-{next(self._numbers)}"
                session = {**self._history, "session_id": session_id}
                content_type, body = "application/json", json.dumps(session).encode()
            answer = f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
            writer.write(answer.encode() + body)
            await reader.read()
        writer.close()
