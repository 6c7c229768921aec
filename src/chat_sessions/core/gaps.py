"""Gaps: words of a turn that are lost on one side, because the event that brought them could not be read."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import takewhile

from chat_sessions.core.events import Event, UnknownEvent
from chat_sessions.core.segments import bare, offset_of

__all__ = ["Rest", "has_gap"]

_TEXT, _THINKING = ("text", "text_delta"), ("thinking", "thinking_delta")


def has_gap(events: Iterable[Event], *, is_text: bool | None = None) -> bool:
    """Whether words are lost: those of the answer, or with False of its thoughts; with None any of them."""
    kinds = (*_TEXT, *_THINKING) if is_text is None else _TEXT if is_text else _THINKING
    return any(isinstance(event, UnknownEvent) and event.type in kinds for event in events)


class Rest:
    """What the session shows of some words after the last one that has arrived. White space does not count.

    The words before a gap are the same on both sides. Those after it are looked for, as many of the last ones as are
    found. If none are, the rest begins where the gap does, or there is none if the gap `is_live`.
    """

    def __init__(self, live: str, stored: str, *, is_live: bool) -> None:
        self._is_spaced = live[-1:].isspace()
        live, stored = bare(live), bare(stored)
        same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(live, stored, strict=False)))
        found, size = -1, len(live) - same
        # Whatever ends with more of the words ends with fewer of them, too.
        shortest, longest = 1, size
        while shortest <= longest:
            size = (shortest + longest + 1) // 2
            at = stored.find(live[len(live) - size :], same)
            if at < 0:
                longest = size - 1
            else:
                found, shortest = at + size, size + 1
        if len(live) == same:
            found = same
        self._arrived = found if found >= 0 else len(stored) if is_live else same
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
