r"""The event stream's bytes, decoded as they arrive.

The rules are those of the standard (WHATWG HTML, 9.2.5 and 9.2.6), and httpx-sse knows them: it decodes every
event but those of the plain shape that chat services send, `data: {json}` and a blank line, with or without an
`event: name` before it, which are read straight off the bytes. What httpx-sse does late or without bounds is done
here, before it: the stream is split at its blank lines, a CR at the end of a chunk ends its line at once, an event
without an end does not fill the memory, and a keep-alive after an `id:` is not an event.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from typing import cast

import httpx
from httpx_sse import EventSource

from chat_sessions.core.errors import ProtocolError
from chat_sessions.core.events import Event, EventReader, broken_event

__all__ = ["EventDecoder"]

_BOM = b"\xef\xbb\xbf"
# An event of the plain shape, with its blank line. The name says nothing that the JSON does not. Possessive and only at
# the beginning of a line, so that the time that a search takes is linear.
_PLAIN = re.compile(rb"^(?:event: [^\n]*+\n)?+data: ([^\n]*+)\n\n", re.MULTILINE)


class EventDecoder:
    """Bytes in, events out: `feed` what arrived, then call `next_event` until it returns None."""

    def __init__(self, max_event_bytes: int) -> None:
        self._limit = max_event_bytes
        self._reader = EventReader()
        self._beginning: bytes | None = b""
        self._after_cr = False
        # An event that has no end yet, in the pieces in which it came: joined once, however long it grows.
        self._pieces: list[bytes] = []
        self._size = 0
        self._ready: deque[bytes | str] = deque()
        # Whether an event was larger than the limit: nothing is taken in any more.
        self.is_over_limit = False

    @property
    def has_event(self) -> bool:
        """Whether `next_event` has something to return or to raise."""
        return bool(self._ready) or self.is_over_limit

    def next_event(self) -> Event | None:
        """Return the next whole event, or None until you feed more.

        An event with a broken body is an `UnknownEvent`. Raises `ProtocolError` for an event that is not a JSON object,
        for a broken stop, and for an event over the limit.
        """
        while self._ready:
            data = self._ready.popleft()
            try:
                return self._reader.read(data)
            except ProtocolError:
                if (broken := broken_event(data)) is not None:
                    return broken
                # Some gateways end a stream with "[DONE]", as the completion APIs do.
                if data.strip() not in (b"", b"[DONE]", "", "[DONE]"):
                    raise
        if self.is_over_limit:
            raise ProtocolError(
                f"the service sent an event of more than {self._limit:,} bytes; max_event_bytes= allows larger ones"
            )
        return None

    def feed(self, chunk: bytes) -> None:
        """Take in the next bytes of the stream."""
        if self.is_over_limit:
            return
        if self._beginning is not None:
            chunk = self._beginning + chunk
            if len(chunk) < len(_BOM) and _BOM.startswith(chunk):
                self._beginning = chunk
                return
            self._beginning = None
            chunk = chunk.removeprefix(_BOM)
        if self._after_cr and chunk:
            chunk = chunk.removeprefix(b"\n")
            self._after_cr = False
        if b"\r" in chunk:
            # The CR ends the line; a LF that comes next belongs to it.
            self._after_cr = chunk.endswith(b"\r")
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        if b"\n\n" not in chunk and not (chunk.startswith(b"\n") and self._pieces and self._pieces[-1].endswith(b"\n")):
            self._keep(chunk)
            return
        content = b"".join((*self._pieces, chunk))
        self._pieces, self._size = [], 0
        # What is between the plain events, and their data, in turn.
        *found, rest = _PLAIN.split(content)
        if len(content) <= self._limit and not any(found[::2]) and b"\n\n" not in rest:
            self._ready += found[1::2]
        else:
            *blocks, rest = content.split(b"\n\n")
            self._take(blocks)
        self._keep(rest)

    def _keep(self, piece: bytes) -> None:
        """Keep the beginning of an event."""
        if not self._pieces:
            piece = piece.removeprefix(b"\n")
        if piece and not self.is_over_limit:
            self._pieces.append(piece)
            self._size += len(piece)
            # The end of the last line is not counted, so that the size does not depend on how the stream is cut.
            self._check(self._size - piece.endswith(b"\n"))

    def _check(self, size: int) -> bool:
        if size > self._limit:
            self.is_over_limit = True
            self._pieces = []
        return self.is_over_limit

    def _take(self, blocks: list[bytes]) -> None:
        others: list[bytes] = []
        for block in blocks:
            if len(block) > self._limit and self._check(len(block.removeprefix(b"\n"))):
                break
            line = block.partition(b"\n")[2] if block.startswith(b"event: ") else block
            if b"\n" not in line and line.startswith(b"data: "):
                if others:
                    self._decode(others)
                self._ready.append(line[6:])
            elif b"\n" in block or not block.startswith(b":"):
                others.append(block)
        self._decode(others)

    def _decode(self, blocks: list[bytes]) -> None:
        """Decode events of any shape, in this order; the list is empty then."""
        if blocks:
            source = EventSource(cast("httpx.Response", _Received(b"\n\n".join((*blocks, b"")))))
            self._ready.extend(event.data for event in source.iter_sse())
            blocks.clear()


class _Received:
    """What `EventSource` reads of a response."""

    def __init__(self, content: bytes) -> None:
        self.headers = {"content-type": "text/event-stream"}
        self._content = content

    def iter_text(self) -> Iterator[str]:
        """Yield the content."""
        yield self._content.decode("utf-8", "replace")
