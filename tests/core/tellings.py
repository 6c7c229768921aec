"""A turn, told live in one way and stored in another: what a service may do, drawn at random."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from random import Random

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
)
from chat_sessions.core.models import Usage

STOP = Stop(usage=Usage(input_tokens=3, output_tokens=5), is_error=False)
_WORDS = ("the", "price", "is", "five", "dollars", "and", "ten", "cents", "a", "\n", "über", "é", "🙂", "x")


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of text or thinking: the whole of it."""

    is_text: bool
    words: str


Happened = tuple[Segment | Event, ...]


def happened(random: Random) -> Happened:
    """What an agent did, in order, without its stop."""
    items: list[Segment | Event] = []
    calls: list[ToolCall] = []
    for number in range(random.randrange(7)):
        kind = random.choice(("text", "text", "thinking", "thinking", "call", "result", "orphan", "unknown"))
        if kind in ("text", "thinking"):
            is_text = kind == "text"
            last = next((item for item in reversed(items) if not isinstance(item, UnknownEvent)), None)
            # Neighbours of one kind are one segment wherever deltas alone are sent.
            if not (isinstance(last, Segment) and last.is_text is is_text):
                words = " ".join(random.choice(_WORDS) for _ in range(random.randrange(5)))
                # A few characters are the least that tells a part of a segment from another one.
                items.append(Segment(is_text, f"{random.choice(('', ' ', chr(10)))}{number}:so {words}."))
        elif kind == "call":
            calls.append(ToolCall(call_id=f"c{number}", name="search", arguments={"n": number}))
            items.append(calls[-1])
        elif kind == "result" and calls:
            call = calls.pop(random.randrange(len(calls)))
            items.append(ToolResult(call_id=call.call_id, name=call.name, result={"of": call.call_id}))
        elif kind == "orphan":
            items.append(ToolResult(call_id=f"o{number}", name="search", result=None))
        elif kind == "unknown":
            items.append(UnknownEvent(raw={"type": "progress", "step": number}))
    return tuple(items)


def _last(told: list[Event]) -> Event:
    return next(event for event in reversed(told) if not isinstance(event, UnknownEvent))


@dataclass(frozen=True, slots=True)
class Manner:
    """How one side tells turns: which kinds it leaves out, and what it makes of a segment."""

    hides_thinking: bool
    hides_tools: bool
    hides_unknown: bool
    # "deltas", "final", "both" (the final comes at once), "late" (it comes later), or any of them for each segment.
    way: str
    trims: bool
    # The deltas lack the end of their segment.
    stops_short: bool
    # What comes next may come between the deltas of a segment.
    mixes: bool

    @classmethod
    def draw(cls, random: Random) -> Manner:
        """Any manner."""
        hides_thinking, hides_tools = random.random() < 0.25, random.random() < 0.2
        return cls(
            hides_thinking,
            hides_tools,
            hides_unknown=random.random() < 0.5,
            way=random.choice(("deltas", "final", "both", "late", "any")),
            trims=random.random() < 0.3,
            # What lacks its end, and runs into the next segment, is nobody's to tell apart.
            stops_short=(stops_short := random.random() < 0.2 and not (hides_thinking or hides_tools)),
            mixes=random.random() < 0.2 and not stops_short,
        )

    def shows(self, item: Segment | Event) -> bool:
        """Whether this side tells of the item at all."""
        if isinstance(item, Segment):
            return item.is_text or not self.hides_thinking
        return not (self.hides_unknown if isinstance(item, UnknownEvent) else self.hides_tools)

    def tell(self, items: Happened, random: Random) -> list[Event]:
        """One telling of these items, the stop included."""
        told: list[Event] = []
        late: list[Event] = []
        # How many deltas of a segment that gets a final are at the end of what was told.
        open_deltas = 0
        before: Segment | Event | None = None
        for item in items:
            if not self.shows(item):
                continue
            last = before
            before = before if isinstance(item, UnknownEvent) else item
            if not isinstance(item, Segment):
                # A tool that runs beside the agent's words may answer in the middle of them.
                is_between = self.mixes and not isinstance(item, ToolCall) and open_deltas > 1
                after = random.randrange(open_deltas) if is_between else 0
                told.insert(len(told) - after, item)
                # An unknown event ends no segment.
                open_deltas = open_deltas if isinstance(item, UnknownEvent) and not after else after
                if late and random.random() < 0.5:
                    told += late
                    late.clear()
                    open_deltas = 0
                continue
            way = random.choice(("deltas", "final", "both", "late")) if self.way == "any" else self.way
            if way == "final" and open_deltas and isinstance(_last(told), TextDelta) is item.is_text:
                way = "both"
            if way in ("final", "late") and isinstance(last, Segment) and last.is_text is item.is_text:
                # Behind deltas alone that run into this segment, only a final that comes at once says where it begins.
                way = "both" if self.way == "any" else way
            words = item.words.strip() if self.trims else item.words
            final: Event = Text(content=words) if item.is_text else Thinking(content=words)
            open_deltas = 0
            if way != "final":
                deltas = self._deltas(item, random, is_whole=way == "deltas")
                told += deltas
                open_deltas = len(deltas) if way == "late" else 0
            if way in ("final", "both"):
                told.append(final)
            elif way == "late":
                late.append(final)
        return [*told, *late, STOP]

    def _deltas(self, segment: Segment, random: Random, *, is_whole: bool) -> list[Event]:
        words = segment.words
        if self.stops_short and not is_whole:
            words = words[: random.randrange(2, len(words) + 1)]
        # From the third character on: a segment begins where its words do, and not with white space.
        cuts = sorted({0, len(words), *(random.randrange(2, len(words) + 1) for _ in range(random.randrange(4)))})
        made = TextDelta if segment.is_text else ThinkingDelta
        return [made(content=words[a:b]) for a, b in pairwise(cuts)]
