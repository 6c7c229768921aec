"""What goes wrong: each a fault, or a few, that one request meets, on the wire of whichever service it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from chat_sessions.testing import (
    Compressed,
    Cut,
    Duplicate,
    Fault,
    Heartbeats,
    How,
    HtmlPage,
    Http10,
    LineEnds,
    LostAnswer,
    ProxyBuffering,
    Refuse,
    Route,
    Split,
    Stall,
    WrongContentType,
)
from chat_sessions.testing.blocks import blocks, is_event
from chat_sessions.testing.fault import Body, Break, Hold

__all__ = ["ANSWER", "CASES", "CUT_AT", "FILLER", "PAUSE_AT", "WARM_UP", "Case", "Service", "Wire", "pieces"]

ANSWER = "Revenue rose to é 84.2 million 😀 in the third quarter of 2025, up six percent."
# Words, since a tokenizer may take minutes over one long one.
FILLER = "filler " * (17 * 1024 * 1024 // 7)
# The piece of text that faults meet, and the one before which the agent takes its time.
CUT_AT = 6
PAUSE_AT = 9

Service = Literal["Chat API", "OpenAI", "LangGraph"]


def pieces(answer: str) -> list[str]:
    """The answer as it is streamed: a word each."""
    words = answer.split(" ")
    return [word + " " for word in words[:-1]] + words[-1:]


@dataclass(frozen=True)
class Wire:
    """Where things stand in the stream of a service, and how it says them.

    `event` is the number of the event that faults meet, which holds piece `CUT_AT` of the text; `says` makes an event
    with a text; `route` is what the fault proxy calls a request for an answer.
    """

    service: Service
    route: Route
    event: int
    says: Callable[[str], bytes]


@dataclass(frozen=True)
class Case:
    """Something that goes wrong: its name, and the faults that meet the first request for an answer.

    `silent`: only a deadline notices it, so the clients get a short one. `turn`: what becomes of the agent's work: it
    "ends", it "never ends", or it "is lost" as the service drops a turn together with its connection.
    """

    name: str
    group: str
    faults: Callable[[Wire], Sequence[Fault]]
    silent: bool = False
    answer: str = ANSWER
    turn: Literal["ends", "never ends", "is lost"] = "ends"
    services: tuple[Service, ...] = ("Chat API", "OpenAI", "LangGraph")


@dataclass(frozen=True, slots=True)
class Edit(Fault):
    """Each event, by its number, becomes what `change` makes of it; `at_end` follows the last one."""

    change: Callable[[int, bytes], Iterator[bytes]] | None = None
    at_end: bytes = b""

    async def _edited(self, body: Body) -> Body:
        number = 0
        async for block in blocks(body):
            if self.change is None or not is_event(block):
                yield block
                continue
            for data in self.change(number, block):
                yield data
            number += 1
        yield self.at_end

    def body(self, body: Body, hold: Hold) -> Body:  # noqa: ARG002 - the base class's
        """The changed events."""
        return self._edited(body)


def _at(wire: Wire, change: Callable[[bytes], Iterator[bytes]]) -> list[Fault]:
    def changed(number: int, block: bytes) -> Iterator[bytes]:
        return change(block) if number == wire.event else iter((block,))

    return [Edit(on=wire.route, change=changed)]


def _middle(block: bytes) -> int:
    """A place within the event: where its text begins."""
    return block.index(pieces(ANSWER)[CUT_AT].encode())


def _cut(how: How, *, finish_first: bool = False) -> Callable[[Wire], Sequence[Fault]]:
    return lambda wire: [Cut(at_event=wire.event, how=how, finish_first=finish_first, on=wire.route)]


def _cut_within(how: How) -> Callable[[Wire], Sequence[Fault]]:
    def cut(block: bytes) -> Iterator[bytes]:
        yield block[: _middle(block)]
        raise Break(how)

    return lambda wire: _at(wire, cut)


def _restart(wire: Wire) -> Sequence[Fault]:
    def die(_: bytes) -> Iterator[bytes]:
        raise Break("reset", refused=2)

    return _at(wire, die)


def _spoil(wire: Wire) -> Sequence[Fault]:
    def spoiled(block: bytes) -> Iterator[bytes]:
        yield block[: _middle(block)] + b"\xff" + block[_middle(block) :]

    return _at(wire, spoiled)


def _insert(make: Callable[[Wire], bytes]) -> Callable[[Wire], Sequence[Fault]]:
    return lambda wire: _at(wire, lambda block: iter((make(wire), block)))


WARM_UP = Case("warm-up", "No fault", lambda _: [])

_BEFORE = "Before the answer"
_WITHIN = "In the middle of the answer"
_BYTES = "The same events in other bytes"
_WRONG = "Events that should not be"

CASES: tuple[Case, ...] = (
    Case("nothing goes wrong", "No fault", lambda _: []),
    Case("409, the prompt not taken", _BEFORE, lambda w: [Refuse(409, on=w.route)]),
    Case("429 with `Retry-After: 1`", _BEFORE, lambda w: [Refuse(429, retry_after=1, on=w.route)]),
    Case("500, the prompt not taken", _BEFORE, lambda w: [Refuse(500, on=w.route)]),
    Case("503, the prompt not taken", _BEFORE, lambda w: [Refuse(503, on=w.route)]),
    Case("502 of a gateway, the prompt taken", _BEFORE, lambda w: [Refuse(502, landed=True, on=w.route)]),
    Case("reset without an answer, the prompt taken", _BEFORE, lambda w: [LostAnswer(on=w.route)]),
    Case(
        "silence without an answer, the prompt taken",
        _BEFORE,
        lambda w: [LostAnswer("half_open", on=w.route)],
        silent=True,
    ),
    Case("200 with an HTML page", _BEFORE, lambda w: [HtmlPage(on=w.route)]),
    Case("a stream that says it is `application/json`", _BEFORE, lambda w: [WrongContentType(on=w.route)]),
    Case("clean end of the body, agent still at work", _WITHIN, _cut("clean")),
    Case("clean end of the body, agent done by then", _WITHIN, _cut("clean", finish_first=True)),
    Case("clean end of the body within an event", _WITHIN, _cut_within("clean")),
    Case("connection closed within the body", _WITHIN, _cut("fin")),
    Case("connection reset (RST)", _WITHIN, _cut("reset")),
    Case("connection reset within an event", _WITHIN, _cut_within("reset")),
    Case("half-open connection", _WITHIN, _cut("half_open"), silent=True),
    Case("silence", _WITHIN, lambda w: [Stall(at_event=w.event, on=w.route)], silent=True),
    Case(
        "silence with keep-alives",
        _WITHIN,
        lambda w: [Stall(at_event=w.event, keep_alive=0.25, on=w.route)],
        silent=True,
    ),
    Case(
        "silence with keep-alives, agent dead",
        _WITHIN,
        lambda w: [Stall(at_event=w.event, keep_alive=0.25, on=w.route)],
        silent=True,
        turn="never ends",
        services=("Chat API",),
    ),
    Case("restart, the turn goes on", _WITHIN, _restart, services=("Chat API", "LangGraph")),
    Case("restart, the turn is lost", _WITHIN, _restart, turn="is lost", services=("Chat API", "OpenAI")),
    Case(
        "HTTP/1.0 without a length, closed too early",
        _WITHIN,
        lambda w: [Cut(at_event=w.event, how="fin", on=w.route), Http10(on=w.route)],
    ),
    Case("HTTP/1.0 without a length", _BYTES, lambda w: [Http10(on=w.route)]),
    Case("split after every byte", _BYTES, lambda w: [Split(1, on=w.route)]),
    Case("a proxy that buffers", _BYTES, lambda w: [ProxyBuffering(on=w.route)]),
    Case("gzip that was not requested", _BYTES, lambda w: [Compressed(on=w.route)]),
    Case("lines that end in CR", _BYTES, lambda w: [LineEnds("\r", on=w.route)]),
    Case("U+2028 in a data line", _BYTES, lambda _: [], answer=ANSWER.replace("in the", "in\u2028the")),
    Case("heartbeats: `event: ping` without data", _BYTES, lambda w: [Heartbeats("event", on=w.route)]),
    Case("bad UTF-8 in a piece of text", _WRONG, _spoil),
    Case("an event that is not valid JSON", _WRONG, _insert(lambda _: b"data: Internal Server Error\r\n\r\n")),
    Case("a piece of text twice", _WRONG, lambda w: [Duplicate(at_event=w.event, on=w.route)]),
    Case("an event of 17 MiB", _WRONG, _insert(lambda w: w.says(FILLER))),
    Case(
        "more after the end",
        _WRONG,
        lambda w: [Edit(on=w.route, at_end=w.says("and more") + b'data: {"error": "upstream closed"}\r\n\r\n')],
        services=("Chat API", "OpenAI"),  # a LangGraph stream has no event that ends it
    ),
)
