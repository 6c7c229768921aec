"""The blocks of an event stream: what is between its blank lines."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import cast

__all__ = ["blocks", "is_event", "to_event_end", "until"]


async def until(
    body: AsyncIterator[bytes], *, at_byte: int | None = None, at_event: int | None = None, before: str | None = None
) -> AsyncIterator[bytes | None]:
    """Yield the body, with None at a place: at a byte, before an event, or before the first event of a type.

    If the body has no such place, None comes at its end.
    """
    position = 0
    passed = False
    if at_byte is not None:
        async for data in body:
            here = at_byte - position
            if not passed and here < len(data):
                if here:
                    yield data[:here]
                yield None
                passed = True
                yield data[here:]
            else:
                yield data
            position += len(data)
    else:
        async for block in blocks(body):
            is_here = is_event(block) and (position == at_event if before is None else _type(block) == before)
            if is_here and not passed:
                yield None
                passed = True
            position += is_event(block)
            yield block
    if not passed:
        yield None


async def blocks(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield the body in pieces that each end with a blank line, then the rest."""
    rest = b""
    async for data in body:
        rest += data
        while (end := _block_end(rest)) > 0:
            yield rest[:end]
            rest = rest[end:]
    if rest:
        yield rest


async def to_event_end(body: AsyncIterator[bytes | None]) -> AsyncIterator[bytes | None]:
    """The body with the place, None, moved to the end of the event that it is in."""
    rest = b""
    is_due = False
    async for data in body:
        is_due = is_due or data is None
        rest += data or b""
        while (end := _block_end(rest)) > 0:
            yield rest[:end]
            rest = rest[end:]
            if is_due:
                yield None
                is_due = False
        if is_due and not rest:
            yield None
            is_due = False
    if rest:
        yield rest


def _block_end(data: bytes) -> int:
    ends = [at + len(blank) for blank in (b"\r\n\r\n", b"\n\n", b"\r\r") if (at := data.find(blank)) >= 0]
    return min(ends, default=0)


def _data(block: bytes) -> bytes:
    return b"\n".join(line[5:].strip() for line in block.splitlines() if line.startswith(b"data:"))


def is_event(block: bytes) -> bool:
    """Tell whether a block has data. One without is a comment or a heartbeat."""
    return bool(_data(block))


def _type(block: bytes) -> str | None:
    try:
        event = json.loads(_data(block))
    except ValueError:
        return None
    return str(cast("dict[str, object]", event).get("type")) if isinstance(event, dict) else None
