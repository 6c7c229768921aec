"""A server in a process of its own that replays a turn, so that none of its work is on the reader's bill.

The session, or the first part of the path, says what is sent (`Plan`):

- `chunk-10000`, `co16-...`, `write-...`, `mixed-...`: that many deltas, framed so, as fast as the socket takes them;
- `silence-1.0`: a delta, a second of nothing, a delta;
- `tools-100`: a turn of that many tool runs, with a delta after each;
- `paced-50-6.0`: 50 deltas a second for 6 seconds; the text of each is the time at which it was written.

What stands behind a `~` only tells sessions apart.
"""

from __future__ import annotations

import asyncio
import heapq
import os
import re
import ssl
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self

import trustme

from benchmarks.wires import END, HEAD, WIRES, answer, chunk

__all__ = ["Replay"]

_ROUTES = (
    (re.compile(r"/api/v1/chat/([^/]+)/messages/stream"), "llama_cloud"),
    (re.compile(r"/([^/]+)/v1/chat/completions"), "openai"),
    (re.compile(r"/([^/]+)/runs/stream"), "langgraph"),
)
# How often the paced streams are looked at, in seconds.
_TICK = 0.001
# Spreads the starts of paced streams over their interval.
_GOLDEN = 0.618033988749895
_SERVER = "server.pem"


class Replay:
    """The running server. Leaving the block ends it, and so does the end of this process.

    `url` is its address, `tls_url` the one over TLS, for which the authority in the file `authority` vouches.
    """

    def __enter__(self) -> Self:
        self._folder = TemporaryDirectory()
        folder = Path(self._folder.name)
        self.authority = str(folder / "authority.pem")
        made = trustme.CA()
        made.cert_pem.write_to_path(self.authority)
        made.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(folder / _SERVER)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.replay", str(folder / _SERVER)],
            cwd=Path(__file__).parents[1],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        plain, tls = map(int, self._process.stdout.readline().split())
        self.url, self.tls_url = f"http://127.0.0.1:{plain}", f"https://127.0.0.1:{tls}"
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # It ends with its standard input.
        self._process.communicate()
        self._folder.cleanup()


@dataclass(order=True)
class _Paced:
    """A stream that is written to at intervals; ordered by when it is due."""

    due: float
    interval: float = field(compare=False)
    ends: float = field(compare=False)
    wire: str = field(compare=False)
    transport: asyncio.Transport = field(compare=False)


class _Pacer:
    """Writes to all paced streams: one timer for all, as a timer for each would take the machine."""

    def __init__(self) -> None:
        self._streams: list[_Paced] = []
        self._begun = 0

    def add(self, wire: str, transport: asyncio.Transport, rate: float, seconds: float) -> None:
        now = time.perf_counter()
        self._begun += 1
        phase = self._begun * _GOLDEN % 1 / rate
        heapq.heappush(self._streams, _Paced(now + phase, 1 / rate, now + seconds, wire, transport))
        if len(self._streams) == 1:
            self._tick()

    def _tick(self) -> None:
        streams = self._streams
        # Those that are due now, and no more: what comes due meanwhile must not keep the loop from its sockets.
        now = time.perf_counter()
        while streams and streams[0].due <= now:
            stream = streams[0]
            if stream.transport.is_closing():
                heapq.heappop(streams)
            elif now >= stream.ends:
                heapq.heappop(streams)
                stream.transport.write(b"".join(map(chunk, WIRES[stream.wire].end())) + END)
            else:
                before, after = _around_stamp(stream.wire)
                stream.transport.write(before + b"%017.6f " % time.perf_counter() + after)
                stream.due += stream.interval
                heapq.heapreplace(streams, stream)
        if streams:
            asyncio.get_running_loop().call_later(_TICK, self._tick)


@cache
def _around_stamp(wire: str) -> tuple[bytes, bytes]:
    """A delta's chunk, before and after its text: to write it each time would cost more than to send it."""
    stamp = "0" * 18
    before, after = chunk(WIRES[wire].delta(stamp)).split(stamp.encode())
    return before, after


class _Connection(asyncio.Protocol):
    """Answers the requests of one connection, one after the other."""

    def __init__(self, pacer: _Pacer) -> None:
        self._pacer = pacer
        self._received = b""
        self._may_write = asyncio.Event()
        self._may_write.set()
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the signature is asyncio's
        if self._task is not None:
            self._task.cancel()

    def pause_writing(self) -> None:
        self._may_write.clear()

    def resume_writing(self) -> None:
        self._may_write.set()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        size = int(length[1]) if length else 0
        if end and len(body) >= size:
            self._received = body[size:]
            self._answer(head.split(b" ", 2)[1].decode().partition("?")[0])

    def _answer(self, path: str) -> None:
        for route, wire in _ROUTES:
            if found := route.fullmatch(path):
                kind, *numbers = found[1].partition("~")[0].split("-")
                self._replay(wire, kind, numbers)
                return
        self._transport.write(
            b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\nContent-Type: application/json\r\n\r\n{}"
        )

    def _replay(self, wire: str, kind: str, numbers: list[str]) -> None:
        if kind == "paced":
            self._transport.write(HEAD)
            self._pacer.add(wire, self._transport, float(numbers[0]), float(numbers[1]))
        elif kind == "silence":
            first, last = (chunk(WIRES[wire].delta(text)) for text in ("first ", "last"))
            self._transport.write(HEAD + first)
            rest = last + b"".join(map(chunk, WIRES[wire].end())) + END
            asyncio.get_running_loop().call_later(float(numbers[0]), self._transport.write, rest)
        elif kind == "write":
            self._task = asyncio.ensure_future(self._write_each(answer(wire, kind, int(numbers[0]))))
        else:
            self._transport.write(answer(wire, kind, int(numbers[0]))[0])

    async def _write_each(self, pieces: tuple[bytes, ...]) -> None:
        self._transport.set_write_buffer_limits(high=0)
        for piece in pieces:
            self._transport.write(piece)
            await self._may_write.wait()


async def _serve(certificate: str) -> None:
    pacer = _Pacer()
    loop = asyncio.get_running_loop()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    servers = [
        await loop.create_server(lambda: _Connection(pacer), "127.0.0.1", 0, backlog=1024, ssl=tls)
        for tls in (None, context)
    ]
    print(*(server.sockets[0].getsockname()[1] for server in servers), flush=True)
    await asyncio.gather(*(server.serve_forever() for server in servers))


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with suppress(KeyboardInterrupt):
        asyncio.run(_serve(sys.argv[1]))
