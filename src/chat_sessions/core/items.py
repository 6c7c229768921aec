"""The events of a turn so far, in canonical order: each segment of text or thinking is one item.

They form a linked list, so that a final can replace runs far back at a constant cost. Events of unknown types are
attached to the item before them, so that they don't split a text segment.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from chat_sessions.core.events import (
    Event,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ToolCall,
    ToolResult,
    UnknownEvent,
)
from chat_sessions.core.segments import Item, Lane, Match, Segment

__all__ = ["Items"]


class _Tool(Item):
    """A call or a result."""

    __slots__ = ("event",)

    def __init__(self, event: ToolCall | ToolResult) -> None:
        super().__init__()
        self.event = event


class Items:
    """The items so far. Begins with the given events, which are taken as canonical."""

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self._head = self._tail = Item()
        self._text, self._thinking = Lane(), Lane()
        # The run that the next delta of its kind continues: always the last item.
        self._growing: Segment | None = None
        for event in events:
            match event:
                case TextDelta() | ThinkingDelta():
                    self.grow(event)
                case Text() | Thinking():
                    self._append(Segment.whole(event))
                case ToolCall() | ToolResult():
                    self.append(event)
                case UnknownEvent():
                    self.hang(event)
                case _:
                    pass  # a prompt and a stop are the turn's own

    def events(self, *, ended: bool) -> tuple[Event, ...]:
        """The canonical events. A run without a final is a delta event until the turn has `ended`."""
        return tuple(self._events(ended=ended))

    def _events(self, *, ended: bool) -> Iterator[Event]:
        item: Item | None = self._head
        while item is not None:
            if isinstance(item, Segment):
                yield item.event(ended=ended)
            elif isinstance(item, _Tool):
                yield item.event
            yield from item.asides
            item = item.after

    def append(self, event: ToolCall | ToolResult) -> None:
        """Add a tool event; it ends the run before it."""
        self._append(_Tool(event))

    def hang(self, event: UnknownEvent) -> None:
        """Add an event of an unknown type."""
        self._tail.asides.append(event)

    def grow(self, delta: TextDelta | ThinkingDelta) -> None:
        """Add a delta, to the run at the end if that is of its kind."""
        is_text = isinstance(delta, TextDelta)
        if self._growing is None or self._growing.is_text is not is_text:
            run = Segment(is_text=is_text)
            self._append(run)
            self._lane(run).append(run)
            self._growing = run
        self._growing.append(delta.content)

    def complete(self, final: Text | Thinking) -> str:
        """Replace the runs that a final completes; return the part of it that they did not show."""
        is_text = isinstance(final, Text)
        growing = self._growing if self._growing is not None and self._growing.is_text is is_text else None
        match = (self._text if is_text else self._thinking).match(final.content, growing)
        if match is None:
            self._append(Segment.whole(final))
            return final.content
        unshown = match.unshown_part(final.content, growing)
        if match.beginning_of is not None:
            self._cut_beginning(match, match.beginning_of, final)
        elif match.end_of is not None:
            self._cut_end(match, match.end_of, final)
        for run in match.runs[1:]:
            self._drop(run)
        for run in match.runs[:1]:
            self._lane(run).remove(run)
            run.final = final
        self._growing = self._last_run()
        return unshown

    def _lane(self, run: Segment) -> Lane:
        return self._text if run.is_text else self._thinking

    def _append(self, item: Item) -> None:
        if self._growing is not None:
            self._lane(self._growing).close(self._growing)
            self._growing = None
        self._insert(self._tail, item)

    def _insert(self, before: Item, item: Item) -> None:
        before.insert(item)
        if self._tail is before:
            self._tail = item

    def _last_run(self) -> Segment | None:
        """The run at the end, open for more; None if something else is there."""
        last = self._tail
        if not isinstance(last, Segment) or not last.is_run:
            return None
        self._lane(last).open(last)
        return last

    def _cut_beginning(self, match: Match, run: Segment, final: Text | Thinking) -> None:
        """Let a final take the beginning of a run, after the runs that it takes whole."""
        at = match.end_of_beginning(run)
        if not match.runs:
            if run.words_before(len(final.content)) == final.content:
                at = len(final.content)
            whole, before = Segment.whole(final), run.before
            assert before is not None  # noqa: S101 - the first link of a chain is no run
            before.insert(whole)
            whole.asides, run.asides = run.asides, []
        self._cut(run, at)

    def _cut_end(self, match: Match, run: Segment, final: Text | Thinking) -> None:
        """Let a final take the end of a run."""
        self._insert(run, Segment.whole(final))
        self._cut(run, 0, run.offset_before(match.length))

    def _cut(self, run: Segment, start: int, end: int | None = None) -> None:
        """Cut off what a run has before and after these offsets."""
        self._lane(run).cut(run, start, end, grows=run is self._tail)

    def _drop(self, run: Segment) -> None:
        """Remove a run; the two runs of one kind around it become one."""
        before, after = run.before, run.after
        self._take_out(run)
        if (
            isinstance(before, Segment)
            and isinstance(after, Segment)
            and before.is_run
            and after.is_run
            and before.is_text is after.is_text
        ):
            before.append(after.words)
            self._cut(before, 0)
            self._take_out(after)

    def _take_out(self, run: Segment) -> None:
        self._lane(run).remove(run)
        before = run.remove()
        if self._tail is run:
            self._tail = before
