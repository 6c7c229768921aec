"""Faults of a body's bytes: it breaks off, stalls, or arrives in another shape."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Literal

from chat_sessions.testing.blocks import blocks, to_event_end, until
from chat_sessions.testing.fault import Body, Break, Fault, Head, Hold, How, Route, exhaust, require

__all__ = ["Compressed", "Cut", "LineEnds", "ProxyBuffering", "Restart", "Slow", "SlowStart", "Split", "Stall"]


@dataclass(frozen=True, slots=True)
class _Placed(Fault):
    """A fault at a place: at a byte, before an event, or before the first event of a type."""

    at_byte: int | None = None
    at_event: int | None = None
    before: str | None = None

    def __post_init__(self) -> None:
        Fault.__post_init__(self)
        given = [value for value in (self.at_byte, self.at_event, self.before) if value is not None]
        require(len(given) == 1, self, "give one of at_byte, at_event and before")
        require(all(isinstance(value, str) or value >= 0 for value in given), self, "the place is 0 or more")

    def _with_place(self, body: Body) -> AsyncIterator[bytes | None]:
        return until(body, at_byte=self.at_byte, at_event=self.at_event, before=self.before)


@dataclass(frozen=True, slots=True)
class Cut(_Placed):
    """The answer ends at a place: `Cut(at_byte=400)`, `Cut(at_event=3)`, `Cut(before="stop")`.

    With `finish_first` the service ends the turn before the connection breaks, so its session shows all of it at once;
    otherwise the service is still working.
    """

    how: How = "reset"
    finish_first: bool = False

    async def body(self, body: Body, hold: Hold) -> Body:
        async for data in self._with_place(body):
            if data is None:
                if self.finish_first:
                    await exhaust(body)
                raise Break(self.how)
            yield data


@dataclass(frozen=True, slots=True)
class Stall(_Placed):
    """Nothing arrives from a place on, for `seconds`, or until `Faults.release` if None.

    `keep_alive` is the seconds between comments that arrive meanwhile. The stall then begins at the end of the event at
    that place, since a comment cannot be inside one.
    """

    seconds: float | None = None
    keep_alive: float | None = None

    async def body(self, body: Body, hold: Hold) -> Body:
        waiting = False
        source = self._with_place(body)
        if self.keep_alive is not None:
            source = to_event_end(source)
        async for data in source:
            if data is not None:
                yield data
                continue
            if self.keep_alive is None:
                await hold(self.seconds)
                continue
            left = self.seconds
            waiting = True
            while waiting:
                pause = self.keep_alive if left is None else min(self.keep_alive, left)
                waiting = not await hold(pause)
                if left is not None:
                    left -= pause
                    waiting = waiting and left > 0
                yield b": keep-alive\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Restart(Fault):
    """The service dies `at_byte` bytes into the answer: all connections are reset, and so are the next `refused`
    requests. With `Behaviour(on_disconnect="cancel")` the session then shows the turn as an error."""

    at_byte: int = 0
    refused: int = 1

    async def body(self, body: Body, hold: Hold) -> Body:
        async for data in until(body, at_byte=self.at_byte):
            if data is None:
                raise Break("reset", refused=self.refused)
            yield data


@dataclass(frozen=True, slots=True)
class SlowStart(Fault):
    """The body begins `seconds` late, or when `Faults.release` is called if None."""

    seconds: float | None = None

    async def body(self, body: Body, hold: Hold) -> Body:
        await hold(self.seconds)
        async for data in body:
            yield data


@dataclass(frozen=True, slots=True)
class Slow(Fault):
    """A slow but complete stream: each event arrives `seconds` after the one before it."""

    seconds: float = 0.1

    def __post_init__(self) -> None:
        Fault.__post_init__(self)
        require(self.seconds >= 0, self, "seconds is 0 or more")

    async def body(self, body: Body, hold: Hold) -> Body:
        async for block in blocks(body):
            await hold(self.seconds)
            yield block


@dataclass(frozen=True, slots=True)
class Split(Fault):
    """The body arrives in pieces of these sizes, over and over: `Split(1)`, `Split(7, 1, 100)`."""

    sizes: tuple[int, ...]

    def __init__(self, *sizes: int, on: Route = "turn", times: int | None = 1) -> None:
        for name, value in (("sizes", sizes or (1,)), ("on", on), ("times", times)):
            object.__setattr__(self, name, value)
        Fault.__post_init__(self)
        require(all(size > 0 for size in self.sizes), self, "sizes are 1 or more")

    async def body(self, body: Body, hold: Hold) -> Body:
        number = 0
        async for data in body:
            start = 0
            while start < len(data):
                size = self.sizes[number % len(self.sizes)]
                yield data[start : start + size]
                start += size
                number += 1


@dataclass(frozen=True, slots=True)
class ProxyBuffering(Fault):
    """A proxy holds the answer until it has all of it, then sends it at once."""

    async def body(self, body: Body, hold: Hold) -> Body:
        yield b"".join([data async for data in body])


@dataclass(frozen=True, slots=True)
class Compressed(Fault):
    """The answer is compressed with gzip, though the client did not ask for it."""

    def head(self, head: Head) -> Head:
        return replace(head, headers=(*head.headers, ("Content-Encoding", "gzip")))

    async def body(self, body: Body, hold: Hold) -> Body:
        yield gzip.compress(b"".join([data async for data in body]))


@dataclass(frozen=True, slots=True)
class LineEnds(Fault):
    """The lines of the event stream end differently. The standard allows all three forms."""

    end: Literal["\n", "\r", "\r\n"] = "\r"

    async def body(self, body: Body, hold: Hold) -> Body:
        async for block in blocks(body):
            yield block.replace(b"\r\n", b"\n").replace(b"\n", self.end.encode())
