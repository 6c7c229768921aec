"""One turn: what the user asked and everything up to its `stop`.

A `Turn` is a frozen value: a prompt and the events of the answer, with everything else derived from them.
`TurnFold` makes one from events as they come, `replay` makes all turns of a history, and both give equal
turns whatever the service sent or stored: deltas, finals or both.

Deltas are for display; the `text` or `thinking` that follows is canonical. `segments` says which deltas a
final completes, `alignment` how a turn read from the session makes a broken one whole, `tool_runs` which
result belongs to which call.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, TypeAlias, assert_never

from chat_sessions.core.alignment import align
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
from chat_sessions.core.items import Items
from chat_sessions.core.models import Usage
from chat_sessions.core.sources import Source, distinct
from chat_sessions.core.tool_runs import RunBegan, RunEnded, RunPairs, ToolRun, ToolStatus

__all__ = [
    "RunBegan",
    "RunEnded",
    "TextRest",
    "ThinkingRest",
    "ToolRun",
    "ToolStatus",
    "Turn",
    "TurnFold",
    "Update",
    "Words",
    "events_of",
    "fold",
    "gap",
    "replay",
    "turn_fields",
    "words_of",
]

Update: TypeAlias = TextDelta | Text | ThinkingDelta | Thinking | RunBegan | RunEnded | UnknownEvent | UserInput | Stop
"""What an event adds to a turn. The deltas hold all text and thinking once; a final repeats what they brought."""


class TextRest(TextDelta):
    """The rest of a segment that something else has cut apart, perhaps in mid-word: no `gap` goes before it.

    It compares and prints as a `TextDelta`.
    """

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TextDelta) and self.content == other.content

    __hash__ = TextDelta.__hash__

    def __repr_name__(self) -> str:
        return "TextDelta"


class ThinkingRest(ThinkingDelta):
    """As `TextRest`, for reasoning."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ThinkingDelta) and self.content == other.content

    __hash__ = ThinkingDelta.__hash__

    def __repr_name__(self) -> str:
        return "ThinkingDelta"


def gap(before: str, after: str) -> str:
    r"""Return the separator to show between two pieces of text with a tool run between them.

    It is a blank line, or nothing where there is white space already, so that "Let me look." and "Revenue was ..."
    do not run together.
    """
    return "\n\n" if before and not before[-1].isspace() and not after[:1].isspace() else ""


class Words:
    """The words of an answer, or of its thoughts, as a reader is shown them."""

    __slots__ = ("_is_apart", "_last")

    def __init__(self) -> None:
        self._last = ""
        self._is_apart = False

    def add(self, piece: Text | TextDelta | Thinking | ThinkingDelta) -> str:
        """Return the piece; after a tool run with a `gap` before it."""
        words = piece.content
        # The rest of a segment gets no gap. The next segment does: it follows the tool run that split this one.
        if self._is_apart and words and not isinstance(piece, TextRest | ThinkingRest):
            self._is_apart = False
            words = gap(self._last, words) + words
        self._last = words or self._last
        return words

    def part(self) -> None:
        """Note a tool run at this point."""
        self._is_apart = True


@dataclass(frozen=True)
class Turn:
    """One user input and everything up to its `stop`.

    `events` are the events of the answer in canonical form: each segment of text or thinking is
    one event, a delta event only as long as its final may still come. `prompt` is None if a
    history does not hold the user's message; `image_urls` are the images that came with it.
    """

    prompt: str | None = None
    events: tuple[Event, ...] = ()
    image_urls: tuple[str, ...] = field(default=(), repr=False)

    @cached_property
    def text(self) -> str:
        """The answer: its segments joined as streamed, with a blank line wherever a tool run came between two."""
        return words_of(self.events, (Text, TextDelta))

    @cached_property
    def thinking(self) -> str:
        """The agent's reasoning, joined like `text`."""
        return words_of(self.events, (Thinking, ThinkingDelta))

    @cached_property
    def updates(self) -> tuple[Update, ...]:
        """The turn as what each event adds: its segments, and its tool runs as they began and ended."""
        pairs = RunPairs()
        return tuple(update for event in self.events for update in _updates(event, pairs))

    @cached_property
    def tool_runs(self) -> tuple[ToolRun, ...]:
        """The tools that ran, in the order of their calls."""
        runs: list[ToolRun] = []
        for update in self.updates:
            if isinstance(update, RunBegan):
                runs.append(update.run)
            elif isinstance(update, RunEnded):
                runs[update.number] = update.run
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


def _updates(event: Event, pairs: RunPairs) -> tuple[Update, ...]:
    """What one event of a canonical turn adds."""
    match event:
        case ToolCall():
            return pairs.call(event)
        case ToolResult():
            return pairs.result(event)
        case Stop():
            return (*pairs.end(), event)
        case _:
            return (event,)


class TurnFold:
    """Builds a turn from its events: `add` them as they arrive, read `turn` at any time."""

    def __init__(self, prompt: str | None = None, image_urls: tuple[str, ...] = ()) -> None:
        self._prompt = prompt
        self._image_urls = image_urls
        self._items = Items()
        self._pairs = RunPairs()
        self._stop: Stop | None = None

    @classmethod
    def resume(cls, turn: Turn) -> TurnFold:
        """Return a fold that continues from this turn."""
        made = cls(turn.prompt, turn.image_urls)
        for event in turn.events:
            _updates(event, made._pairs)
        made._load(turn.events)
        return made

    def _load(self, events: Sequence[Event]) -> None:
        self._items = Items(events)
        self._stop = next((event for event in reversed(events) if isinstance(event, Stop)), None)

    @property
    def is_complete(self) -> bool:
        """Whether the stop has come."""
        return self._stop is not None

    @property
    def turn(self) -> Turn:
        """The turn so far."""
        events = self._items.events(ended=self.is_complete)
        return Turn(self._prompt, events if self._stop is None else (*events, self._stop), self._image_urls)

    def add(self, event: Event) -> tuple[Event, ...]:
        """Add one event; return the events that are new to a reader.

        Print the returned deltas, and you print the whole answer once: a final returns the part that was not shown yet
        as a delta before it. A repeated tool event returns nothing, nor does anything after the stop.
        """
        return tuple(events_of(self.updates(event)))

    def grow(self, delta: TextDelta) -> None:
        """Add a non-empty piece of text to a turn that has not ended: what `updates` does, without its checks."""
        self._items.grow(delta)

    def updates(self, event: Event) -> tuple[Update, ...]:
        """Add one event; return what it adds to the turn.

        The cost does not depend on the length of the turn.
        """
        if self._stop is not None:
            return ()
        match event:
            case TextDelta() | ThinkingDelta():
                if not event.content:
                    return ()
                self._items.grow(event)
                return (event,)
            case Text() | Thinking():
                return self._complete(event) if event.content else ()
            case ToolCall() | ToolResult():
                news = _updates(event, self._pairs)
                if news:
                    self._items.append(event)
                return news
            case UserInput():
                if self._prompt is None:
                    self._prompt, self._image_urls = event.content, event.image_urls
                return (event,)
            case UnknownEvent():
                # Unknown events must not split a text segment.
                self._items.hang(event)
                return (event,)
            case Stop():
                self._stop = event
                return _updates(event, self._pairs)
            case _:
                assert_never(event)

    def _complete(self, final: Text | Thinking) -> tuple[Update, ...]:
        unshown = self._items.complete(final)
        if not unshown:
            return (final,)
        return (_shown_late(unshown, final), final)

    def end_runs(self) -> tuple[RunEnded, ...]:
        """End the tool runs that are still open, the last one first, for a turn that ends without a stop."""
        return self._pairs.end()

    def adopt(self, stored: Turn) -> tuple[Update, ...]:
        """Replace the turn with what its session shows; return what a reader has not received yet, in order.

        What arrived live and is not in `stored` stays in its place.
        """
        if self._stop is not None:
            return ()
        alignment = align(self._items.events(ended=False), stored.events)
        news: list[Update] = []
        for missing in alignment.missing:
            event = missing.event
            if missing.unshown:
                news.append(_shown_late(missing.unshown, event))
            if not isinstance(event, TextDelta | ThinkingDelta):
                news += _updates(event, self._pairs)
        self._load(alignment.merged)
        return tuple(news)


def _shown_late(unshown: str, segment: Event) -> TextDelta | ThinkingDelta:
    """Return what a reader has not received of this segment."""
    is_text = isinstance(segment, Text | TextDelta)
    if isinstance(segment, Text | TextDelta | Thinking | ThinkingDelta) and unshown == segment.content:
        return TextDelta(content=unshown) if is_text else ThinkingDelta(content=unshown)
    return TextRest(content=unshown) if is_text else ThinkingRest(content=unshown)


def events_of(updates: Iterable[Update]) -> Iterator[Event]:
    """Yield the events in these updates: for a tool run its call and its result, if they arrived."""
    for update in updates:
        if not isinstance(update, RunBegan | RunEnded):
            yield update
        elif update.event is not None:
            yield update.event


def fold(turn: Turn, event: Event) -> Turn:
    """Return the turn with one more event. The turn given is not changed.

    For a whole stream use `TurnFold`: this replays the turn at each call.
    """
    made = TurnFold.resume(turn)
    made.add(event)
    return made.turn


def replay(events: Iterable[Event]) -> list[Turn]:
    """Return the turns of a history, oldest first.

    A turn begins at each `user_input`, and also after a `stop` in a history without `user_input`. The last may be
    incomplete: it is still running, or it was cut off.
    """
    folds: list[TurnFold] = []
    for event in events:
        if isinstance(event, UserInput):
            folds.append(TurnFold(event.content, event.image_urls))
            continue
        if not folds or (folds[-1].is_complete and not isinstance(event, Stop | UnknownEvent)):
            folds.append(TurnFold())
        folds[-1].add(event)
    return [made.turn for made in folds]


def words_of(events: Iterable[Event], kinds: tuple[type[Text | TextDelta | Thinking | ThinkingDelta], ...]) -> str:
    """Return the words of these kinds of event, as a reader is shown them."""
    words, pieces = Words(), list[str]()
    for event in events:
        if isinstance(event, kinds):
            pieces.append(words.add(event))
        elif isinstance(event, ToolCall | ToolResult):
            words.part()
    return "".join(pieces)


def turn_fields(turn: Turn) -> dict[str, Any]:
    """Return a turn and everything derived from it, as reports and exports show it."""
    return {
        "prompt": turn.prompt,
        **({"image_urls": list(turn.image_urls)} if turn.image_urls else {}),
        "text": turn.text,
        "thinking": turn.thinking,
        "sources": [asdict(source) for source in turn.sources],
        "tool_runs": [asdict(run) for run in turn.tool_runs],
        "usage": turn.usage,
        "skipped_index_ids": list(turn.skipped_index_ids),
        "is_complete": turn.is_complete,
        "error": turn.error,
    }
