"""Compares a turn as its broken stream left it with the same turn as its session shows it.

The words of each kind, text and thinking, are matched across both sides, because each side may split them into segments
differently; white space does not count. Tool events are the same if they have the same call id, other events if they
are equal. What the session shows is canonical; what arrived live and the session does not show keeps its place.
"""

from __future__ import annotations

import json
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeAlias

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
from chat_sessions.core.segments import bare, offset_of, unshown_part

__all__ = ["Alignment", "Missing", "align"]

_Words: TypeAlias = Text | TextDelta | Thinking | ThinkingDelta
# How many live segments are searched for the beginning of a stored one.
_MOST_APART = 8


@dataclass(frozen=True, slots=True)
class Missing:
    """An event that the live side lacks; `unshown` is the part of its words that a reader has not received."""

    event: Event
    unshown: str = ""


@dataclass(frozen=True, slots=True)
class Alignment:
    """The two sides as one turn.

    `merged` are its events. `missing`, added to the live side in their order, make it whole. `is_consistent` says
    whether both can be the same turn: what one side lacks comes after what both have.
    """

    merged: tuple[Event, ...]
    missing: tuple[Missing, ...]
    is_consistent: bool


def align(live: Sequence[Event], stored: Sequence[Event]) -> Alignment:
    """Put the live side and the stored side of one turn together, in time linear in both."""
    text, thinking = _Lane(live, stored, is_text=True), _Lane(live, stored, is_text=False)
    others = _Others(live)
    merged: list[Event] = []
    missing: list[Missing] = []
    # Where in `merged` each live event is found again.
    places: dict[int, int] = {}
    for event in stored:
        here = len(merged)
        if isinstance(event, _Words):
            found = (text if isinstance(event, Text | TextDelta) else thinking).take(event)
            places.update(dict.fromkeys(found.used, here))
            merged.append(found.event)
            missing += found.missing
        else:
            merged.append(event)
            if (known := others.take(event)) is None:
                missing.append(Missing(event))
            else:
                places[known] = here
    return Alignment(
        _with_live(merged, live, places, {**text.left(), **thinking.left()}),
        tuple(missing),
        text.is_consistent and thinking.is_consistent,
    )


def _with_live(
    stored: Sequence[Event], live: Sequence[Event], places: Mapping[int, int], left: Mapping[int, Event]
) -> tuple[Event, ...]:
    """Return the stored events, each followed by the live events after it that are not stored."""
    kept: dict[int, list[Event]] = defaultdict(list)
    place = -1
    for number, event in enumerate(live):
        place = max(place, places.get(number, -1))
        if number in left:
            kept[place].append(left[number])
        elif number not in places and not isinstance(event, _Words | Stop):
            kept[place].append(event)
    has_stop = bool(stored) and isinstance(stored[-1], Stop)
    merged = list(kept[-1])
    for number, event in enumerate(stored[:-1] if has_stop else stored):
        merged += (event, *kept[number])
    return (*merged, *stored[-1:]) if has_stop else tuple(merged)


class _Others:
    """The live events other than text and thinking, by what identifies them with a stored one."""

    def __init__(self, live: Sequence[Event]) -> None:
        self._numbers: dict[tuple[str, str], deque[int]] = defaultdict(deque)
        for number, event in enumerate(live):
            if not isinstance(event, _Words | Stop):
                self._numbers[self._key(event)].append(number)

    def take(self, event: Event) -> int | None:
        """Return the number of the live event that matches this stored one; None if none is left."""
        numbers = None if isinstance(event, Stop) else self._numbers.get(self._key(event))
        return numbers.popleft() if numbers else None

    @staticmethod
    def _key(event: Event) -> tuple[str, str]:
        if isinstance(event, ToolCall | ToolResult):
            return event.type, event.call_id
        return "", json.dumps(event.model_dump(mode="json"), sort_keys=True)


@dataclass(slots=True)
class _LiveSegment:
    number: int
    event: _Words
    # What of it has not been found in the stored segments yet, and what had not before the last one.
    rest: str
    before: str = ""
    is_found: bool = False
    # Whether the session shows a run of deltas that has not caught up with it.
    is_ahead: bool = False


@dataclass(frozen=True, slots=True)
class _Found:
    """A stored segment: its merged form, what the live side lacks of it, and the live segments in it."""

    event: Event
    missing: list[Missing] = field(default_factory=list[Missing])
    used: list[int] = field(default_factory=list[int])


class _Lane:
    """The words of one kind: each stored segment consumes its words on the live side."""

    def __init__(self, live: Sequence[Event], stored: Sequence[Event], *, is_text: bool) -> None:
        kinds = Text | TextDelta if is_text else Thinking | ThinkingDelta
        self._made = TextDelta if is_text else ThinkingDelta
        self._left = [
            _LiveSegment(number, event, event.content) for number, event in enumerate(live) if isinstance(event, kinds)
        ]
        self._first = 0
        self._is_growing = bool(self._left) and not _is_final(self._left[-1].event)
        self._lacks_words = self._is_corrected = False
        self._following = deque(event.content for event in stored if isinstance(event, kinds))

    def take(self, stored: _Words) -> _Found:
        """Find the words of the next stored segment on the live side."""
        self._following.popleft()
        following = self._following[0] if self._following else ""
        is_growing = not _is_final(stored) and not self._following
        used: list[_LiveSegment] = []
        rest = stored.content
        while rest and (segment := self._beginning_of(rest)) is not None:
            used.append(segment)
            segment.before = segment.rest
            over = segment.rest.removeprefix(rest) if segment.rest.startswith(rest) else ""
            more = None if over and (is_growing or following.startswith(over)) else _after(segment.rest, rest)
            if more is None:
                # The stored segment ends within this one.
                segment.rest = over or _after(rest, segment.rest) or ""
                segment.is_ahead = is_growing
                rest = ""
            else:
                rest, segment.rest, segment.is_found = more, "", True
        if not used and (cut := self._corrected_by(stored)) is not None:
            cut.rest, cut.is_found, self._is_corrected = "", True, True
            return _Found(stored, [Missing(stored)], [cut.number])
        self._lacks_words = self._lacks_words or bool(rest.strip())
        return _Found(self._form(stored, used), self._missing(stored, rest, used), [one.number for one in used])

    def _beginning_of(self, words: str) -> _LiveSegment | None:
        """Return the first live segment that these words begin with, or that begins with them."""
        is_blank = not words.strip()
        for segment in islice(self._unfound(), 1 if is_blank else _MOST_APART):
            shown = segment.rest
            if words.startswith(shown) or shown.startswith(words):
                return segment
            # White space alone matches only white space.
            if not is_blank and (_after(shown, words) is not None or _after(words, shown) is not None):
                return segment
        return None

    def _unfound(self) -> Iterator[_LiveSegment]:
        while self._first < len(self._left) and self._left[self._first].is_found:
            self._first += 1
        return (segment for segment in islice(self._left, self._first, None) if not segment.is_found)

    def _corrected_by(self, stored: _Words) -> _LiveSegment | None:
        """Return the cut run of deltas that this final corrects: it begins the same and continues differently."""
        cut = self._left[-1] if self._left else None
        if cut is None or _is_final(cut.event) or cut.rest != cut.event.content or not _is_final(stored):
            return None
        return cut if bare(cut.rest)[:1] == bare(stored.content)[:1] else None

    def _missing(self, stored: _Words, rest: str, used: list[_LiveSegment]) -> list[Missing]:
        """Return what to add to the live side for this stored segment, whose `rest` was not found there."""
        if not used:
            # A final that follows a run that still grows would be taken for its correction.
            return [Missing(self._made(content=rest) if self._is_growing else stored, rest)]
        last = used[-1]
        is_run = not _is_final(last.event)
        if len(used) == 1 and is_run and last.before == last.event.content and last.is_found and _is_final(stored):
            is_last = last is self._left[-1]
            self._is_growing = self._is_growing and not is_last
            # Trailing white space is shown, but not after other words.
            return [Missing(stored, rest if is_last or rest.strip() else "")]
        # White space after a final is what the service trimmed; in a run of deltas it goes on.
        goes_on = is_run and stored.content.endswith(last.before + rest)
        return [Missing(self._made(content=rest), rest)] if rest.strip() or (rest and goes_on) else []

    @staticmethod
    def _form(stored: _Words, used: list[_LiveSegment]) -> Event:
        """Return the merged segment: as stored, unless the live side has a final and the stored one is less."""
        if _is_final(stored) or len(used) != 1 or not _is_final(used[0].event):
            return stored
        if _after(stored.content, used[0].event.content) is None:
            return stored
        used[0].is_found = True
        return used[0].event

    @property
    def is_consistent(self) -> bool:
        """Whether what one side lacks comes after what both have. Ask when all stored segments are taken."""
        is_ahead = any(segment.rest.strip() for segment in self._unfound())
        return not self._is_corrected and not (is_ahead and self._lacks_words)

    def left(self) -> dict[int, Event]:
        """What was not found, by the number of its live event."""
        return {
            segment.number: segment.event
            if segment.rest == segment.event.content
            else segment.event.model_copy(update={"content": segment.rest})
            for segment in self._unfound()
            # White space after a final is what the service trimmed.
            if segment.rest == segment.event.content or segment.rest.strip() or segment.is_ahead
        }


def _is_final(event: _Words) -> bool:
    return isinstance(event, Text | Thinking)


def _after(beginning: str, words: str) -> str | None:
    """Return what follows this beginning in `words`; None if they begin differently. White space does not count."""
    rest = unshown_part(beginning, words)
    if rest is None and bare(words).startswith(start := bare(beginning)):
        rest = words[offset_of(len(start), words) :]
    return rest
