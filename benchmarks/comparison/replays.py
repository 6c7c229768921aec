"""Replays of two other services' streams, OpenAI's chat completions and a LangGraph server's runs, as much as their
clients ask for. They stand behind the same fault proxy as the local server.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import threading
import uuid
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, Self

from benchmarks.comparison.cases import CUT_AT, PAUSE_AT, WARM_UP, Case, Wire, pieces
from benchmarks.comparison.stages import Question, Script, Seen, prompt_of
from chat_sessions.testing import FaultProxy, Faults

__all__ = ["LangGraphReplay", "OpenAIReplay", "ReplayStage"]

_STREAM = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nConnection: close\r\n"


@dataclass(frozen=True)
class Asked:
    """A request: what a replay needs to know of it."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Replay(Protocol):
    """A service: it gives the bytes of each answer, piece by piece."""

    wire: Wire
    case: Case

    def answer(self, asked: Asked) -> AsyncIterator[bytes]:
        """The whole answer, its head included."""
        ...


class OpenAIReplay:
    """POST /v1/chat/completions with `stream`, as OpenAI's reference has it."""

    def __init__(self, pause: float) -> None:
        self._pause = pause
        self.case = WARM_UP
        # The first event has the role alone.
        self.wire = Wire("OpenAI", "other", 1 + CUT_AT, lambda text: _data(_chunk({"content": text})))

    async def answer(self, asked: Asked) -> AsyncIterator[bytes]:
        """A stream of `chat.completion.chunk` and `[DONE]`."""
        case = self.case
        if asked.method != "POST":
            yield b"HTTP/1.1 404 X\r\nContent-Length: 0\r\n\r\n"
            return
        yield f"{_STREAM}\r\n".encode() + _data(_chunk({"role": "assistant", "content": ""}))
        for number, piece in enumerate(pieces(case.answer)):
            if number == PAUSE_AT:
                await asyncio.sleep(self._pause)
            yield _data(_chunk({"content": piece}))
        yield _data(_chunk({}, "stop"))
        if json.loads(asked.body).get("stream_options", {}).get("include_usage"):
            usage = {"prompt_tokens": 7, "completion_tokens": 15, "total_tokens": 22}
            yield _data({**_chunk({}), "choices": [], "usage": usage})
        yield b"data: [DONE]\n\n"


def _chunk(delta: dict[str, str], finish: str | None = None) -> dict[str, object]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1790000000,
        "model": "gpt-4o-mini",
        "choices": [choice],
    }


def _data(body: object, *, name: str = "", number: int | None = None) -> bytes:
    lines = [f"event: {name}"] * bool(name)
    lines.append("data: " + json.dumps(body, ensure_ascii=False))
    lines += [] if number is None else [f"id: 1790000000000-{number}"]
    return "\n".join((*lines, "", "")).encode()


@dataclass
class _Run:
    """A run of a graph: its events so far, and whether it goes on."""

    path: str
    resumable: bool
    events: list[bytes] = field(default_factory=list[bytes])
    ended: bool = False
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def say(self, name: str, body: object) -> None:
        async with self.changed:
            self.events.append(_data(body, name=name, number=len(self.events) if self.resumable else None))
            self.changed.notify_all()

    async def end(self) -> None:
        async with self.changed:
            self.ended = True
            self.changed.notify_all()

    async def follow(self, position: int) -> AsyncIterator[bytes]:
        """The events from a position on, those to come included."""
        while True:
            async with self.changed:
                while len(self.events) == position and not self.ended:
                    await self.changed.wait()
                ready = self.events[position:]
                if not ready and self.ended:
                    return
            for event in ready:
                yield event
            position += len(ready)


class LangGraphReplay:
    """Runs of a thread: streamed, joined, looked up. What langgraph-api 0.16 does, read in its source: a run goes on
    without its client, its events have ids if it was made resumable, and a stream ends without an event that says so.
    """

    def __init__(self, pause: float) -> None:
        self._pause = pause
        self._runs: dict[str, _Run] = {}
        self._working: set[asyncio.Task[None]] = set()
        self.case = WARM_UP
        # The first event is the run's metadata.
        self.wire = Wire("LangGraph", "other", 1 + CUT_AT, lambda text: _data(_message(text), name="messages"))

    async def answer(self, asked: Asked) -> AsyncIterator[bytes]:
        """A stream of a new run or of one that is there, or what is known of a run."""
        if asked.method == "POST":
            run = self._begin(asked)
            position = 0
        elif (known := self._runs.get(asked.path.removesuffix("/stream"))) is None:
            yield b"HTTP/1.1 404 X\r\nContent-Length: 0\r\n\r\n"
            return
        else:
            run = known
            # Who names no last event gets what comes from now on.
            position = len(run.events)
            if run.resumable and (last := re.fullmatch(r"\d+-(\d+)", asked.headers.get("last-event-id", ""))):
                position = int(last[1]) + 1
        if asked.method == "GET" and not asked.path.endswith("/stream"):
            body = json.dumps({"run_id": run.path[-36:], "status": "success" if run.ended else "running"}).encode()
            yield f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            yield body
            return
        yield f"{_STREAM}Location: {run.path}/stream\r\nContent-Location: {run.path}\r\n\r\n".encode()
        async for event in run.follow(position):
            yield event

    def _begin(self, asked: Asked) -> _Run:
        path = f"{asked.path.removesuffix('/stream')}/{uuid.uuid4()}"
        run = self._runs[path] = _Run(path, bool(json.loads(asked.body).get("stream_resumable")))
        task = asyncio.ensure_future(self._work(run))
        self._working.add(task)
        task.add_done_callback(self._working.discard)
        return run

    async def _work(self, run: _Run) -> None:
        await run.say("metadata", {"run_id": run.path[-36:], "attempt": 1})
        for number, piece in enumerate(pieces(self.case.answer)):
            if number == PAUSE_AT:
                await asyncio.sleep(self._pause)
            await run.say("messages", _message(piece))
        await run.end()


def _message(text: str) -> list[object]:
    chunk: dict[str, object] = {
        "content": text,
        "type": "AIMessageChunk",
        "id": "run-1",
        "additional_kwargs": {},
        "tool_calls": [],
    }
    return [chunk, {"langgraph_node": "agent", "langgraph_step": 1}]


class ReplayStage:
    """A replay behind the fault proxy, in a thread of its own."""

    def __init__(self, replay: Replay) -> None:
        self._replay = replay
        self._faults = Faults()
        self._script = Script(self._faults)
        self._begun: list[bytes] = []

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._listener.close()

    def set(self, case: Case) -> Question:
        """Plays this case from now on."""
        self._replay.case = case
        url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._script.play(url, case.faults(self._replay.wire))
        return Question(url, "k", prompt_of(case))

    def seen(self, case: Case) -> Seen:
        """What came of this case so far."""
        return Seen(self._script.posts(case), sum(prompt_of(case).encode() in body for body in self._begun))

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        async with FaultProxy(self._listener, server.sockets[0].getsockname()[1], self._faults):
            await self._stop.wait()
        server.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            head, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            method, target, _ = head.split(" ", 2)
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            self._begun.append(body)
            async for data in self._replay.answer(Asked(method, target.partition("?")[0], headers, body)):
                writer.write(data)
                await writer.drain()
        writer.close()
