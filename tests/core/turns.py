"""Turns to test with: what an agent did, and the ways in which a service may tell it."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st

from chat_sessions.core.events import (
    Event,
    Stop,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ToolCall,
    ToolResult,
    UnknownEvent,
)
from chat_sessions.core.models import Usage

STOP = Stop(usage=Usage(input_tokens=3, output_tokens=5), is_error=False)


@dataclass(frozen=True)
class Told:
    """One turn: its canonical events, and one telling of it."""

    canonical: tuple[Event, ...]
    told: tuple[Event, ...]


_words = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)


@st.composite
def canonical_turns(draw: st.DrawFn) -> tuple[Event, ...]:
    """What happened: segments of text and thinking, tools that overlap, unknown events, orphan results, a stop."""
    events: list[Event] = []
    open_calls: list[ToolCall] = []
    last_kind: type[Event] | None = None
    for number in range(draw(st.integers(0, 8))):
        kind = draw(st.sampled_from(["text", "thinking", "call", "result", "orphan", "unknown"]))
        if kind in ("text", "thinking"):
            made = Text if kind == "text" else Thinking
            # Two segments side by side cannot be told from one where only deltas are sent. And each has a
            # content of its own: a service that says the same words twice is looked at in tests apart.
            if last_kind is not made:
                events.append(made(content=f"{number}:{draw(_words)}."))
                last_kind = made
        elif kind == "call":
            open_calls.append(ToolCall(call_id=f"call-{number}", name="search", arguments={"n": number}))
            events.append(open_calls[-1])
            last_kind = ToolCall
        elif kind == "result" and open_calls:
            call = open_calls.pop(draw(st.integers(0, len(open_calls) - 1)))
            events.append(ToolResult(call_id=call.call_id, name=call.name, result={"of": call.call_id}))
            last_kind = ToolResult
        elif kind == "orphan":
            events.append(ToolResult(call_id=f"orphan-{number}", name="search", result=None))
            last_kind = ToolResult
        elif kind == "unknown":
            events.append(UnknownEvent(raw={"type": "progress", "step": number}))
    return (*events, STOP)


def _pieces(draw: st.DrawFn, content: str) -> list[str]:
    cuts = sorted(draw(st.sets(st.integers(1, len(content)), max_size=4)))
    return [content[a:b] for a, b in zip([0, *cuts], [*cuts, len(content)], strict=True) if a != b]


@st.composite
def tellings(draw: st.DrawFn, canonical: tuple[Event, ...]) -> tuple[Event, ...]:
    """One way to tell these events: per segment deltas only, its final only, or both, the final perhaps late."""
    told: list[Event] = []
    late: list[Event] = []
    flush = st.booleans()
    for event in canonical:
        if isinstance(event, Text | Thinking):
            mode = draw(st.sampled_from(["deltas", "final", "both", "late"]))
            if mode != "final":
                made = TextDelta if isinstance(event, Text) else ThinkingDelta
                told += [made(content=piece) for piece in _pieces(draw, event.content)]
            if mode in ("final", "both"):
                told.append(event)
            elif mode == "late":
                late.append(event)
        elif isinstance(event, Stop):
            told += [*late, event]
        else:
            told.append(event)
            if draw(flush):
                told += late
                late = []
    return tuple(told)


@st.composite
def told_turns(draw: st.DrawFn) -> Told:
    """A turn and one telling of it."""
    canonical = draw(canonical_turns())
    return Told(canonical, draw(tellings(canonical)))
