"""Gaps: words of a turn that are lost on one side, because the event that brought them could not be read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, islice
from typing import TypeAlias

from chat_sessions.core.events import Event, Text, TextDelta, Thinking, ThinkingDelta, UnknownEvent
from chat_sessions.core.segments import bare, offset_of

__all__ = ["Rest", "has_gap"]

# How many letters of two words, or of two ends of words, may be the same by chance.
_BY_CHANCE = 3
# How many places are looked at in one search: each look costs as much as the words are long.
_MOST_PLACES = 1000

_TEXT, _THINKING = ("text", "text_delta"), ("thinking", "thinking_delta")
# Up to where words that lack some were followed, and where that is in the whole ones.
_Reached: TypeAlias = tuple[int, int]


def has_gap(events: Sequence[Event], *, is_text: bool | None = None) -> bool:
    """Whether words are lost: with `is_text` True of the answer, with False of the reasoning, with None of either."""
    return _gaps_in(events, is_text=is_text) > 0


def _gaps_in(events: Sequence[Event], *, is_text: bool | None) -> int:
    kinds = (*_TEXT, *_THINKING) if is_text is None else _TEXT if is_text else _THINKING
    return sum(isinstance(event, UnknownEvent) and event.type in kinds for event in events)


def _words_of(events: Sequence[Event], *, is_text: bool) -> str:
    kinds = (Text, TextDelta) if is_text else (Thinking, ThinkingDelta)
    return "".join(event.content for event in events if isinstance(event, kinds))


class Rest:
    """The text or reasoning that the session shows after the last words received. White space is ignored.

    The words before the first gap are the same on both sides. Those after it are split into as few pieces as possible,
    which the other side has in the same order with as little as possible between them. If the live words are not such
    pieces, because the session lacks words too or has changed them, the rest follows the longest end of the live words
    that the session has; without one, the rest is empty.
    """

    def __init__(self, live: Sequence[Event], stored: Sequence[Event], *, is_text: bool) -> None:
        arrived = _words_of(live, is_text=is_text)
        self._is_spaced = arrived[-1:].isspace()
        mine, theirs = _Side(arrived), _Side(_words_of(stored, is_text=is_text))
        lost_live, lost_stored = (_gaps_in(events, is_text=is_text) for events in (live, stored))
        same = mine.common(0, theirs, 0)
        if same == len(mine.words):
            self._arrived = same
        elif lost_stored and not lost_live:
            self._arrived = _end_of(mine, theirs, same, lost_stored)
        else:
            self._arrived = _last_of(mine, theirs, same, lost_live)
        self._at = 0

    def of(self, content: str) -> str:
        """Return what has not arrived of the next words that the session shows."""
        size = len(bare(content))
        arrived = min(size, max(0, self._arrived - self._at))
        self._at += size
        rest = content[offset_of(arrived, content) :] if arrived else content
        if arrived and (self._is_spaced or not rest.strip()):
            rest = rest.lstrip()
        return rest


class _Side:
    """The words of one side without white space, and where in them a word begins."""

    def __init__(self, words: str) -> None:
        self.words = bare(words)
        self.starts = set(accumulate(map(len, words.split()), initial=0))
        # Whether the first word may be the end of one whose beginning is lost.
        self._is_open = not words[:1].isspace()

    def common(self, begin: int, other: _Side, at: int) -> int:
        """Return how many characters from `begin` on are those of the other side from `at` on."""

        def is_same(size: int, more: int) -> bool:
            return other.words.startswith(self.words[begin + size : begin + size + more], at + size)

        return _longest(len(self.words) - begin, is_same)

    def agrees(self, begin: int, size: int, other: _Side, at: int) -> bool:
        """Whether this piece is more than a few letters within a word of one side alone."""
        first = 1 if begin == 0 and self._is_open else 0
        return size > _BY_CHANCE or all(
            (begin + number in self.starts) == (at + number in other.starts) for number in range(first, size)
        )


def _longest(limit: int, is_longer: Callable[[int, int], bool]) -> int:
    """Return the greatest size up to `limit` for which a condition holds that also holds for all smaller sizes.

    `is_longer` says whether the condition, which holds for a size, also holds for this many more.
    """
    size, step = 0, 1
    # Twice as many more each time, then half as many.
    while step:
        if size + step <= limit and is_longer(size, step):
            size, step = size + step, 2 * step
        else:
            step //= 2
    return size


def _across(some: _Side, whole: _Side, same: int, *, is_strict: bool) -> Iterator[list[_Reached]]:
    """Follow words that lack some in the whole ones: across one gap, then across two, and so on.

    Of two that come equally far in the words, only the one that skips less is kept; so each next one comes further. If
    `is_strict`, pieces that may be there by chance do not count.
    """
    left = _MOST_PLACES
    reached = [(same, same)]
    while reached:
        further: list[_Reached] = []
        for begin, at in reached:
            size = 1
            while left and begin + size <= len(some.words):
                left -= 1
                if (at := whole.words.find(some.words[begin : begin + size], at)) < 0:
                    break
                longest = some.common(begin, whole, at)
                if not is_strict or some.agrees(begin, longest, whole, at):
                    further.append((begin + longest, at + longest))
                    # What is found later is of use only if it comes further.
                    size = longest + 1
                at += 1
        nearest: list[_Reached] = []
        for end in sorted(further, key=lambda end: (end[1] - end[0], -end[0])):
            if not nearest or end[0] > nearest[-1][0]:
                nearest.append(end)
        reached = nearest
        yield reached


def _last_of(live: _Side, stored: _Side, same: int, gaps: int) -> int:
    """Return where in the stored words the last of the live ones ends, of which some are lost."""
    searches = [_across(live, stored, same, is_strict=is_strict) for is_strict in (True, False)]
    for _ in range(gaps):
        for search in searches:
            if (reached := next(search, None)) and reached[-1][0] == len(live.words):
                return reached[-1][1]
    return _found_end(live, stored, same)


def _found_end(live: _Side, stored: _Side, same: int) -> int:
    """Return where in the stored words the longest end of the live ones that they have ends."""

    def has(size: int, more: int) -> bool:
        return stored.words.find(live.words[-size - more :], same) >= 0

    size = _longest(len(live.words) - same, has)
    begin, at = len(live.words) - size, same - 1
    for _ in range(_MOST_PLACES if size else 0):
        if (at := stored.words.find(live.words[begin:], at + 1)) < 0:
            break
        if live.agrees(begin, size, stored, at):
            return at + size
    return len(stored.words)


def _end_of(live: _Side, stored: _Side, same: int, gaps: int) -> int:
    """Return where in the stored words, of which some are lost, the live ones end."""
    searched = islice(_across(stored, live, same, is_strict=True), gaps)
    end, at = max((reached[-1] for reached in searched if reached), default=(same, same))
    if at == len(live.words):
        return end
    # The live words end within a gap. The word after it may begin as the lost one does.
    return next((start for start in range(end, end - _BY_CHANCE, -1) if start in stored.starts), end)
