"""What became of a turn whose stream broke: a decision, made from what can be known.

Three things are known: what was in the session before (perhaps), the prompt with what the
stream brought before it broke, and what the session shows now. No wire tells more: the API
has no idempotency key and no event to resume from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from chat_sessions.core.events import (
    Event,
    Stop,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ToolCall,
    ToolResult,
)
from chat_sessions.core.turn import Turn, replay, unshown_part

__all__ = ["Delivery", "Outcome", "decide", "missing_events"]

_Words: TypeAlias = Text | TextDelta | Thinking | ThinkingDelta
Outcome: TypeAlias = Literal["finished", "running", "not_landed", "unknown"]


@dataclass(frozen=True)
class Delivery:
    """What the session shows of a prompt.

    "finished": it landed and its turn has ended; "running": it landed and the turn has not ended;
    "not_landed": the session does not show it; "unknown": the session shows this prompt, but that
    may be an earlier one of the same words. `missing` are the events that the reader has not had
    yet, in order, for the first two.
    """

    outcome: Outcome
    missing: tuple[Event, ...] = ()


def decide(
    *,
    live: Turn,
    history: Sequence[Event],
    turns_before: int | None = None,
    accepted: bool = False,
) -> Delivery:
    """Find the turn of `live.prompt` in the history of its session, read after the stream broke.

    `live` is the turn as the broken stream left it. `turns_before` is how many turns the session
    held when the prompt was sent, None if nobody looked. `accepted` says that the service had
    begun to answer: a history that does not show the prompt is then a late one.
    """
    accepted = accepted or bool(live.events)
    turns = replay(history)
    mine: Turn | None = None
    if turns_before is not None:
        new = turns[turns_before:]
        mine = next((turn for turn in new if _may_be(live, turn)), None)
        if mine is None and any(turn.prompt is None for turn in new):
            return Delivery("unknown")
    elif turns and _may_be(live, turns[-1]):
        mine = turns[-1]
        if mine.is_complete and not accepted:
            # Nobody looked before: this may be the answer to the same words, sent earlier.
            return Delivery("unknown")
    if mine is None:
        return Delivery("running" if accepted else "not_landed")
    return Delivery("finished" if mine.is_complete else "running", missing_events(live, mine))


def _may_be(live: Turn, stored: Turn) -> bool:
    """Whether what the stream brought can be the beginning of this turn, or the turn the beginning of it."""
    if stored.prompt is None or (live.prompt or "").strip() != stored.prompt.strip():
        return False
    shown, kept = live.text.strip(), stored.text.strip()
    if not (kept.startswith(shown) or shown.startswith(kept)):
        return False
    calls = {run.call_id for run in stored.tool_runs}
    return not calls or all(run.call_id in calls for run in live.tool_runs) or not stored.is_complete


def missing_events(live: Turn, stored: Turn) -> tuple[Event, ...]:
    """The events of `stored` that `live` has not had, so that adding them to it makes it whole.

    A segment of which a part was shown comes as its final: the fold then shows the rest of it.
    """
    seen = [event for event in live.events if not isinstance(event, Stop)]
    missing: list[Event] = []
    for event in stored.events:
        position = next((i for i, known in enumerate(seen) if _covers(known, event)), None)
        if position is None:
            missing.append(event)
            continue
        known = seen.pop(position)
        if isinstance(known, TextDelta | ThinkingDelta):
            if isinstance(event, Text | Thinking):
                missing.append(event)
            elif isinstance(event, TextDelta | ThinkingDelta) and (rest := unshown_part(known.content, event.content)):
                missing.append(type(event)(content=rest))
    return tuple(missing)


def _covers(known: Event, event: Event) -> bool:
    """Whether the reader has had this event, or the beginning of it."""
    if isinstance(known, Text | TextDelta) and isinstance(event, Text | TextDelta):
        return _is_same_segment(known, event)
    if isinstance(known, Thinking | ThinkingDelta) and isinstance(event, Thinking | ThinkingDelta):
        return _is_same_segment(known, event)
    if isinstance(known, ToolCall) and isinstance(event, ToolCall):
        return known.call_id == event.call_id
    if isinstance(known, ToolResult) and isinstance(event, ToolResult):
        return known.call_id == event.call_id
    return known == event


def _is_same_segment(known: _Words, event: _Words) -> bool:
    shown, stored = known.content.strip(), event.content.strip()
    if isinstance(known, TextDelta | ThinkingDelta):
        return stored.startswith(shown) or shown.startswith(stored)
    return shown == stored or (isinstance(event, TextDelta | ThinkingDelta) and shown.startswith(stored))
