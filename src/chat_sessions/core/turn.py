"""One turn: what the user asked and everything up to its `stop`.

A `Turn` is a frozen value: a prompt and the events of the answer, with everything else
derived from them. `TurnFold` makes one from events as they come, `replay` makes all turns
of a history, and both give equal turns whatever the service sent or stored: deltas, finals
or both.

Deltas are for display; the `text` or `thinking` that follows is canonical. A final that
arrives takes the place of the deltas it completes:

- deltas that equal it, even if tools ran in between (finals may come late);
- else the deltas still open before it: it extends them, or corrects them;
- else it is a segment of its own, for which no deltas were sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, TypeAlias

from pydantic import JsonValue

from chat_sessions.core.events import (
    Event,
    Stop,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ToolCall,
    ToolResult,
    UnknownEvent,
    UserInput,
)
from chat_sessions.core.models import ImageAttachment, Usage
from chat_sessions.core.sources import Source, distinct, sources_in

__all__ = ["ToolRun", "ToolStatus", "Turn", "TurnFold", "fold", "replay", "unshown_part"]

ToolStatus: TypeAlias = Literal["running", "completed", "failed", "unanswered"]


@dataclass(frozen=True)
class ToolRun:
    """A tool call with its result.

    `status` is "running" until a result comes, then "completed", or "failed" where the result
    itself says that it is an error; "unanswered" is a call whose turn ended without a result.
    A result without a call has empty `arguments`.
    """

    call_id: str
    name: str
    arguments: Mapping[str, JsonValue]
    result: JsonValue = None
    image_attachment: ImageAttachment | None = None
    status: ToolStatus = "running"

    @cached_property
    def sources(self) -> tuple[Source, ...]:
        """The passages that the result cites, in its order; empty where it cites none."""
        if self.status in ("running", "unanswered"):
            return ()
        return sources_in(self.result, arguments=self.arguments, image=self.image_attachment)


@dataclass(frozen=True)
class Turn:
    """One user input and everything up to its `stop`.

    `events` are the events of the answer in canonical form: each segment of text or thinking is
    one event, a delta event only as long as its final may still come. `prompt` is None where a
    history does not hold the user's message.
    """

    prompt: str | None = None
    events: tuple[Event, ...] = ()

    @cached_property
    def text(self) -> str:
        """The answer: its segments, joined as they were streamed."""
        return "".join(event.content for event in self.events if isinstance(event, Text | TextDelta))

    @cached_property
    def thinking(self) -> str:
        """The agent's reasoning, joined as it was streamed."""
        return "".join(event.content for event in self.events if isinstance(event, Thinking | ThinkingDelta))

    @cached_property
    def tool_runs(self) -> tuple[ToolRun, ...]:
        """The tools that ran, in the order of their calls."""
        runs: list[ToolRun] = []
        open_runs: dict[str, int] = {}
        for event in self.events:
            if isinstance(event, ToolCall):
                open_runs[event.call_id] = len(runs)
                runs.append(ToolRun(event.call_id, event.name, event.arguments))
            elif isinstance(event, ToolResult):
                position = open_runs.pop(event.call_id, None)
                arguments: Mapping[str, JsonValue] = {} if position is None else runs[position].arguments
                run = ToolRun(
                    event.call_id,
                    event.name,
                    arguments,
                    event.result,
                    event.image_attachment,
                    "failed" if _says_error(event.result) else "completed",
                )
                if position is None:
                    runs.append(run)
                else:
                    runs[position] = run
        if self.is_complete:
            # Not only the calls still open: a call id may have been used again before its first result.
            for position, run in enumerate(runs):
                if run.status == "running":
                    runs[position] = ToolRun(run.call_id, run.name, run.arguments, status="unanswered")
        return tuple(runs)

    @cached_property
    def sources(self) -> tuple[Source, ...]:
        """The passages that the tool results cite, each once, in the order in which they came. See `distinct`."""
        return distinct(source for run in self.tool_runs for source in run.sources)

    @property
    def stop(self) -> Stop | None:
        """The event that ended the turn, or None."""
        last = self.events[-1] if self.events else None
        return last if isinstance(last, Stop) else None

    @property
    def is_complete(self) -> bool:
        """Whether the turn has ended, well or with an error."""
        return self.stop is not None

    @property
    def usage(self) -> Usage | None:
        """What the turn cost; None until it has ended."""
        return self.stop.usage if self.stop else None

    @property
    def error(self) -> str | None:
        """Why the service says that the turn failed; None if it does not."""
        if self.stop is None or not self.stop.is_error:
            return None
        return self.stop.error or "the service gave no reason"

    @property
    def skipped_index_ids(self) -> tuple[str, ...]:
        """The requested indexes that the turn could not query."""
        return tuple(self.stop.skipped_index_ids) if self.stop else ()


def _says_error(result: JsonValue) -> bool:
    """Whether a tool result calls itself an error. The wire has no status, so this is a convention."""
    return isinstance(result, dict) and (
        result.get("is_error") is True
        or result.get("isError") is True
        or result.get("status") == "error"
        or (bool(result.get("error")) and len(result) == 1)
    )


_JOIN_AT = 2048


@dataclass(slots=True, eq=False)
class _Segment:
    """A run of deltas that may still get its final."""

    is_text: bool
    parts: list[str] = field(default_factory=list[str])
    final: Text | Thinking | None = None

    def append(self, piece: str) -> None:
        self.parts.append(piece)
        if len(self.parts) >= _JOIN_AT:
            self.parts = ["".join(self.parts)]

    @property
    def text(self) -> str:
        if len(self.parts) > 1:
            self.parts = ["".join(self.parts)]
        return self.parts[0]

    def event(self, *, ended: bool) -> Text | TextDelta | Thinking | ThinkingDelta:
        """The segment as one event: a delta as long as its final may come."""
        if self.final is not None:
            return self.final
        if self.is_text:
            return Text(content=self.text) if ended else TextDelta(content=self.text)
        return Thinking(content=self.text) if ended else ThinkingDelta(content=self.text)


class TurnFold:
    """A turn in the making: `add` the events as they come, look at `turn` at any time."""

    def __init__(self, prompt: str | None = None) -> None:
        self._prompt = prompt
        self._items: list[_Segment | Event] = []
        self._text = _Lane(is_text=True)
        self._thinking = _Lane(is_text=False)
        self._running: dict[str, ToolCall] = {}
        self._answered: dict[str, ToolResult] = {}
        self._stop: Stop | None = None

    @classmethod
    def resume(cls, turn: Turn) -> TurnFold:
        """A fold that goes on where this turn stands."""
        made = cls(turn.prompt)
        for event in turn.events:
            made.add(event)
        return made

    @property
    def is_complete(self) -> bool:
        """Whether the stop has come."""
        return self._stop is not None

    @property
    def turn(self) -> Turn:
        """The turn so far."""
        events = _events(self._items, ended=self.is_complete)
        return Turn(self._prompt, events if self._stop is None else (*events, self._stop))

    def add(self, event: Event) -> tuple[Event, ...]:
        """Take in one event; gives back what is new to a reader.

        Whoever prints the deltas that come back prints the whole answer once: a final brings
        the part that was not shown yet as a delta before it, a repeated tool event brings
        nothing, and so does everything after the stop.
        """
        if self._stop is not None:
            return ()
        match event:
            case TextDelta():
                return self._add_delta(event, self._text)
            case ThinkingDelta():
                return self._add_delta(event, self._thinking)
            case Text():
                return self._add_final(event, self._text)
            case Thinking():
                return self._add_final(event, self._thinking)
            case ToolCall():
                if self._running.get(event.call_id) == event:
                    return ()
                self._running[event.call_id] = event
            case ToolResult():
                if self._running.pop(event.call_id, None) is None and self._answered.get(event.call_id) == event:
                    return ()
                self._answered[event.call_id] = event
            case UserInput():
                if self._prompt is None:
                    self._prompt = event.content
                return (event,)
            case UnknownEvent():
                # No type that is unknown today may cut a segment in two tomorrow.
                self._items.append(event)
                return (event,)
            case _:
                self._stop = event
                return (event,)
        self._close()
        self._items.append(event)
        return (event,)

    def _close(self, keep: _Lane | None = None) -> None:
        for lane in (self._text, self._thinking):
            if lane is not keep:
                lane.open = None

    def _add_delta(self, event: TextDelta | ThinkingDelta, lane: _Lane) -> tuple[Event, ...]:
        if not event.content:
            return ()
        if lane.open is None:
            self._close(keep=lane)
            lane.open = _Segment(lane.is_text)
            lane.pending.append(lane.open)
            self._items.append(lane.open)
        lane.open.append(event.content)
        return (event,)

    def _add_final(self, event: Text | Thinking, lane: _Lane) -> tuple[Event, ...]:
        if not event.content:
            return ()
        covered, unshown = lane.match(event.content)
        if covered:
            first = covered[0]
            lane.pending = [segment for segment in lane.pending if segment not in covered]
            if lane.open in covered:
                lane.open = None
        else:
            self._close()
            first = _Segment(lane.is_text)
            self._items.append(first)
        first.parts.clear()
        first.final = event
        if len(covered) > 1:
            self._drop(covered[1:])
        if not unshown:
            return (event,)
        return (TextDelta(content=unshown) if lane.is_text else ThinkingDelta(content=unshown), event)

    def _drop(self, segments: list[_Segment]) -> None:
        """Take segments out. What is left is read anew, for what they kept apart may belong together."""
        left = [item for item in self._items if item not in segments]
        again = TurnFold.resume(Turn(self._prompt, _events(left, ended=False)))
        self._items, self._text, self._thinking = again._items, again._text, again._thinking


def _events(items: list[_Segment | Event], *, ended: bool) -> tuple[Event, ...]:
    return tuple(item.event(ended=ended) if isinstance(item, _Segment) else item for item in items)


class _Lane:
    """The segments of one kind, text or thinking, that still wait for their final."""

    def __init__(self, *, is_text: bool) -> None:
        self.is_text = is_text
        self.pending: list[_Segment] = []
        self.open: _Segment | None = None

    def match(self, final: str) -> tuple[list[_Segment], str]:
        """The segments that this final completes, and the part of it that they did not show."""
        wanted = final.strip()
        for start in range(len(self.pending)):
            shown = ""
            for end in range(start, len(self.pending)):
                shown += self.pending[end].text
                if shown.strip() == wanted:
                    is_open = self.pending[end] is self.open
                    return self.pending[start : end + 1], (unshown_part(shown, final) or "") if is_open else ""
                if len(shown) > len(final) + _MARGIN:
                    break
        if self.open is None:
            return [], final
        # Thinking between two runs of deltas cuts the text in two that its final holds as one.
        shown = ""
        covered: tuple[list[_Segment], str] = ([self.open], "")
        for start in range(len(self.pending) - 1, -1, -1):
            shown = self.pending[start].text + shown
            if len(shown) > len(final) + _MARGIN:
                break
            unshown = unshown_part(shown, final)
            if unshown is not None:
                covered = self.pending[start:], unshown
        return covered


# How much white space around a segment a service may trim from its final.
_MARGIN = 64


def unshown_part(shown: str, final: str) -> str | None:
    """What `final` adds to what was shown; None if it is another text. White space at the ends may differ."""
    for start in (shown, shown.lstrip(), shown.strip()):
        if final.startswith(start):
            return final[len(start) :]
    return None


def fold(turn: Turn, event: Event) -> Turn:
    """The turn with one more event. The turn given is not changed.

    For a whole stream use `TurnFold`: this starts anew at each call.
    """
    made = TurnFold.resume(turn)
    made.add(event)
    return made.turn


def replay(events: Iterable[Event]) -> list[Turn]:
    """The turns of a history, oldest first.

    A turn begins at each `user_input`, and also after a `stop` where a history holds none.
    The last may be incomplete: it is still running, or it was cut.
    """
    folds: list[TurnFold] = []
    for event in events:
        if isinstance(event, UserInput):
            folds.append(TurnFold(event.content))
            continue
        if not folds or (folds[-1].is_complete and not isinstance(event, Stop | UnknownEvent)):
            folds.append(TurnFold())
        folds[-1].add(event)
    return [made.turn for made in folds]
