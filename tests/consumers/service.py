"""The turn that every consumer is shown."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from chat_sessions import LlamaCloudChat, LocalServer
from chat_sessions.core.events import Event, Stop, TextDelta, ThinkingDelta, ToolCall, ToolResult
from chat_sessions.core.models import Usage
from chat_sessions.server import AgentTurn

__all__ = ["ANSWER", "PASSAGE", "QUERY", "THOUGHT", "Researcher", "Service"]

THOUGHT = "The report should say."
QUERY = "revenue Q3"
PASSAGE = "Revenue grew by 4 percent in Q3."
# The agent speaks before its tool and after it, and both are segments of the answer.
ANSWER = "Let me look.\n\nRevenue grew by 4 percent."


@dataclass
class Researcher:
    """Thinks, says a few words, searches once and answers; notes the session and the prompt of each turn."""

    asked: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])

    async def run(self, turn: AgentTurn) -> AsyncIterator[Event]:
        self.asked.append((turn.session_id, turn.prompt))
        yield ThinkingDelta(content=THOUGHT)
        yield TextDelta(content="Let me look.")
        yield ToolCall(call_id="call-1", name="search", arguments={"query": QUERY})
        yield ToolResult(
            call_id="call-1",
            name="search",
            result={"results": [{"content": PASSAGE, "file_name": "report.md", "page": 2, "score": 0.5}]},
        )
        yield TextDelta(content="Revenue grew ")
        yield TextDelta(content="by 4 percent.")
        yield Stop(usage=Usage(input_tokens=120, output_tokens=34, turns=2, duration_ms=5.0), is_error=False)


@dataclass(frozen=True)
class Service:
    """A running server and its agent."""

    server: LocalServer
    agent: Researcher

    def client(self) -> LlamaCloudChat:
        """A client of it."""
        return self.server.client()

    @property
    def prompts(self) -> list[str]:
        """What the agent was asked in this test."""
        return [prompt for _, prompt in self.agent.asked]

    @property
    def session_id(self) -> str:
        """The one session in which it was asked."""
        (session_id,) = {session_id for session_id, _ in self.agent.asked}
        return session_id
