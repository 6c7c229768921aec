"""Gaps: words of a turn that are lost on one side, because the event that brought them could not be read."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import accumulate, takewhile

from chat_sessions.core.events import Event, UnknownEvent
from chat_sessions.core.segments import bare, offset_of

__all__ = ["Rest", "has_gap"]

# How many letters of two words, or of two ends of words, may be the same by chance.
_BY_CHANCE = 3
# How many pieces are searched for, and how many shorter ends of one are tried: each search scans all the words.
_MOST_PIECES, _MOST_ENDS = 200, 1000

_TEXT, _THINKING = ("text", "text_delta"), ("thinking", "thinking_delta")


def has_gap(events: Iterable[Event], *, is_text: bool | None = None) -> bool:
    """Whether words are lost: with `is_text` True of the answer, with False of the reasoning, with None of either."""
    kinds = (*_TEXT, *_THINKING) if is_text is None else _TEXT if is_text else _THINKING
    return any(isinstance(event, UnknownEvent) and event.type in kinds for event in events)


class Rest:
    """The words that the session shows after the last one received. White space is ignored.

    The words before a gap are the same on both sides. Each piece after it is searched for after the previous piece, so
    that nothing is shown twice. If the last words are not found, the rest begins at the gap, or is empty if the gap
    `is_live`.
    """

    def __init__(self, live: str, stored: str, *, is_live: bool) -> None:
        self._is_spaced = live[-1:].isspace()
        mine, theirs = _Side(live), _Side(stored)
        pairs = zip(mine.words, theirs.words, strict=False)
        same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        if same == len(mine.words):
            self._arrived = same
        else:
            # The word after the gap may begin as the lost one does.
            first = next((at for at in range(same, same - _BY_CHANCE, -1) if at in theirs.starts), same)
            self._arrived = _last_of(mine, theirs, first) if is_live else _end_of(mine, theirs, first)
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

    def longest(self, begin: int, other: _Side, at: int) -> int:
        """Return the length of the longest piece from `begin` on that the other side has from `at` on."""
        size, step = 0, 1
        # If a longer piece matches, so does a shorter one: double the step until it fails, then halve it.
        while step:
            end = begin + size + step
            if end <= len(self.words) and other.words.find(self.words[begin:end], at) >= 0:
                size, step = size + step, 2 * step
            else:
                step //= 2
        return size

    def agrees(self, begin: int, size: int, other: _Side, at: int) -> bool:
        """Whether this piece is more than a few letters within a word of one side alone."""
        is_first = begin == 0 and self._is_open
        return size > _BY_CHANCE or is_first or (begin in self.starts) == (at in other.starts)


def _last_of(live: _Side, stored: _Side, at: int) -> int:
    """Return where in the stored words the last of the live ones ends, of which some are lost."""
    begin, size = at, 0
    for _ in range(_MOST_PIECES):
        if begin >= len(live.words):
            return at if size else len(stored.words)
        size = live.longest(begin, stored, at)
        piece = live.words[begin : begin + size]
        first = found = stored.words.find(piece, at)
        while size and found >= 0 and not live.agrees(begin, size, stored, found):
            found = stored.words.find(piece, found + 1)
        at = (first if found < 0 else found) + size
        # Skip a letter that is not found: the service has changed it.
        begin += size or 1
    return len(stored.words)


def _end_of(live: _Side, stored: _Side, at: int) -> int:
    """Return where in the stored words, of which some are lost, the live ones end."""
    begin = at
    for _ in range(_MOST_PIECES):
        if not (size := stored.longest(begin, live, at)):
            break
        for overlap in range(size, max(size - _MOST_ENDS, 0), -1):
            last = len(live.words) - overlap
            if live.words.endswith(stored.words[begin : begin + overlap]) and stored.agrees(begin, overlap, live, last):
                return begin + overlap
        at = live.words.find(stored.words[begin : begin + size], at)
        end = begin + size
        is_word = end in stored.starts or not stored.words[end : end + 1].isalnum()
        if not stored.agrees(begin, size, live, at) or not (is_word or size > _BY_CHANCE):
            break
        begin, at = end, at + size
    return begin
