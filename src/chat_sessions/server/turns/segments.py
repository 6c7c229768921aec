"""Segments of text and reasoning: deltas, then the whole.

An agent may give deltas, whole segments, or both. The store always gets both, in the service's order, so every
`Behaviour` is a filter over the same sequence.
"""

from __future__ import annotations

from chat_sessions.core.events import Event, Text, TextDelta, Thinking, ThinkingDelta, UnknownEvent
from chat_sessions.core.segments import Fit, Lane, Match, Segment
from chat_sessions.server.turns.behaviour import Behaviour

__all__ = ["DELTA_TYPES", "FINAL_TYPES", "Segments", "event_name", "hidden_in_history", "is_live"]

DELTA_TYPES = frozenset(("text_delta", "thinking_delta"))
FINAL_TYPES = frozenset(("text", "thinking"))


class Segments:
    """Completes a turn's events: every segment gets its deltas and, right after them, the whole.

    A segment ends with its own final event, or with an event of another kind, but not with one of an unknown type.
    The agent's finals are matched with its deltas by the client's own rules (`core/segments.py`), so that each word is
    given once: a final that comes late gives only what its deltas did not.
    """

    def __init__(self) -> None:
        self._text, self._thinking = Lane(), Lane()
        # The run that the next delta of its kind continues. Runs that were ended stay in their lane until the agent's
        # own final comes.
        self._growing: Segment | None = None

    def add(self, event: Event) -> list[Event]:
        """Return the events to store for the agent's next event, in order."""
        match event:
            case TextDelta() | ThinkingDelta():
                return self._grow(event)
            case Text() | Thinking():
                return self._complete(event)
            case UnknownEvent():
                return [event]
            case _:
                return [*self.close(), event]

    def close(self) -> list[Event]:
        """Return the whole of the open segment, if there is one, for a turn that ends within it."""
        run, self._growing = self._growing, None
        if run is None:
            return []
        self._lane(run).close(run)
        return [run.event(ended=True)]

    def _grow(self, delta: TextDelta | ThinkingDelta) -> list[Event]:
        if not delta.content:
            return [delta]
        is_text = isinstance(delta, TextDelta)
        closing: list[Event] = []
        if self._growing is None or self._growing.is_text is not is_text:
            closing = self.close()
            self._growing = Segment(is_text=is_text)
            self._lane(self._growing).append(self._growing)
        self._growing.append(delta.content)
        return [*closing, delta]

    def _complete(self, final: Text | Thinking) -> list[Event]:
        is_text = isinstance(final, Text)
        growing = self._growing if self._growing is not None and self._growing.is_text is is_text else None
        lane = self._text if is_text else self._thinking
        found = lane.match(final.content, growing) if final.content else None
        if found is None:
            return [*self.close(), *_whole(final)]
        rest = found.unshown_part(final.content, growing)
        for run in found.runs:
            lane.remove(run)
        if growing is not None and growing in (found.beginning_of, found.end_of, *found.runs):
            return self._end(found, growing, final, rest)
        if found.beginning_of is not None:
            _cut_beginning(lane, found, found.beginning_of)
        if found.end_of is not None:
            _cut_end(lane, found, found.end_of)
        # Its runs are stored with wholes of their own; only what they lack is new.
        return [*self.close(), *_whole(_piece(rest, is_text=is_text))] if rest else []

    def _end(self, found: Match, run: Segment, final: Text | Thinking, rest: str) -> list[Event]:
        """Let a final end the open run, or the part of it that it has."""
        lane = self._lane(run)
        if found.beginning_of is run:
            # Another segment follows in the same run, and grows.
            shown = _cut_beginning(lane, found, run)
            return [final if not found.runs else _piece(shown, is_text=run.is_text)]
        self._growing = None
        delta: list[Event] = [_delta(rest, is_text=run.is_text)] if rest else []
        if found.end_of is run:
            # A segment without a final of its own went before it: without a whole, no history would have it.
            _cut_end(lane, found, run)
            lane.close(run)
            return [*delta, run.event(ended=True), final]
        if found.fit is Fit.CORRECTED or len(found.runs) == 1:
            return [*delta, final]
        return [*delta, _piece(run.words + rest, is_text=run.is_text)]

    def _lane(self, run: Segment) -> Lane:
        return self._text if run.is_text else self._thinking


def _cut_beginning(lane: Lane, found: Match, run: Segment) -> str:
    """Take from a run what a final has of it, after the runs that it has whole; return what was taken."""
    at = found.end_of_beginning(run)
    taken = run.words_before(at)
    lane.cut(run, at, grows=not run.is_closed)
    return taken


def _cut_end(lane: Lane, found: Match, run: Segment) -> None:
    """Take from the end of a run what a final has of it."""
    lane.cut(run, 0, run.offset_before(found.length), grows=not run.is_closed)


def _whole(final: Text | Thinking) -> list[Event]:
    """Return a segment of which nothing was shown."""
    delta = _delta(final.content, is_text=isinstance(final, Text))
    return [delta, final] if final.content else [final]


def _delta(content: str, *, is_text: bool) -> TextDelta | ThinkingDelta:
    return TextDelta(content=content) if is_text else ThinkingDelta(content=content)


def _piece(content: str, *, is_text: bool) -> Text | Thinking:
    return Text(content=content) if is_text else Thinking(content=content)


def is_live(event_type: str, behaviour: Behaviour) -> bool:
    """Return whether a stream shows events of this type."""
    if event_type in DELTA_TYPES:
        return behaviour.finals != "only"
    if event_type in FINAL_TYPES:
        return behaviour.finals != "never"
    return event_type != "user_input" or behaviour.echo_user_input


def hidden_in_history(behaviour: Behaviour) -> frozenset[str]:
    """Return the event types that a history leaves out."""
    return {"finals": DELTA_TYPES, "deltas": FINAL_TYPES, "both": frozenset[str]()}[behaviour.history]


def event_name(event_type: str, behaviour: Behaviour) -> str | None:
    """Return the `event:` line of a streamed event, or None for no such line."""
    if behaviour.event_names == "none":
        return None
    if behaviour.event_names == "type":
        return event_type
    return "delta" if event_type in DELTA_TYPES else "message"
