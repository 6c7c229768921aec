"""A local server whose agent says what the test tells it to, and the four ways to ask it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from llama_index.core.chat_engine.types import AgentChatResponse, StreamingAgentChatResponse
from pydantic import JsonValue

from chat_sessions import (
    LlamaCloudChat,
    LocalServer,
    Stop,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    Timeouts,
    ToolCall,
    ToolResult,
    Usage,
)
from chat_sessions.core.events import Event
from chat_sessions.llama_index import SessionChatEngine
from chat_sessions.server import AgentTurn, Behaviour
from tests.wire_server import Connection, Request, WireServer

# The key of every server here: no test may find it in what an adapter shows.
KEY = "key-that-nobody-may-see"
METHODS = ("chat", "achat", "stream_chat", "astream_chat")

PASSAGE: dict[str, JsonValue] = {
    "content": "Revenue was 84.2 million.",
    "score": 0.9,
    "static_fields": {"file_name": "report.pdf", "page_range_start": 3, "parsed_directory_file_id": "dfl-1"},
    "attachments": [{"type": "screenshot", "attachment_name": "screenshots/page_3.jpg", "source_id": "dfl-1"}],
}
USAGE = Usage(input_tokens=11, output_tokens=7, turns=2, duration_ms=5.0)

ANSWER: tuple[Event, ...] = (
    ThinkingDelta(content="I look "),
    ThinkingDelta(content="it up."),
    Thinking(content="I look it up."),
    ToolCall(call_id="c1", name="retrieve", arguments={"query": "revenue"}),
    ToolResult(call_id="c1", name="retrieve", result={"results": [PASSAGE]}),
    TextDelta(content="Revenue "),
    TextDelta(content="was "),
    TextDelta(content="84.2."),
    Text(content="Revenue was 84.2."),
    Stop(usage=USAGE, is_error=False),
)


class Gate:
    """Holds an agent until the test opens it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_open = False
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []
        self.reached = threading.Event()

    async def wait(self) -> None:
        event = asyncio.Event()
        with self._lock:
            if not self._is_open:
                self._waiting.append((asyncio.get_running_loop(), event))
            else:
                event.set()
        self.reached.set()
        await event.wait()

    def open(self) -> None:
        with self._lock:
            self._is_open = True
            for loop, event in self._waiting:
                loop.call_soon_threadsafe(event.set)
            self._waiting.clear()


Script = tuple[Event | Gate, ...]


class ScriptedAgent:
    """Says what is scripted for a turn: scripts in turn, the last one again and again.

    `ended` is set when a turn's events are not asked for any more, read to their end or not.
    """

    def __init__(self, *scripts: Script) -> None:
        self.scripts = list(scripts) or [ANSWER]
        self.prompts: list[str] = []
        self.ended = threading.Event()

    async def run(self, turn: AgentTurn) -> AsyncIterator[Event]:
        self.prompts.append(turn.prompt)
        script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
        try:
            for item in script:
                if isinstance(item, Gate):
                    await item.wait()
                else:
                    yield item
        finally:
            self.ended.set()


Serve = Callable[..., LlamaCloudChat]


@pytest.fixture(scope="session")
def closer() -> Iterator[Callable[[LocalServer], None]]:
    """Closes servers while the next test runs: to wait for each would take half of the time."""
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="closer") as pool:
        closed: list[Future[None]] = []
        yield lambda server: closed.append(pool.submit(server.close))
        for future in closed:
            future.result()


@pytest.fixture
def serve(tmp_path: Path, closer: Callable[[LocalServer], None]) -> Iterator[Serve]:
    """Starts a local server with this agent; gives back its client."""
    folder = tmp_path / "documents"
    folder.mkdir()
    (folder / "note.txt").write_text("Nothing is read here.", "utf-8")
    opened: list[LocalServer | LlamaCloudChat] = []

    def start(
        *scripts: Script,
        agent: ScriptedAgent | None = None,
        behaviour: Behaviour | None = None,
        timeouts: Timeouts | None = None,
        with_indexes: bool = True,
    ) -> LlamaCloudChat:
        server = LocalServer(
            indexes={"idx": str(folder)},
            agent=agent or ScriptedAgent(*scripts),
            behaviour=behaviour,
            api_key=KEY,
        ).start()
        opened.append(server)
        chat = server.client(timeouts=timeouts) if with_indexes else LlamaCloudChat(api_key=KEY, base_url=server.url)
        opened.append(chat)
        return chat

    yield start
    for thing in reversed(opened):
        if isinstance(thing, LocalServer):
            closer(thing)
        else:
            thing.close()


@pytest.fixture
def engine(serve: Serve) -> SessionChatEngine:
    """An engine whose agent gives `ANSWER`."""
    return SessionChatEngine(client=serve())


Respond = Callable[[Request, Connection], None]


class Wired:
    """Makes an engine over a server that answers the turn byte by byte, and shows the session that it is given."""

    def __init__(self, server: WireServer) -> None:
        self.server = server
        self.clients: list[LlamaCloudChat] = []

    def __call__(
        self, respond: Respond, *, timeouts: Timeouts | None = None, history: list[dict[str, object]] | None = None
    ) -> SessionChatEngine:
        session: dict[str, object] = {
            "session_id": "ses-1",
            "last_updated_at": "2026-01-01T00:00:00Z",
            "index_ids": ["idx"],
        }
        self.server.on("GET", "/ses-1", lambda _, wire: wire.respond(200, {**session, "events": history or []}))
        self.server.on("POST", "/chat", lambda _, wire: wire.respond(200, session))
        self.server.on("POST", "/messages/stream", respond)
        chat = LlamaCloudChat(
            api_key=KEY, base_url=self.server.url, index_ids=["idx"], timeouts=timeouts or Timeouts(recovery=0)
        )
        self.clients.append(chat)
        return SessionChatEngine(client=chat)


@pytest.fixture
def wired() -> Iterator[Wired]:
    with WireServer() as server:
        made = Wired(server)
        yield made
        for chat in made.clients:
            chat.close()


async def ask(
    engine: SessionChatEngine, method: str, message: str = "How much?"
) -> AgentChatResponse | StreamingAgentChatResponse:
    """One whole turn by one of the four methods."""
    if method == "chat":
        return engine.chat(message)
    if method == "achat":
        return await engine.achat(message)
    if method == "stream_chat":
        response = engine.stream_chat(message)
        for _ in response.response_gen:
            pass
        return response
    response = await engine.astream_chat(message)
    async for _ in response.async_response_gen():
        pass
    return response
