"""What the local server carries: one reader at full speed, and 200 turns at a model's pace.

The server is a process of its own, with its store in a file. The reader is a plain socket, so that it is not the one
that holds things up. This is time on the wall, so other work of the machine shows in it: the best run counts, for what
the server does wrong it does in each.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import httpx

from benchmarks.row import Row, at_least, at_most
from benchmarks.wires import words
from chat_sessions import Event, TextDelta
from chat_sessions.server import AgentTurn, ServerThread

__all__ = ["rows"]

_BURST = 20_000
_TURNS = 200
_RATE = 25
_SECONDS = 6


class Talker:
    """An agent that says as many words as it is told, as fast as it can or so many a second."""

    async def run(self, turn: AgentTurn) -> AsyncIterator[Event]:
        rate, count = map(int, turn.prompt.split())
        begun = asyncio.get_running_loop().time()
        for number, word in enumerate(words(count)):
            if rate:
                await asyncio.sleep(begun + number / rate - asyncio.get_running_loop().time())
            yield TextDelta(content=word)


class _Server:
    """The server's process."""

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "benchmarks.local_server"]
        self._process = subprocess.Popen(
            command, cwd=Path(__file__).parents[1], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self.url, self.key = str(self._process.stdout.readline()).split()
        self._http = httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {self.key}"})
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._http.close()
        # It ends with its standard input.
        self._process.communicate()

    def create(self) -> str:
        """A session of the server."""
        answer = self._http.post("/api/v1/chat", json={"index_ids": ["idx"]})
        return str(answer.raise_for_status().json()["session_id"])


@dataclass
class _Arrivals:
    """A turn as it came: when its first event was there, when its end, and the longest time between two reads."""

    pieces: list[bytes] = field(default_factory=list[bytes], repr=False)
    first: float = 0.0
    last: float = 0.0
    longest: float = 0.0

    def note(self, data: bytes) -> None:
        now = time.perf_counter()
        if self.first:
            self.longest = max(self.longest, now - self.last)
        elif b"data:" in data:
            self.first = now
        self.last = now
        self.pieces.append(data)

    def check(self, count: int) -> None:
        """Exit unless there were so many deltas, in chunks of their own."""
        body = b"".join(self.pieces).partition(b"\r\n\r\n")[2]
        deltas = chunks = at = 0
        while size := int(body[at : (start := body.index(b"\r\n", at) + 2)], 16):
            found = body.count(b'"text_delta"', start, start + size)
            deltas += found
            chunks += bool(found)
            at = start + size + 2
        if deltas != count or chunks != count:
            raise SystemExit(f"the local server sent {deltas} deltas of {count}, in {chunks} chunks")


async def _read(server: _Server, session_id: str, prompt: str) -> _Arrivals:
    address = urlsplit(server.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    body = f'{{"index_ids":["idx"],"prompt":"{prompt}"}}'
    writer.write(
        f"POST /api/v1/chat/{session_id}/messages/stream HTTP/1.1\r\nHost: {address.netloc}\r\n"
        f"Authorization: Bearer {server.key}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
    )
    arrivals = _Arrivals()
    end = b""
    while not end.endswith(b"\r\n0\r\n\r\n"):
        data = await reader.read(1 << 16)
        if not data:
            raise SystemExit(f"the local server ended a turn after {arrivals.last - arrivals.first:.1f} s")
        arrivals.note(data)
        end = (end + data)[-7:]
    writer.close()
    return arrivals


async def _many(server: _Server) -> list[_Arrivals]:
    sessions = [await asyncio.to_thread(server.create) for _ in range(_TURNS)]
    return await asyncio.gather(*(_read(server, each, f"{_RATE} {_RATE * _SECONDS}") for each in sessions))


def rows(*, repeats: int = 3) -> list[Row]:
    """How many events a second, and the longest stall of any of many turns."""
    speeds: list[float] = []
    stalls: list[float] = []
    with _Server() as server, asyncio.Runner() as runner:
        for _ in range(repeats):
            arrivals = runner.run(_read(server, server.create(), f"0 {_BURST}"))
            arrivals.check(_BURST)
            speeds.append(_BURST / (arrivals.last - arrivals.first))
        for _ in range(2):
            found = runner.run(_many(server))
            for arrivals in found:
                arrivals.check(_RATE * _SECONDS)
            stalls.append(max(arrivals.longest for arrivals in found) * 1e3)
    at = f"{_TURNS} turns at {_RATE} events/s"
    return [
        at_least("server", "local server, one reader, one chunk per event", "≥ 20,000 /s", max(speeds), 20_000, "/s"),
        at_most("server", f"local server, {at}: longest stall", "≤ 250 ms", min(stalls), 250, "ms"),
    ]


def _serve() -> None:
    with tempfile.TemporaryDirectory() as folder:
        documents = Path(folder, "documents")
        documents.mkdir()
        Path(documents, "note.md").write_text("# Note\n\nNothing of note.\n")
        store = f"sqlite:///{Path(folder, 'chat.db')}"
        with ServerThread(indexes={"idx": documents}, agent=Talker(), store=store) as server:
            print(server.url, server.api_key, flush=True)
            sys.stdin.read()


if __name__ == "__main__":
    _serve()
