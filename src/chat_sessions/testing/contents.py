"""Faults of the content: events that are repeated, late or broken, and an incomplete history."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Literal

from chat_sessions.testing.blocks import blocks, is_event, until
from chat_sessions.testing.fault import Body, Fault, Hold, Route

__all__ = [
    "BadUtf8",
    "Duplicate",
    "Heartbeats",
    "HugeEvent",
    "LateHistory",
    "NoLastBlankLine",
    "NotJson",
    "PartialHistory",
    "Reorder",
    "TrailAfterStop",
]


@dataclass(frozen=True, slots=True)
class _Edited(Fault):
    """A fault that changes the list of events."""

    async def body(self, body: Body, hold: Hold) -> Body:
        number = 0
        async for block in blocks(body):
            for made in self._event(number, block) if is_event(block) else [block]:
                yield made
            number += is_event(block)

    def _event(self, number: int, block: bytes) -> list[bytes]:
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Duplicate(_Edited):
    """An event is repeated `copies` times, right after itself."""

    at_event: int = 0
    copies: int = 1

    def _event(self, number: int, block: bytes) -> list[bytes]:
        return [block] * (1 + self.copies if number == self.at_event else 1)


@dataclass(frozen=True, slots=True)
class Reorder(Fault):
    """An event arrives after the next one. The last event stays where it is."""

    at_event: int = 0

    async def body(self, body: Body, hold: Hold) -> Body:
        number = 0
        late: bytes | None = None
        async for block in blocks(body):
            if number == self.at_event and late is None and is_event(block):
                late = block
                number += 1
                continue
            yield block
            number += is_event(block)
            if late and number > self.at_event + 1:
                yield late
                late = b""
        if late:
            yield late


@dataclass(frozen=True, slots=True)
class Heartbeats(_Edited):
    """A heartbeat before each event: a comment, an `event: ping` without data, or an empty `data:` line."""

    form: Literal["comment", "event", "data"] = "comment"

    def _event(self, number: int, block: bytes) -> list[bytes]:
        forms = {"comment": b": ping\r\n\r\n", "event": b"event: ping\r\n\r\n", "data": b"data:\r\n\r\n"}
        return [forms[self.form], block]


@dataclass(frozen=True, slots=True)
class HugeEvent(_Edited):
    """An event of `size` bytes is inserted before an event."""

    size: int = 17 * 1024 * 1024
    at_event: int = 0

    def _event(self, number: int, block: bytes) -> list[bytes]:
        if number != self.at_event:
            return [block]
        return [b'data: {"type": "text_delta", "content": "' + b"x" * self.size + b'"}\r\n\r\n', block]


@dataclass(frozen=True, slots=True)
class NotJson(_Edited):
    """An event that is not JSON is inserted before an event."""

    data: str = "Internal Server Error"
    at_event: int = 0

    def _event(self, number: int, block: bytes) -> list[bytes]:
        return [f"data: {self.data}\r\n\r\n".encode(), block] if number == self.at_event else [block]


@dataclass(frozen=True, slots=True)
class BadUtf8(Fault):
    """A byte that is invalid in UTF-8 is inserted at a place."""

    at_byte: int = 0

    async def body(self, body: Body, hold: Hold) -> Body:
        async for data in until(body, at_byte=self.at_byte):
            yield b"\xff" if data is None else data


@dataclass(frozen=True, slots=True)
class TrailAfterStop(Fault):
    """More data follows the end: an error from a gateway, an answer that continues."""

    data: bytes = (
        b'data: {"type": "text_delta", "content": "and more"}\r\n\r\ndata: {"error": "upstream closed"}\r\n\r\n'
    )

    async def body(self, body: Body, hold: Hold) -> Body:
        async for data in body:
            yield data
        yield self.data


@dataclass(frozen=True, slots=True)
class NoLastBlankLine(Fault):
    """The stream ends right after its last event, without the blank line. By the standard it is not an event then."""

    async def body(self, body: Body, hold: Hold) -> Body:
        last = b""
        async for block in blocks(body):
            if last:
                yield last
            last = block
        yield last.rstrip(b"\r\n")


@dataclass(frozen=True, slots=True)
class LateHistory(Fault):
    """A session that is read does not show its last turn yet. `times` is for how many reads, None for all."""

    on: Route = field(default="history", kw_only=True)

    def _shown(self, turn: list[Any]) -> list[Any]:
        return []

    async def body(self, body: Body, hold: Hold) -> Body:
        session: dict[str, Any] = json.loads(b"".join([data async for data in body]))
        events: list[dict[str, Any]] = session.get("events", [])
        inputs = [number for number, event in enumerate(events) if event.get("type") == "user_input"]
        if inputs:
            session["events"] = events[: inputs[-1]] + self._shown(events[inputs[-1] :])
        yield json.dumps(session, ensure_ascii=False).encode()


@dataclass(frozen=True, slots=True)
class PartialHistory(LateHistory):
    """A session that is read shows only the first `events` events of its last turn, including `user_input`."""

    events: int = 1

    def _shown(self, turn: list[Any]) -> list[Any]:
        return turn[: self.events]
