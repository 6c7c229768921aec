r"""The event stream's bytes, made ready for `httpx-sse`, and its events parsed.

`httpx-sse` decodes; `Framing` stands before it for three things that a chat service does and
that it gets wrong, or leaves open (measured against a set of 66 cases):

- A chunk that ends in the CR of the closing CRLF: it waits for the next bytes, so the last
  event before a pause, or the last of all, comes late or never. Line ends become LF here, at once.
- A line without an end fills the memory. Here an event has a largest size.
- After an `id:`, each keep-alive comment block becomes an event without data. Those are dropped.

Also a leading byte order mark is dropped, and the text is UTF-8 whatever the header says, both
by the standard (WHATWG HTML, 9.2.5).
"""

from __future__ import annotations

from codecs import getincrementaldecoder
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import ClassVar, cast

import httpx
from httpx_sse import EventSource

from chat_sessions.core.errors import ProtocolError
from chat_sessions.core.events import Event, parse_event_json

__all__ = ["Framing", "aiter_events", "iter_events"]

_BOM = b"\xef\xbb\xbf"


class Framing:
    """The stream's bytes with LF as the only line end and no event over `max_event_bytes`."""

    def __init__(self, max_event_bytes: int) -> None:
        self._limit = max_event_bytes
        self._size = 0
        self._head: bytes | None = b""
        self._after_cr = False
        self._at_line_start = True

    def feed(self, data: bytes) -> bytes:
        """The bytes to decode now. Raises `ProtocolError` for an event over the limit."""
        if self._head is not None:
            data = self._head + data
            if len(data) < len(_BOM) and _BOM.startswith(data):
                self._head = data
                return b""
            self._head = None
            data = data.removeprefix(_BOM)
        if self._after_cr and data:
            data = data.removeprefix(b"\n")
            self._after_cr = False
        if b"\r" in data:
            self._after_cr = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        self._measure(data)
        return data

    def _measure(self, data: bytes) -> None:
        """Count the bytes since the last blank line."""
        if not data:
            return
        if self._at_line_start and data.startswith(b"\n"):
            self._size = 0
        start = 0
        while (end := data.find(b"\n\n", start)) >= 0:
            self._check(end - start)
            self._size = 0
            start = end + 2
        self._check(len(data) - start)
        self._size += len(data) - start
        self._at_line_start = data.endswith(b"\n")

    def _check(self, more: int) -> None:
        if self._size + more > self._limit:
            raise ProtocolError(
                f"the service sent an event of more than {self._limit:,} bytes; max_event_bytes= allows larger ones"
            )


class _Response:
    """What `EventSource` reads of a response: its headers, and its text as it comes."""

    headers: ClassVar[Mapping[str, str]] = {"content-type": "text/event-stream"}

    def __init__(self, max_event_bytes: int) -> None:
        self._framing = Framing(max_event_bytes)
        self._decode = getincrementaldecoder("utf-8")("replace").decode

    def text(self, chunk: bytes) -> str:
        return self._decode(self._framing.feed(chunk))


class _SyncResponse(_Response):
    def __init__(self, chunks: Iterator[bytes], max_event_bytes: int) -> None:
        super().__init__(max_event_bytes)
        self._chunks = chunks

    def iter_text(self) -> Iterator[str]:
        for chunk in self._chunks:
            if text := self.text(chunk):
                yield text


class _AsyncResponse(_Response):
    def __init__(self, chunks: AsyncIterator[bytes], max_event_bytes: int) -> None:
        super().__init__(max_event_bytes)
        self._chunks = chunks

    async def aiter_text(self) -> AsyncIterator[str]:
        async for chunk in self._chunks:
            if text := self.text(chunk):
                yield text


def iter_events(chunks: Iterator[bytes], *, max_event_bytes: int) -> Iterator[Event]:
    """The events in a stream's chunks. Raises `ProtocolError` for one that cannot be read.

    An event that the end of the stream cuts is not one, by the standard.
    """
    response = cast("httpx.Response", _SyncResponse(chunks, max_event_bytes))
    for sse in EventSource(response).iter_sse():
        if _has_data(sse.data):
            yield parse_event_json(sse.data)


async def aiter_events(chunks: AsyncIterator[bytes], *, max_event_bytes: int) -> AsyncIterator[Event]:
    """The async twin of `iter_events`."""
    response = cast("httpx.Response", _AsyncResponse(chunks, max_event_bytes))
    async for sse in EventSource(response).aiter_sse():
        if _has_data(sse.data):
            yield parse_event_json(sse.data)


def _has_data(data: str) -> bool:
    # Some gateways end a stream with "[DONE]", as the completion APIs do.
    return data[:1] == "{" or data.strip() not in ("", "[DONE]")
