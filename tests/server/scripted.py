"""An agent, an index and a client that tests can steer."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Generator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import httpx

from chat_sessions.core.events import Event, TextDelta
from chat_sessions.server import ServerThread
from chat_sessions.server.documents.indexes import Index
from chat_sessions.server.documents.intake import Progress
from chat_sessions.server.store.records import StoredEvent
from chat_sessions.server.turns.agent import AgentTurn
from chat_sessions.server.turns.running import RunningTurn

IDS = ["idx-docs"]


class Gate:
    """A place in a script where the agent stays until the test opens it, from whatever thread."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.left = threading.Event()
        self._opened: Future[None] = Future()

    def open(self) -> None:
        self._opened.set_result(None)

    async def passed(self) -> None:
        self.reached.set()
        try:
            await asyncio.shield(asyncio.wrap_future(self._opened))
        finally:
            self.left.set()


Step = Event | Gate | Exception | object


class ScriptedAgent:
    """Plays a script: events are given, gates waited at, exceptions raised.

    `by_prompt` has the scripts of single prompts; every other prompt gets `steps`.
    """

    def __init__(self, *steps: Step, by_prompt: Mapping[str, list[Step]] | None = None) -> None:
        self.steps = list(steps)
        self.by_prompt = by_prompt or {}
        self.turns: list[AgentTurn] = []

    async def run(self, turn: AgentTurn) -> AsyncIterator[Event]:
        self.turns.append(turn)
        for step in self.by_prompt.get(turn.prompt, self.steps):
            if isinstance(step, Gate):
                await step.passed()
            elif isinstance(step, Exception):
                raise step
            else:
                # What is no event at all is a mistake that an agent of a user's own can make.
                yield step  # type: ignore[misc]


class PaperIndex(Index):
    """An index of one source, whose attachments are given."""

    def __init__(
        self,
        index_id: str = "idx-docs",
        attachments: Mapping[str, bytes] | None = None,
        source_id: str = "dfl-paper",
    ) -> None:
        self.source_id = source_id
        self.index_id = index_id
        self.name = "paper"
        self.files = dict(attachments or {})
        self.listed_only: list[str] = []
        self.refreshed = 0
        self.broken: Exception | None = None

    @property
    def count(self) -> int:
        return 1

    @property
    def left_out(self) -> Mapping[str, str]:
        return {}

    @property
    def notes(self) -> tuple[str, ...]:
        return ()

    def check(self) -> None:
        if self.broken is not None:
            raise self.broken

    def refresh(self, on_progress: Progress | None = None) -> None:
        self.refreshed += 1

    def stop_reading(self) -> None:
        pass

    def attachments(self, source_id: str) -> list[str] | None:
        return [*self.files, *self.listed_only] if source_id == self.source_id else None

    def drawing(self, source_id: str, attachment_name: str) -> bytes | None:
        return self.files.get(attachment_name) if source_id == self.source_id else None


async def live(turn: RunningTurn) -> AsyncIterator[StoredEvent]:
    """The events of a turn, one by one, to its end."""
    while (events := await turn.shown()) is not None:
        for event in events:
            yield event


ANSWER: list[Step] = [TextDelta(content="Forty-"), TextDelta(content="two.")]


class Api:
    """A client of a running server, as thin as it can be."""

    def __init__(self, url: str, api_key: str) -> None:
        self.http = httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {api_key}"}, timeout=60, trust_env=False
        )

    def create(self, **body: object) -> str:
        response = self.http.post("/api/v1/chat", json=body or None)
        assert response.status_code == 201, response.text
        return str(response.json()["session_id"])

    def ask(self, session_id: str, prompt: str = "How many?", **body: object) -> list[dict[str, Any]]:
        """The events of a whole turn."""
        response = self.post(session_id, prompt, **body)
        assert response.status_code == 200, response.text
        return events_of(response.text)

    def post(self, session_id: str, prompt: str = "How many?", **body: object) -> httpx.Response:
        return self.http.post(
            f"/api/v1/chat/{session_id}/messages/stream", json={"index_ids": IDS, "prompt": prompt, **body}
        )

    @contextmanager
    def stream(self, session_id: str, prompt: str = "How many?") -> Generator[EventReader]:
        """A turn that is read event by event."""
        with self.http.stream(
            "POST", f"/api/v1/chat/{session_id}/messages/stream", json={"index_ids": IDS, "prompt": prompt}
        ) as response:
            assert response.status_code == 200, response.read()
            yield EventReader(response)

    def retrieve(self, session_id: str) -> dict[str, Any]:
        response = self.http.get(f"/api/v1/chat/{session_id}")
        assert response.status_code == 200, response.text
        return dict(response.json())

    def history(self, session_id: str) -> list[str]:
        """The types of the stored events."""
        return types(self.retrieve(session_id)["events"])


class LocalApi(Api):
    """A client with the server that it speaks to."""

    def __init__(self, server: ServerThread) -> None:
        super().__init__(server.url, server.api_key)
        self.server = server


class EventReader:
    """Reads a stream block by block: an event, or a comment."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._bytes = response.iter_raw()
        self._rest = ""

    def block(self) -> str:
        """The next block; an error if the stream has ended."""
        while "\r\n\r\n" not in self._rest:
            self._rest += next(self._bytes).decode()
        block, _, self._rest = self._rest.partition("\r\n\r\n")
        return block

    def event(self) -> dict[str, Any]:
        """The next event."""
        return events_of(self.block())[0]

    def rest(self) -> list[dict[str, Any]]:
        """Every event up to the end."""
        return events_of(self._rest + b"".join(self._bytes).decode())


def events_of(text: str) -> list[dict[str, Any]]:
    # Not splitlines: an event may hold U+2028 as it is.
    return [json.loads(line.removeprefix("data: ")) for line in text.split("\r\n") if line.startswith("data: ")]


def types(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"] for event in events]
