"""What may happen to a session: turns, what the agent says, what goes wrong. Drawn from a `random.Random`."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar, get_args, get_type_hints

from chat_sessions.core.events import Event, Stop, Text, TextDelta, Thinking, ThinkingDelta, ToolCall, ToolResult
from chat_sessions.core.models import Usage
from chat_sessions.server import Behaviour
from chat_sessions.session.deadlines import Timeouts
from chat_sessions.testing import (
    Compressed,
    Cut,
    ErrorWith200,
    Fault,
    Fine,
    Heartbeats,
    How,
    HtmlPage,
    Http10,
    HugeEvent,
    LateHistory,
    LineEnds,
    LostAnswer,
    LostRequest,
    NoLastBlankLine,
    NotJson,
    PartialHistory,
    ProxyBuffering,
    Redirect,
    Refuse,
    Restart,
    Slow,
    SlowStart,
    Split,
    Stall,
    TrailAfterStop,
    WrongContentType,
)
from tests.simulation.service import Speech

__all__ = ["PROMPTS", "Asking", "Schedule", "draw"]

T = TypeVar("T")

# Few, so that a session often holds older turns of the same words.
PROMPTS = ("What rose?", "What rose?", "And then?")
_WORDS = ("It", "rose", "é", "😀", "a", "bit.", "then", "fell", "\u2028", "a a", "a", "\n\n")


@dataclass(frozen=True)
class Asking:
    """One turn as its caller asks for it, and what then goes wrong.

    `counted`: through a held session, else by the session's id alone; `recount`: its turns are read
    before; `leave_after`: events until the reader leaves, None to read to the end; `give_up`: seconds
    until its task is cancelled (async only); `written_before`: another process writes other words first.
    """

    prompt: str
    faults: tuple[tuple[Fault, ...], ...]
    history: tuple[Fault, ...]
    counted: bool
    recount: bool
    leave_after: int | None
    give_up: float | None
    unreachable: int
    written_before: bool
    pause: float


@dataclass(frozen=True)
class Schedule:
    """One session, from its creation on."""

    behaviour: Behaviour
    timeouts: Timeouts
    speeches: tuple[Speech, ...]
    askings: tuple[Asking, ...]


def draw(choose: random.Random) -> Schedule:
    """A schedule; the same one for the same state of `choose`."""
    behaviour = _behaviour(choose)
    # What others write after the count was made shifts the turns, and nobody can see that before the next one.
    others_write = behaviour.history_timing == "live"
    return Schedule(
        behaviour,
        Timeouts(
            first_event=choose.choice((60, 60, 5)),
            idle=choose.choice((60, 60, 5)),
            total=choose.choice((None, None, None, 40)),
            recovery=choose.choice((60, 60, 60, 10, 1, 0)),
        ),
        tuple(_speech(choose, number) for number in range(12)),
        tuple(_asking(choose, others_write and left == 1) for left in range(choose.randint(1, 3), 0, -1)),
    )


def _behaviour(choose: random.Random) -> Behaviour:
    hints = get_type_hints(Behaviour)
    values: dict[str, Any] = {}
    for field in fields(Behaviour):
        options = (True, False) if hints[field.name] is bool else get_args(hints[field.name])
        if field.name == "keep_alive":
            options = (None, 2.0, 15.0)
        values[field.name] = choose.choice(options)
    return Behaviour(**{**values, "default_shared_access": "read_only"})


def _speech(choose: random.Random, number: int) -> Speech:
    events: list[Event] = []
    for part in range(choose.randint(0, 4)):
        kind = choose.choice((Text, Text, Thinking, ToolCall))
        if kind is ToolCall:
            call_id = f"call-{number}-{part}"
            events.append(ToolCall(call_id=call_id, name="retrieve", arguments={"query": "q"}))
            if choose.random() < 0.9:
                found = {"results": [{"content": "It rose.", "score": 0.5}]}
                events.append(ToolResult(call_id=call_id, name="retrieve", result=found))  # type: ignore[arg-type]
        else:
            words = [choose.choice(_WORDS) + " " for _ in range(choose.randint(1, 5))]
            if not "".join(words).strip():
                # White space alone behind a final cannot be told from what a service trims.
                words.append("a ")
            delta: type[TextDelta | ThinkingDelta] = TextDelta if kind is Text else ThinkingDelta
            events += [delta(content=word) for word in words]
            final: type[Text | Thinking] = Text if kind is Text else Thinking
            events.append(final(content="".join(words)))
    if choose.random() < 0.1:
        events.append(Stop(usage=Usage(), is_error=True, error="the agent failed"))
    gaps = [choose.choice((0.0, 0.01, 0.01, 0.2)) for _ in events]
    if gaps and choose.random() < 0.2:
        gaps[choose.randrange(len(gaps))] = choose.choice((3.0, 20.0, 90.0))
    said = list(zip(gaps, events, strict=True))
    if choose.random() < 0.06:
        # An agent that hangs for ever.
        said.insert(choose.randint(0, len(said)), (math.inf, Text(content="never")))
    return Speech(tuple(said))


def _asking(choose: random.Random, others_write: bool) -> Asking:
    refused = [
        (Refuse(429, retry_after=choose.choice((0, 1, None))),) for _ in range(choose.choice((0,) * 9 + (1, 2, 4)))
    ]
    give_up = choose.choice((None,) * 9 + (choose.uniform(0, 4),))
    return Asking(
        prompt=choose.choice(PROMPTS),
        faults=(*refused, _together(choose)),
        history=tuple(_history(choose) for _ in range(choose.choice((0, 0, 0, 1, 2, 3)))),
        counted=choose.random() < 0.8,
        recount=choose.random() < 0.5,
        leave_after=choose.choice((None,) * 9 + (choose.randrange(8),)),
        give_up=give_up,
        unreachable=choose.choice((0,) * 12 + (1, 2, 5)),
        written_before=others_write and choose.random() < 0.05,
        pause=choose.choice((0.0, 0.1, 30.0)),
    )


def _together(choose: random.Random) -> tuple[Fault, ...]:
    shapes: tuple[Fault, ...] = (
        Http10(),
        ProxyBuffering(),
        Heartbeats("comment"),
        Heartbeats("event"),
        Heartbeats("data"),
        LineEnds("\r"),
        LineEnds("\n"),
        TrailAfterStop(),
        SlowStart(choose.choice((0.1, 20.0, 100.0))),
        Slow(choose.choice((0.1, 20.0, 100.0))),
        NoLastBlankLine(),
        Split(1),
        Split(*_some(choose, range(1, 200))),
        Stall(**_place(choose), seconds=choose.choice((1.0, 30.0, 100.0))),
        Stall(**_place(choose), seconds=choose.choice((1.0, 30.0, 100.0, None)), keep_alive=2.0),
    )
    shaped = [choose.choice(shapes) for _ in range(choose.choice((0, 0, 1, 2)))]
    return (*shaped, _breaking(choose))


def _breaking(choose: random.Random) -> Fault:
    ends: tuple[How, ...] = ("clean", "fin", "reset", "half_open")
    how = choose.choice(ends)
    kind = choose.randrange(12)
    if kind < 5:
        return Cut(**_place(choose), how=how, finish_first=choose.random() < 0.4)
    if kind == 5:
        return LostAnswer(choose.choice(ends[1:]), choose.randrange(200), choose.random() < 0.4)
    if kind == 6:
        return Restart(choose.randrange(2000), choose.randrange(3))
    if kind == 7:
        return LostRequest(choose.choice(("fin", "reset", "half_open")))
    return choose.choice(
        (
            Fine(),
            Fine(),
            Refuse(409),
            Refuse(500),
            Refuse(502),
            Refuse(502, landed=True),
            Refuse(504, landed=True),
            Refuse(404),
            Refuse(429, retry_after=100),
            HtmlPage(),
            HtmlPage(502),
            HtmlPage(403),
            ErrorWith200(),
            WrongContentType(),
            Compressed(),
            Redirect("http://127.0.0.1:1/"),
            HugeEvent(70_000, at_event=choose.randrange(6)),
            NotJson(at_event=choose.randrange(6)),
        )
    )


def _history(choose: random.Random) -> Fault:
    kind = choose.randrange(7)
    if kind == 0:
        return LateHistory(times=choose.choice((1, 2, None)))
    if kind == 1:
        return PartialHistory(events=choose.randrange(7))
    if kind == 2:
        return Cut(at_byte=choose.randrange(800), how=choose.choice(("fin", "reset", "half_open")), on="history")
    if kind == 3:
        return SlowStart(choose.choice((0.5, 12.0)), on="history")
    return choose.choice(
        (
            Refuse(503, on="history", times=choose.choice((1, 4, None))),
            Refuse(404, on="history"),
            LostAnswer(on="history"),
            HtmlPage(502, on="history"),
            HtmlPage(on="history"),
            WrongContentType("text/plain", on="history"),
        )
    )


def _place(choose: random.Random) -> dict[str, Any]:
    return choose.choice(
        (
            {"at_byte": choose.randrange(3000)},
            {"at_event": choose.randrange(20)},
            {"before": choose.choice(("thinking", "tool_call", "tool_result", "text", "stop"))},
        )
    )


def _some(choose: random.Random, values: Sequence[T]) -> list[T]:
    return [choose.choice(values) for _ in range(choose.randint(1, 4))]
