"""The agents of these tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from pydantic import JsonValue

from chat_sessions import Event, Stop, Text, TextDelta, Thinking, ThinkingDelta, ToolCall, ToolResult, Usage
from chat_sessions.server import AgentTurn

STOP = Stop(usage=Usage(input_tokens=7, output_tokens=3, turns=1, duration_ms=1.0), is_error=False)


def segment(kind: type[Text | Thinking], words: str) -> list[Event]:
    """The deltas of a segment, a word each, and the whole of it."""
    delta = TextDelta if kind is Text else ThinkingDelta
    pieces = words.split(" ")
    said: list[Event] = [delta(content=word + " ") for word in pieces[:-1]]
    return [*said, delta(content=pieces[-1]), kind(content=words)]


def tool(number: int) -> list[Event]:
    call_id = f"call-{number}"
    found: JsonValue = {"results": [{"content": f"Passage {number}.", "score": 0.5}]}
    return [
        ToolCall(call_id=call_id, name="retrieve", arguments={"query": f"q{number}"}),
        ToolResult(call_id=call_id, name="retrieve", result=found),
    ]


SHORT: tuple[Event, ...] = (
    *segment(Thinking, "Let me look."),
    *tool(1),
    *segment(Text, "It rose é 😀 a bit."),
    *tool(2),
    *segment(Text, "It rose é then fell."),
    STOP,
)

# Segments that repeat, begin alike, and hold characters of two, three and four bytes.
LONG: tuple[Event, ...] = (
    *(event for number in range(5) for event in [*segment(Thinking, "a b"), *tool(number), *segment(Text, "a b a")]),
    *segment(Text, " ".join(["é", "\u2028", "😀", "a"] * 38)),
    STOP,
)


class Speaker:
    """Says these events, turn for turn, and counts the turns."""

    def __init__(self, said: Sequence[Event] = SHORT) -> None:
        self.said = said
        self.prompts: list[str] = []

    async def run(self, turn: AgentTurn) -> AsyncIterator[Event]:
        self.prompts.append(turn.prompt)
        for event in self.said:
            yield event
