"""What became of a turn whose stream broke: a decision, made from what can be known.

Three things are known: what was in the session before (perhaps), the prompt with what the
stream brought before it broke, and what the session shows now. No wire tells more: the API
has no idempotency key and no event to resume from.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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

Outcome: TypeAlias = Literal["finished", "running", "not_shown", "unknown"]
_Words: TypeAlias = Text | TextDelta | Thinking | ThinkingDelta


@dataclass(frozen=True)
class Delivery:
    """What the session shows of a prompt.

    "finished": it landed and its turn has ended; "running": it landed and the turn has not ended;
    "not_shown": the session does not show it (yet); "unknown": the session shows turns that may or
    may not be this one. `missing` are the events that the reader has not had yet, in order, for the
    first two, and `position` is which of the session's turns it is, where that is known.
    """

    outcome: Outcome
    missing: tuple[Event, ...] = ()
    position: int | None = None


def decide(
    *,
    live: Turn,
    history: Sequence[Event],
    turns_before: int | None = None,
    in_doubt: bool = False,
    position: int | None = None,
) -> Delivery:
    """Find the turn of `live.prompt` in the history of its session, read after the stream broke.

    `live` is the turn as the broken stream left it. `turns_before` is how many turns the session
    held when the prompt was sent, None if nobody counted; `in_doubt` says that it may have held more,
    as an earlier prompt of ours may have landed; `position` is where an earlier look found the turn.
    An older turn of the same words is never taken for this one: where the count does not tell them
    apart, the answer has to.
    """
    turns = list(enumerate(replay(history)))
    if position is not None and position < len(turns):
        return _found(live, *turns[position])
    new = turns if turns_before is None else turns[turns_before:]
    fitting = [(position, turn) for position, turn in new if _may_be(live, turn)]
    proved = [(position, turn) for position, turn in fitting if _is_proof(live, turn)]
    if turns_before is None:
        # Without a count only the last turn can be this one: turns come one after the other.
        last = [found for found in fitting if found[0] == len(turns) - 1]
        # An unanswered prompt at the end is the one just sent; an answered one may be of earlier.
        candidates = [found for found in last if found in proved or not (in_doubt or found[1].is_complete)]
        if not candidates:
            return Delivery("unknown" if last else "not_shown")
    else:
        candidates = proved or fitting
        if not candidates:
            # A turn that nobody can name may be this one, with its words changed.
            return Delivery("unknown" if new else "not_shown")
        if len(candidates) > 1 or (not proved and (in_doubt or len(new) > 1)):
            # Others write to this session as well, or an earlier prompt has landed after all.
            return Delivery("unknown")
    return _found(live, *candidates[-1])


def _found(live: Turn, position: int, mine: Turn) -> Delivery:
    return Delivery("finished" if mine.is_complete else "running", missing_events(live, mine), position)


def _may_be(live: Turn, stored: Turn) -> bool:
    """Whether what the stream brought can be the beginning of this turn, or the turn the beginning of it."""
    if stored.prompt is None or _bare(live.prompt or "") != _bare(stored.prompt):
        return False
    for shown, kept in ((live.text, stored.text), (live.thinking, stored.thinking)):
        shown, kept = _bare(shown), _bare(kept)
        if not (kept.startswith(shown) or shown.startswith(kept)):
            return False
    calls = {run.call_id for run in stored.tool_runs}
    return not stored.is_complete or all(run.call_id in calls for run in live.tool_runs)


def _is_proof(live: Turn, stored: Turn) -> bool:
    """Whether a fitting turn has something in it that an earlier one of the same words would not have.

    A call id is the service's own. Words of an answer are good evidence. Reasoning is none: agents
    begin to think about the same question in the same way.
    """
    calls = {run.call_id for run in stored.tool_runs}
    if live.tool_runs:
        return any(run.call_id in calls for run in live.tool_runs)
    return bool(_bare(live.text)) and bool(_bare(stored.text))


def _bare(words: str) -> str:
    """The words without white space: services trim it, and change line ends."""
    return "".join(words.split())


def missing_events(live: Turn, stored: Turn) -> tuple[Event, ...]:
    """The events of `stored` that `live` has not had, so that adding them to it makes it whole.

    A segment of which a part was shown comes as its final, and the fold then shows the rest of it; or
    as a delta with the rest, where the two sides cut the same words into segments in different ways.
    """
    text = _Shown(event for event in live.events if isinstance(event, Text | TextDelta))
    thinking = _Shown(event for event in live.events if isinstance(event, Thinking | ThinkingDelta))
    others = [event for event in live.events if not isinstance(event, _Words | Stop)]
    missing: list[Event] = []
    for number, event in enumerate(stored.events):
        if isinstance(event, _Words):
            kind = Text | TextDelta if isinstance(event, Text | TextDelta) else Thinking | ThinkingDelta
            following = next((later.content for later in stored.events[number + 1 :] if isinstance(later, kind)), "")
            missing += (text if isinstance(event, Text | TextDelta) else thinking).rest_of(event, following)
        elif (known := next((known for known in others if _is_same(known, event)), None)) is not None:
            others.remove(known)
        else:
            missing.append(event)
    return tuple(missing)


def _is_same(known: Event, event: Event) -> bool:
    if isinstance(known, ToolCall) and isinstance(event, ToolCall):
        return known.call_id == event.call_id
    if isinstance(known, ToolResult) and isinstance(event, ToolResult):
        return known.call_id == event.call_id
    return known == event


class _Shown:
    """The words of one kind that a reader has had, used up as the stored segments are gone through."""

    def __init__(self, events: Iterable[_Words]) -> None:
        self._left = [(event, event.content) for event in events]
        # A final that follows an open run of deltas would be taken for its correction.
        self._has_open_run = bool(self._left) and isinstance(self._left[-1][0], TextDelta | ThinkingDelta)

    def rest_of(self, stored: _Words, following: str) -> list[Event]:
        """What of a stored segment the reader has not had, as events to add; `following` is the next one's text."""
        rest = stored.content
        used: list[tuple[_Words, str]] = []
        while rest and (place := self._place_of(rest)) is not None:
            event, shown = self._left[place]
            if shown.startswith(rest) and following.startswith(over := shown[len(rest) :]) and over:
                # What is over is not white space that was trimmed: the next segment begins with it.
                self._left[place] = event, over
                return []
            more = unshown_part(shown, rest)
            if more is None:
                self._left[place] = event, unshown_part(rest, shown) or ""
                return []
            rest = more
            del self._left[place]
            used.append((event, shown))
        made = TextDelta if isinstance(stored, Text | TextDelta) else ThinkingDelta
        if not used:
            return [made(content=stored.content)] if self._has_open_run else [stored]
        event, shown = used[0]
        is_whole_run = len(used) == 1 and isinstance(event, TextDelta | ThinkingDelta) and shown == event.content
        if is_whole_run and isinstance(stored, Text | Thinking) and (not rest or not self._left):
            self._has_open_run = self._has_open_run and bool(self._left)
            return [stored]
        # White space after a final is what the service trimmed; in a run of deltas it goes on.
        is_open = isinstance(used[-1][0], TextDelta | ThinkingDelta)
        is_continued = is_open and "".join(shown for _, shown in used) + rest == stored.content
        return [made(content=rest)] if rest.strip() or (rest and is_continued) else []

    def _place_of(self, rest: str) -> int | None:
        """The first run of words that is the beginning of these, or the other way round."""
        if not rest.strip():
            # White space without words fits anywhere, unless it is taken for what it is: what comes next.
            shown = self._left[0][1] if self._left else ""
            return 0 if shown and (shown.startswith(rest) or rest.startswith(shown)) else None
        for place, (_, shown) in enumerate(self._left):
            if unshown_part(shown, rest) is not None or unshown_part(rest, shown) is not None:
                return place
        return None
