"""The services that the clients are asked against, each behind the same fault proxy, on this machine."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Protocol, Self

import httpx

from benchmarks.comparison.cases import CUT_AT, PAUSE_AT, WARM_UP, Case, Wire, pieces
from chat_sessions import Event, LocalServer, Stop, Text, TextDelta, ToolCall, ToolResult, Usage
from chat_sessions.server import AgentTurn, Behaviour
from chat_sessions.testing import Fault, Faults, SeenRequest

__all__ = ["INDEX", "ChatApiStage", "Question", "Script", "Seen", "Stage", "prompt_of"]

INDEX = "idx-docs"


@dataclass(frozen=True)
class Question:
    """Where a client asks, and what; its deadlines, and how long it may look up what became of it, in seconds."""

    url: str
    api_key: str
    prompt: str
    seconds: float = 20.0
    recovery: float = 20.0


@dataclass(frozen=True)
class Seen:
    """What the service saw of a prompt: how often it was posted, and how many answers were begun to it."""

    posts: int
    answers: int


class Stage(Protocol):
    """A service that plays one case after another. A context manager."""

    def set(self, case: Case) -> Question:
        """Plays this case from now on."""
        ...

    def seen(self, case: Case) -> Seen:
        """What came of this case so far."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


def prompt_of(case: Case) -> str:
    """The prompt of a case; no two have the same."""
    return f"What about: {case.name}?"


class Script:
    """The faults of a proxy, one case after another."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._requests: list[SeenRequest] = []

    def play(self, url: str, faults: Sequence[Fault]) -> None:
        """From now on these faults, for the next request that they meet; those before are over."""
        self._requests += self._faults.requests
        self._faults.clear()
        # A restart may still refuse requests: those of a client that has made none since.
        for _ in range(3):
            with suppress(httpx.TransportError):
                httpx.get(f"{url}/health", trust_env=False)
                break
        if faults:
            self._faults.script(tuple(faults))

    def posts(self, case: Case) -> int:
        """How often the prompt of the case came."""
        prompt = prompt_of(case).encode()
        requests = (*self._requests, *self._faults.requests)
        return sum(request.method == "POST" and prompt in request.body for request in requests)


class _Agent:
    """Says the answer of the case, and takes `pause` seconds in the middle of it."""

    def __init__(self, pause: float) -> None:
        self.case = WARM_UP
        self.pause = pause
        self.answers = Counter[str]()

    async def run(self, turn: AgentTurn) -> AsyncIterator[Event]:
        case = self.case
        self.answers[turn.prompt] += 1
        # The first answer alone is lost or dead.
        is_spared = case.turn == "ends" or self.answers[turn.prompt] > 1
        yield ToolCall(call_id="call-1", name="retrieve", arguments={"query": turn.prompt})
        yield ToolResult(call_id="call-1", name="retrieve", result={"results": []})
        for number, piece in enumerate(pieces(case.answer)):
            if number == PAUSE_AT:
                await asyncio.sleep(self.pause if is_spared else 3600)
            yield TextDelta(content=piece)
        yield Text(content=case.answer)
        yield Stop(usage=Usage(input_tokens=7, output_tokens=3, turns=1, duration_ms=1.0), is_error=False)


def _says(text: str) -> bytes:
    return b"data: " + json.dumps({"type": "text_delta", "content": text}).encode() + b"\r\n\r\n"


class ChatApiStage:
    """The Chat API: the local server, one that lets a turn go on without its client and one that drops it."""

    # The tool's call and result come before the text.
    wire = Wire("Chat API", "turn", 2 + CUT_AT, _says)

    def __init__(self, *, pause: float) -> None:
        self._agents = {drops: _Agent(pause) for drops in (False, True)}

    def __enter__(self) -> Self:
        with ExitStack() as opened:
            folder = Path(opened.enter_context(TemporaryDirectory()))
            (folder / "note.md").write_text("# Note\n\nRevenue was 84.2 million in 2025.\n", encoding="utf-8")
            self._servers = {
                drops: opened.enter_context(
                    LocalServer(
                        indexes={INDEX: folder},
                        agent=agent,
                        behaviour=Behaviour(on_disconnect="cancel" if drops else "finish"),
                        faults=[],
                    )
                )
                for drops, agent in self._agents.items()
            }
            self._opened = opened.pop_all()
        self._scripts = {drops: Script(server.faults) for drops, server in self._servers.items()}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._opened.close()

    def set(self, case: Case) -> Question:
        """Plays this case from now on."""
        drops = case.turn == "is lost"
        self._agents[drops].case = case
        server = self._servers[drops]
        self._scripts[drops].play(server.url, case.faults(self.wire))
        return Question(server.url, server.api_key, prompt_of(case))

    def seen(self, case: Case) -> Seen:
        """What came of this case so far."""
        drops = case.turn == "is lost"
        return Seen(self._scripts[drops].posts(case), self._agents[drops].answers[prompt_of(case)])
