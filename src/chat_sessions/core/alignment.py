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
from itertools import islice, pairwise
from typing import TypeAlias

from chat_sessions.core.events import Event, Stop, Text, TextDelta, Thinking, ThinkingDelta, ToolCall, ToolResult
from chat_sessions.core.gaps import Rest, has_gap
from chat_sessions.core.segments import bare, offset_of

__all__ = ["Alignment", "Missing", "align"]

_Words: TypeAlias = Text | TextDelta | Thinking | ThinkingDelta
# How many live segments are searched for the beginning of a stored one.
_MOST_APART = 8
# How many characters are compared first; then twice as many each time, so that words that differ soon cost little.
_COMPARED_FIRST = 64


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
    """Put the live side and the stored side of one turn together, in time linear in both.

    If words of one side could not be read, the sides are merged only once the session shows the turn's end; the other
    side's words are then used: see `core.gaps`.
    """
    if has_gap(live) or has_gap(stored):
        if not stored or not isinstance(stored[-1], Stop):
            return Alignment(tuple(live), (), is_consistent=True)
        if not has_gap(live):
            return _continued(live, stored)
    text, thinking = (
        _Replaced(live, stored, is_text=is_text)
        if has_gap(live, is_text=is_text)
        else _Lane(live, stored, is_text=is_text)
        for is_text in (True, False)
    )
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


def _continued(live: Sequence[Event], stored: Sequence[Event]) -> Alignment:
    """Return the live side, followed by what only the session shows. The session's words have a gap."""
    others = _Others(live)
    rests = {is_text: Rest(live, stored, is_text=is_text) for is_text in (True, False)}
    missing: list[Missing] = []
    for event in stored:
        if not isinstance(event, _Words):
            missing += [Missing(event)] if others.take(event) is None else []
            continue
        is_text = isinstance(event, Text | TextDelta)
        if rest := rests[is_text].of(event.content):
            missing.append(Missing(TextDelta(content=rest) if is_text else ThinkingDelta(content=rest), rest))
    return Alignment((*live, *(one.event for one in missing)), tuple(missing), is_consistent=True)


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


class _Rest:
    """The part of some words that is not matched yet: an offset into them, since copying each rest would add up."""

    __slots__ = ("_at_bare", "_bare", "at", "words")

    def __init__(self, words: str) -> None:
        self.words = words
        self.at = 0
        self._bare = bare(words)
        self._at_bare = 0

    @property
    def rest(self) -> str:
        """The rest itself, as a copy."""
        return self.words[self.at :]

    @property
    def has_more(self) -> bool:
        """Whether anything is left."""
        return self.at < len(self.words)

    @property
    def has_words(self) -> bool:
        """Whether more than white space is left."""
        return self._at_bare < len(self._bare)

    @property
    def first(self) -> str:
        """The first character that is not white space; "" if there is none."""
        return self._bare[self._at_bare : self._at_bare + 1]

    def end(self) -> None:
        """Leave nothing."""
        self.at, self._at_bare = len(self.words), len(self._bare)

    def begins_with(self, words: str, at: int = 0) -> bool:
        """Whether the rest begins with these words from `at` on, white space included."""
        return _begins_with(self.words, self.at, words, at)

    def began_with(self, words: str) -> bool:
        """Whether the whole words, matched part included, begin with these. Ignores white space."""
        return self._bare.startswith(bare(words))

    def agrees(self, other: _Rest) -> bool:
        """Whether either is a prefix of the other. Ignores white space."""
        at, at_other, step = self._at_bare, other._at_bare, _COMPARED_FIRST
        end = at + min(len(self._bare) - at, len(other._bare) - at_other)
        while at < end:
            step = min(step, end - at)
            if self._bare[at : at + step] != other._bare[at_other : at_other + step]:
                return False
            at, at_other, step = at + step, at_other + step, 2 * step
        return True

    def is_within(self, other: _Rest) -> bool:
        """Whether all of this is a prefix of the other. Ignores white space."""
        return len(self._bare) - self._at_bare <= len(other._bare) - other._at_bare and self.agrees(other)

    def pass_over(self, beginning: _Rest) -> None:
        """Advance past this beginning, which must be a prefix of the rest."""
        start = beginning.at
        if not self.begins_with(beginning.words, start):
            # White space at the beginning may differ, and at the end it is passed over only if it is the same.
            start = offset_of(1, beginning.words, start) - 1 if beginning.has_words else len(beginning.words)
        length = len(beginning._bare) - beginning._at_bare
        if self.begins_with(beginning.words, start):
            self.at += len(beginning.words) - start
        else:
            self.at = offset_of(length, self.words, self.at)
        self._at_bare += length


class _LiveSegment:
    """A live segment, and the part of it that no stored segment has matched yet."""

    __slots__ = ("after", "before", "event", "is_ahead", "is_found", "left", "number")

    def __init__(self, number: int, event: _Words) -> None:
        self.number = number
        self.event = event
        self.left = _Rest(event.content)
        # What had not been found before the last stored segment: the words from here on.
        self.before = 0
        self.is_found = False
        # Whether the session's run of deltas has yet to catch up with it.
        self.is_ahead = False
        # The segment after it that may not be found yet.
        self.after: _LiveSegment | None = None


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
        segments = [_LiveSegment(number, event) for number, event in enumerate(live) if isinstance(event, kinds)]
        for segment, after in pairwise(segments):
            segment.after = after
        self._first = segments[0] if segments else None
        self._last = segments[-1] if segments else None
        self._is_growing = self._last is not None and not _is_final(self._last.event)
        self._lacks_words = self._is_corrected = False
        self._following = deque(event.content for event in stored if isinstance(event, kinds))

    def take(self, stored: _Words) -> _Found:
        """Find the words of the next stored segment on the live side."""
        self._following.popleft()
        following = self._following[0] if self._following else ""
        is_growing = not _is_final(stored) and not self._following
        used: list[_LiveSegment] = []
        rest = _Rest(stored.content)
        while rest.has_more and (segment := self._beginning_of(rest)) is not None:
            used.append(segment)
            shown, segment.before = segment.left, segment.left.at
            goes_on = len(shown.words) - shown.at > len(rest.words) - rest.at
            over = shown.at + len(rest.words) - rest.at if goes_on and shown.begins_with(rest.words, rest.at) else None
            is_over = over is not None and (is_growing or _begins_with(following, 0, shown.words, over))
            if not is_over and shown.is_within(rest):
                rest.pass_over(shown)
                shown.end()
                segment.is_found = True
            else:
                # The stored segment ends within this one.
                shown.pass_over(rest)
                rest.end()
                segment.is_ahead = is_growing
        if not used and (cut := self._corrected_by(stored, rest)) is not None:
            cut.left.end()
            cut.is_found = self._is_corrected = True
            return _Found(stored, [Missing(stored)], [cut.number])
        self._lacks_words = self._lacks_words or rest.has_words
        return _Found(self._form(stored, used), self._missing(stored, rest.rest, used), [one.number for one in used])

    def _beginning_of(self, words: _Rest) -> _LiveSegment | None:
        """Return the first live segment that these words begin with, or that begins with them."""
        for segment in islice(self._unfound(), _MOST_APART if words.has_words else 1):
            shown = segment.left
            # White space alone matches only white space.
            if (
                words.agrees(shown)
                if words.has_words
                else words.begins_with(shown.words, shown.at) or shown.begins_with(words.words, words.at)
            ):
                return segment
        return None

    def _unfound(self) -> Iterator[_LiveSegment]:
        while self._first is not None and self._first.is_found:
            self._first = self._first.after
        segment = self._first
        while segment is not None:
            yield segment
            while segment.after is not None and segment.after.is_found:
                # Those that were found are passed by once.
                segment.after = segment.after.after
            segment = segment.after

    def _corrected_by(self, stored: _Words, words: _Rest) -> _LiveSegment | None:
        """Return the cut run of deltas that this final corrects: it begins the same and continues differently."""
        cut = self._last
        if cut is None or _is_final(cut.event) or cut.left.at or not _is_final(stored):
            return None
        return cut if cut.left.first == words.first else None

    def _missing(self, stored: _Words, rest: str, used: list[_LiveSegment]) -> list[Missing]:
        """Return what to add to the live side for this stored segment, whose `rest` was not found there."""
        if not used:
            # A final right after a growing run would be taken for its correction.
            return [Missing(self._made(content=rest) if self._is_growing else stored, rest)]
        last = used[-1]
        is_run = not _is_final(last.event)
        if len(used) == 1 and is_run and not last.before and last.is_found and _is_final(stored):
            is_last = last is self._last
            self._is_growing = self._is_growing and not is_last
            # Trailing white space is shown, but not after other words.
            return [Missing(stored, rest if is_last or rest.strip() else "")]
        # White space after a final is what the service trimmed; in a run of deltas it counts.
        if rest.strip() or (rest and is_run and stored.content.endswith(last.event.content[last.before :] + rest)):
            self._is_growing = True
            return [Missing(self._made(content=rest), rest)]
        return []

    @staticmethod
    def _form(stored: _Words, used: list[_LiveSegment]) -> Event:
        """Return the merged segment: as stored, unless the live side has a final and the stored one is less."""
        if _is_final(stored) or len(used) != 1 or not _is_final(used[0].event):
            return stored
        if not used[0].left.began_with(stored.content):
            return stored
        used[0].is_found = True
        return used[0].event

    @property
    def is_consistent(self) -> bool:
        """Whether what one side lacks comes after what both have. Ask when all stored segments are taken."""
        is_ahead = any(segment.left.has_words for segment in self._unfound())
        return not self._is_corrected and not (is_ahead and self._lacks_words)

    def left(self) -> dict[int, Event]:
        """What was not found, by the number of its live event."""
        return {
            segment.number: segment.event.model_copy(update={"content": segment.left.rest})
            if segment.left.at
            else segment.event
            for segment in self._unfound()
            # White space after a final is what the service trimmed.
            if not segment.left.at or segment.left.has_words or segment.is_ahead
        }


class _Replaced:
    """A lane for words of which the live side lost some: the session's words replace them."""

    is_consistent = True

    def __init__(self, live: Sequence[Event], stored: Sequence[Event], *, is_text: bool) -> None:
        self._known = {event.content for event in live if isinstance(event, Text if is_text else Thinking)}
        self._rest = Rest(live, stored, is_text=is_text)

    def take(self, stored: _Words) -> _Found:
        """Return the stored segment, with what the live side lacks at its end."""
        rest = self._rest.of(stored.content)
        is_news = bool(rest) or (_is_final(stored) and stored.content not in self._known)
        return _Found(stored, [Missing(stored, rest)] if is_news else [])

    @staticmethod
    def left() -> dict[int, Event]:
        """Nothing is left of the live words."""
        return {}


def _is_final(event: _Words) -> bool:
    return isinstance(event, Text | Thinking)


def _begins_with(words: str, at: int, beginning: str, start: int) -> bool:
    """Whether `words[at:]` starts with `beginning[start:]`; a beginning that is too long is not compared."""
    return len(beginning) - start <= len(words) - at and words.startswith(beginning[start:], at)
