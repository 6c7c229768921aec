"""Segments of text or thinking, and the rules for which of them a final completes.

A service sends a segment as deltas, as a final that holds all of it, or as both, with anything in between. So a final
must be matched with the runs of deltas that still wait for theirs. White space is not compared: services trim it. Of
several matches the best is, in this order:

1. runs that together are the final: one run, or neighbours of one kind that something else had cut apart;
2. a run that begins with the final: another segment follows in it without a gap;
3. the last run, if it ends with the final: a segment whose own final never came precedes it;
4. runs, or the end of the last run, that the final begins with: it goes further than its deltas did. The
   longest such match comes first;
5. the run that still grows: the final corrects it.

Among equals the earliest wins, as late finals come in the order of their segments.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import islice

from chat_sessions.core.events import Text, TextDelta, Thinking, ThinkingDelta, UnknownEvent

__all__ = ["Fit", "Item", "Lane", "Match", "Segment", "bare", "offset_of", "unshown_part"]

_JOIN_AT = 2048
_KEY = 8
# A final of at least this many characters can be part of a closed run; a shorter one is a segment that was sent whole,
# unless it ends a sentence.
_SHORTEST_PART = 4
# How many runs that begin with the same words are compared with one final.
_MOST_ALIKE = 8


def bare(words: str) -> str:
    """The words without white space."""
    return "".join(words.split())


class Item:
    """A link of the list that makes up a turn. `asides` are events that hang on it."""

    __slots__ = ("after", "asides", "before")

    def __init__(self) -> None:
        self.before: Item | None = None
        self.after: Item | None = None
        self.asides: list[UnknownEvent] = []

    def insert(self, item: Item) -> None:
        """Insert an item after this one."""
        item.before, item.after = self, self.after
        if self.after is not None:
            self.after.before = item
        self.after = item

    def remove(self) -> Item:
        """Remove this item; its asides move to the item before it, which is returned."""
        before = self.before
        assert before is not None  # noqa: S101 - the first link of a chain stays
        before.asides += self.asides
        before.after = self.after
        if self.after is not None:
            self.after.before = before
        return before


class Segment(Item):
    """A run of deltas until its final comes, then that final."""

    # A cut moves the start or the end of the words and of the bare words, and copies neither: many finals may each take
    # their part of one long run.
    __slots__ = (
        "_bare",
        "_bare_end",
        "_bare_start",
        "_end",
        "_joined",
        "_parts",
        "_start",
        "_words",
        "final",
        "is_text",
        "key",
        "next_run",
        "order",
        "previous_run",
    )

    def __init__(self, *, is_text: bool) -> None:
        super().__init__()
        self.is_text = is_text
        self.final: Text | Thinking | None = None
        self._words = ""
        self._start = self._end = 0
        self._bare: str | None = None
        self._bare_start = self._bare_end = 0
        # What came since the words were last looked at.
        self._parts: list[str] = []
        self._joined: list[str] = []
        # Its place among the runs that wait: see `Lane`.
        self.order = 0
        self.key: str | None = None
        self.previous_run: Segment | None = None
        self.next_run: Segment | None = None

    @classmethod
    def whole(cls, final: Text | Thinking) -> Segment:
        """A segment of which only the final is known."""
        segment = cls(is_text=isinstance(final, Text))
        segment.final = final
        return segment

    @property
    def is_run(self) -> bool:
        """Whether it still waits for its final."""
        return self.final is None

    @property
    def is_closed(self) -> bool:
        """Whether it waits for its final and no longer grows."""
        return self.key is not None

    def append(self, piece: str) -> None:
        """Take in the content of one more delta."""
        self._parts.append(piece)
        if len(self._parts) >= _JOIN_AT:
            self._joined.append("".join(self._parts))
            self._parts.clear()

    def _all_words(self) -> str:
        """The string in which the words are."""
        if self._parts or self._joined:
            new = self._parts[0] if len(self._parts) == 1 and not self._joined else "".join(self._joined + self._parts)
            self._parts, self._joined = [], []
            if self._bare is not None:
                self._bare = self._bare[self._bare_start : self._bare_end] + bare(new)
                self._bare_start, self._bare_end = 0, len(self._bare)
            self._words = self._words[self._start : self._end] + new if self._start < self._end else new
            self._start, self._end = 0, len(self._words)
        return self._words

    def _all_bare(self) -> str:
        """The string in which the words are without white space."""
        words = self._all_words()
        if self._bare is None:
            self._bare = bare(words[self._start : self._end])
            self._bare_start, self._bare_end = 0, len(self._bare)
        return self._bare

    @property
    def words(self) -> str:
        """The content of the run so far."""
        words = self._all_words()
        return words[self._start : self._end]

    @property
    def size(self) -> int:
        """How many characters it has without white space."""
        self._all_bare()
        return self._bare_end - self._bare_start

    def beginning(self, length: int) -> str:
        """The first characters without white space."""
        found = self._all_bare()
        return found[self._bare_start : min(self._bare_start + length, self._bare_end)]

    def ending(self, length: int) -> str:
        """The last characters without white space."""
        found = self._all_bare()
        return found[max(self._bare_start, self._bare_end - length) : self._bare_end]

    def words_before(self, offset: int) -> str:
        """The words before this offset."""
        words = self._all_words()
        return words[self._start : min(self._start + offset, self._end)]

    def offset_behind(self, length: int) -> int:
        """The offset right after this many characters, not counting white space."""
        return offset_of(length, self._all_words(), self._start) - self._start

    def offset_before(self, length: int) -> int:
        """The offset at which the last characters begin that are this many without white space."""
        words, start = self._all_words(), self._end
        # As in `offset_of`, from the end.
        while length > 0 and start > self._start:
            piece = words[max(self._start, start - length) : start]
            start -= len(piece)
            length -= len(bare(piece))
        return start - self._start

    def keep(self, start: int, end: int | None = None) -> None:
        """Cut off what comes before and after these offsets."""
        words, whole = self._all_words(), self._bare
        start, end = self._start + start, self._end if end is None else self._start + end
        if whole is not None:
            # Only what is cut off is looked at.
            self._bare_start += len(bare(words[self._start : start]))
            self._bare_end -= len(bare(words[end : self._end]))
        self._start, self._end = start, end

    def event(self, *, ended: bool) -> Text | TextDelta | Thinking | ThinkingDelta:
        """The segment as one event: a delta as long as a final may still come."""
        if self.final is not None:
            return self.final
        if self.is_text:
            return Text(content=self.words) if ended else TextDelta(content=self.words)
        return Thinking(content=self.words) if ended else ThinkingDelta(content=self.words)


class Fit(IntEnum):
    """How a final fits the runs that wait, the best last."""

    CORRECTED = 0
    LONGER = 1
    END_OF_RUN = 2
    BEGINNING_OF_RUN = 3
    WHOLE = 4


@dataclass(frozen=True, slots=True)
class Match:
    """What a final completes: whole `runs`, then the beginning of a run, or the end of one alone.

    `length` is how much of the final they hold, in characters without white space.
    """

    fit: Fit
    length: int
    runs: list[Segment] = field(default_factory=list[Segment])
    beginning_of: Segment | None = None
    end_of: Segment | None = None

    def unshown_part(self, final: str, growing: Segment | None) -> str:
        """The part of the final that the runs did not show; empty for a correction: nothing shown is taken back."""
        if self.fit in (Fit.CORRECTED, Fit.BEGINNING_OF_RUN):
            return ""
        rest = unshown_part("".join(run.words for run in self.runs), final) if self.end_of is None else None
        if rest is None:
            rest = final[offset_of(self.length, final) :]
        # White space at the end of a late final is not worth a delta after other things.
        return rest if (growing is not None and growing in (self.end_of, *self.runs[-1:])) or rest.strip() else ""

    def end_of_beginning(self, run: Segment) -> int:
        """The offset at which the final's part of a run ends; the run follows those that the final covers whole."""
        return run.offset_behind(self.length - sum(whole.size for whole in self.runs))


class Lane:
    """The runs of one kind, text or thinking, that wait for their final, in the order in which they began."""

    def __init__(self) -> None:
        self._first: Segment | None = None
        self._last: Segment | None = None
        self._count = 0
        # Runs that no longer grow, by their beginning.
        self._closed: dict[str, dict[int, Segment]] = {}

    def append(self, run: Segment) -> None:
        """Add a run that begins."""
        self._count += 1
        run.order = self._count
        run.previous_run, run.next_run = self._last, None
        if self._last is None:
            self._first = run
        else:
            self._last.next_run = run
        self._last = run

    def remove(self, run: Segment) -> None:
        """Remove a run that no longer waits."""
        self.open(run)
        self._link(run.previous_run, run.next_run)

    def _link(self, one: Segment | None, other: Segment | None) -> None:
        if one is None:
            self._first = other
        else:
            one.next_run = other
        if other is None:
            self._last = one
        else:
            other.previous_run = one

    def cut(self, run: Segment, start: int, end: int | None = None, *, grows: bool) -> None:
        """Cut off what a run has before and after these offsets."""
        self.open(run)
        run.keep(start, end)
        if not grows:
            self.close(run)

    def close(self, run: Segment) -> None:
        """Note that the run no longer grows, so that a late final finds it."""
        run.key = run.beginning(_KEY)
        self._closed.setdefault(run.key, {})[run.order] = run

    def open(self, run: Segment) -> None:
        """Note that the run grows again, or no longer waits."""
        if run.key is not None:
            alike = self._closed[run.key]
            del alike[run.order]
            if not alike:
                del self._closed[run.key]
            run.key = None

    def match(self, final: str, growing: Segment | None) -> Match | None:
        """Return what this final completes; None if it is a separate segment. `growing` is this lane's open run, or
        None.

        The time taken depends on the final and what it completes, not on how much else is waiting.
        """
        if growing is not None and growing.words_before(len(final) + 1) == final:
            return Match(Fit.WHOLE, growing.size, [growing])
        wanted = bare(final)
        if not wanted:
            blank = growing if growing is not None and not growing.size else next(self._alike(""), None)
            return None if blank is None else Match(Fit.WHOLE, 0, [blank])
        best = self._ending(wanted)
        for start in sorted(self._starts(wanted, growing), key=lambda run: run.order):
            found = _match_from(start, wanted)
            if found is not None and (best is None or (found.fit, found.length) > (best.fit, best.length)):
                best = found
        if best is None and growing is not None:
            return Match(Fit.CORRECTED if growing.size else Fit.LONGER, 0, [growing])
        return best

    def _ending(self, wanted: str) -> Match | None:
        last = self._last
        if last is None:
            return None
        # No longer than what is wanted; the rest of a long run is not looked at.
        end = last.ending(len(wanted))
        at = end.rfind(wanted[:_SHORTEST_PART])
        length = len(end) - at
        if at < 0 or length == last.size or not wanted.startswith(end[at:]):
            return None
        is_whole = length == len(wanted)
        if last.is_closed and not (_is_long(wanted) if is_whole else length >= _SHORTEST_PART):
            return None
        return Match(Fit.END_OF_RUN if is_whole else Fit.LONGER, length, end_of=last)

    def _starts(self, wanted: str, growing: Segment | None) -> set[Segment]:
        """The runs that may be the first of a match."""
        found = {run for run in (self._first, growing) if run is not None and run.size}
        for length in range(1, min(_KEY, len(wanted)) + 1):
            found.update(self._alike(wanted[:length]))
        return found

    def _alike(self, key: str) -> Iterator[Segment]:
        return islice(self._closed.get(key, {}).values(), _MOST_ALIKE)


def _match_from(start: Segment, wanted: str) -> Match | None:
    runs: list[Segment] = []
    at = 0
    run: Segment | None = start
    while run is not None and at < len(wanted):
        left = len(wanted) - at
        beginning = run.beginning(left)
        if run.size <= left and wanted.startswith(beginning, at):
            at += run.size
            runs.append(run)
        elif beginning == wanted[at:] and (runs or not run.is_closed or _is_long(wanted)):
            return Match(Fit.BEGINNING_OF_RUN, len(wanted), runs, beginning_of=run)
        else:
            break
        run = run.next_run
    return Match(Fit.WHOLE if at == len(wanted) else Fit.LONGER, at, runs) if at else None


def _is_long(wanted: str) -> bool:
    """Whether a final is long enough to be a part of a run that no longer grows."""
    return len(wanted) >= _SHORTEST_PART or not wanted[-1].isalnum()


def offset_of(length: int, words: str, start: int = 0) -> int:
    """Return the offset in these words that is this many characters without white space after `start`."""
    # As many characters as are still needed never go too far.
    while length > 0 and start < len(words):
        piece = words[start : start + length]
        start += len(piece)
        length -= len(bare(piece))
    return start


def unshown_part(shown: str, final: str) -> str | None:
    """Return what `final` adds to what was shown; None if it is a different text. Ignores white space at the ends."""
    for start in (shown, shown.lstrip(), shown.strip()):
        if final.startswith(start):
            return final[len(start) :]
    return None
