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

    __slots__ = ("_bare", "_joined", "_parts", "final", "is_text", "key", "next_run", "order", "previous_run")

    def __init__(self, *, is_text: bool) -> None:
        super().__init__()
        self.is_text = is_text
        self.final: Text | Thinking | None = None
        self._parts: list[str] = []
        self._joined: list[str] = []
        self._bare: str | None = None
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
        self._bare = None
        self._parts.append(piece)
        if len(self._parts) >= _JOIN_AT:
            self._joined.append("".join(self._parts))
            self._parts.clear()

    @property
    def words(self) -> str:
        """The content of the run so far."""
        if self._joined or len(self._parts) > 1:
            self._parts = ["".join((*self._joined, *self._parts))]
            self._joined.clear()
        return self._parts[0] if self._parts else ""

    @words.setter
    def words(self, words: str) -> None:
        self._bare = self._bare_of_part(words)
        self._parts, self._joined = [words], []

    def _bare_of_part(self, words: str) -> str | None:
        """Return `words` without white space if they are this run with one end cut off, else None."""
        whole, cut = self.words, len(self.words) - len(words)
        if self._bare is None or cut < 0:
            return None
        # Only what is cut off is looked at: many finals may each take their part of one long run.
        if whole.endswith(words):
            return self._bare[len(bare(whole[:cut])) :]
        if whole.startswith(words):
            return self._bare[: len(self._bare) - len(bare(whole[len(words) :]))]
        return None

    @property
    def bare(self) -> str:
        """The words without white space."""
        if self._bare is None:
            self._bare = bare(self.words)
        return self._bare

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
        return offset_of(self.length - sum(len(whole.bare) for whole in self.runs), run.words)

    def before_end(self, run: Segment) -> str:
        """The words of a run before the part at its end that the final covers."""
        words = run.words
        taken = words[offset_of(len(run.bare) - self.length, words) :].lstrip()
        return words[: len(words) - len(taken)]


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

    def replace(self, run: Segment, other: Segment) -> None:
        """Put another run in the place of this one."""
        self.open(run)
        other.order = run.order
        self._link(run.previous_run, other)
        self._link(other, run.next_run)

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

    def cut(self, run: Segment, words: str, *, grows: bool) -> None:
        """Let a run consist of these words."""
        self.open(run)
        run.words = words
        if not grows:
            self.close(run)

    def close(self, run: Segment) -> None:
        """Note that the run no longer grows, so that a late final finds it."""
        run.key = run.bare[:_KEY]
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
        if growing is not None and growing.words == final:
            return Match(Fit.WHOLE, len(growing.bare), [growing])
        wanted = bare(final)
        if not wanted:
            blank = growing if growing is not None and not growing.bare else next(self._alike(""), None)
            return None if blank is None else Match(Fit.WHOLE, 0, [blank])
        best = self._ending(wanted)
        for start in sorted(self._starts(wanted, growing), key=lambda run: run.order):
            found = _match_from(start, wanted)
            if found is not None and (best is None or (found.fit, found.length) > (best.fit, best.length)):
                best = found
        if best is None and growing is not None:
            return Match(Fit.CORRECTED if growing.bare else Fit.LONGER, 0, [growing])
        return best

    def _ending(self, wanted: str) -> Match | None:
        last = self._last
        # Its end is no longer than what is wanted; the rest of a long run is not looked at.
        from_here = 0 if last is None else max(0, len(last.bare) - len(wanted))
        at = -1 if last is None else last.bare.rfind(wanted[:_SHORTEST_PART], from_here)
        if last is None or at < 1 or not wanted.startswith(last.bare[at:]):
            return None
        length = len(last.bare) - at
        is_whole = length == len(wanted)
        if last.is_closed and not (_is_long(wanted) if is_whole else length >= _SHORTEST_PART):
            return None
        return Match(Fit.END_OF_RUN if is_whole else Fit.LONGER, length, end_of=last)

    def _starts(self, wanted: str, growing: Segment | None) -> set[Segment]:
        """The runs that may be the first of a match."""
        found = {run for run in (self._first, growing) if run is not None and run.bare}
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
        if wanted.startswith(run.bare, at):
            at += len(run.bare)
            runs.append(run)
        elif run.bare.startswith(wanted[at:]) and (runs or not run.is_closed or _is_long(wanted)):
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
