"""Tracks where a connection is in an HTTP/1.1 answer, so that its body's chunks can be split without a parser.

A service sends one HTTP chunk for each event, and h11 takes ten times as long for a chunk as we do for the event in
it. So what comes after the head of a chunked answer is held back, and given to whoever asks first: to httpcore and
its parser, as it came, or to a reader of the content. Anything but a plain chunk is left to h11: the end, trailers, and
everything broken.
"""

from __future__ import annotations

import re
from contextlib import suppress

import httpcore

__all__ = ["Framing"]

_LONGEST_HEAD = 100 * 1024
_LONGEST_SIZE_LINE = 4096
_STATUS = re.compile(rb"HTTP/1\.1 (\d\d\d)[ \r]")
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[ \t]*chunked[ \t]*\r\n", re.IGNORECASE)
_LENGTH = re.compile(rb"\ncontent-length:[ \t]*([0-9]{0,18})", re.IGNORECASE)
_END_OF_HEAD = re.compile(rb"\n\r?\n")
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:;[^\r\n]*)?[ \t]*\r\n")
_LAST_CHUNK = re.compile(rb"0+(?:;[^\r\n]*)?[ \t]*\r\n(?:[^\r\n]+\r\n)*\r\n")
_WITHOUT_BODY = (b"204", b"304")
_PASS, _HEAD, _BODY = range(3)


class Framing:
    """Where in an HTTP/1.1 answer a connection is. `is_body` says whether `content` can take its chunks apart."""

    __slots__ = ("_at", "_end", "_head", "_kept", "_left", "_line", "is_http2")

    def __init__(self) -> None:
        self._at = _PASS
        # Whether the connection speaks HTTP/2, whose frames are left to the parser.
        self.is_http2 = False
        self._end: _End | None = None
        self._head = b""
        # What has been read and belongs to the body.
        self._kept = b""
        # How much of the open chunk, with the line end after it, has not come yet.
        self._left = 0
        self._line = b""

    @classmethod
    def within_body(cls) -> Framing:
        """Return one that has read the head of a chunked answer."""
        made = cls()
        made._at = _BODY
        return made

    @property
    def is_body(self) -> bool:
        """Whether the head of a chunked answer has been read and none of its body."""
        return self._at == _BODY

    @property
    def is_at_end(self) -> bool:
        """Whether the parser got the whole answer and nothing else, as far as can be seen."""
        return self.is_http2 or (self._end is not None and self._end.is_reached)

    def wrote(self, data: bytes) -> None:
        """Note what is written: what is read after a request is the head of its answer."""
        self.is_http2 = self.is_http2 or data.startswith(b"PRI * HTTP/2")
        if not self.is_http2:
            self._at, self._head, self._end = _HEAD, b"", None

    def take_kept(self) -> bytes:
        """Take what was held back, for the parser: it reads the body from now on."""
        if self._at == _BODY or self._kept or self._line:
            self._at = _PASS
            self._end = self._end or _End()
            self._end.add(kept := self.take_rest())
            return kept
        return b""

    def take_rest(self) -> bytes:
        """Take what is not content: the last chunk, and what has come after it."""
        rest, self._kept, self._line = self._line + self._kept, b"", b""
        return rest

    def head(self, data: bytes) -> bytes:
        """Add what was read; return what the parser gets now."""
        if self._at != _HEAD or not data:
            if self._end is not None:
                self._end.add(data)
            return data
        known = len(self._head)
        self._head += data
        end = _END_OF_HEAD.search(self._head)
        if end is None:
            if len(self._head) > _LONGEST_HEAD:
                self._at, self._head = _PASS, b""
            return data
        head, rest, self._head = self._head[: end.end()], self._head[end.end() :], b""
        status = _STATUS.match(head)
        if status is not None and status[1].startswith(b"1") and status[1] != b"101":
            # An interim response, such as early hints: the head of the answer itself is still to come.
            return head[known:] + self.head(rest)
        # h11 accepts line ends without a CR; they are not recognised here.
        is_plain = head.endswith(b"\r\n\r\n") and status is not None
        is_chunked, lengths = _CHUNKED.search(head) is not None, _LENGTH.findall(head)
        if not is_plain or not is_chunked or lengths:
            self._at = _PASS
            if status is not None and status[1] in _WITHOUT_BODY:
                self._end = _End(-len(rest))
            elif status is not None and not is_chunked and len(lengths) == 1 and lengths[0]:
                self._end = _End(int(lengths[0]) - len(rest))
            return data
        self._at, self._kept, self._left = _BODY, rest, 0
        return head[known:]

    def content(self, data: bytes) -> bytes:
        """Add more of a chunked body; return the content in it. When `is_body` ends, the parser reads the rest.

        Raises `httpcore.RemoteProtocolError` for a chunk that is longer than it says.
        """
        if self._line:
            data, self._line = self._line + data, b""
        parts: list[bytes] = []
        at, end = 0, len(data)
        while at < end:
            if self._left > 2:
                part = data[at : at + self._left - 2]
                parts.append(part)
                self._left -= len(part)
                at += len(part)
            elif self._left:
                if data[at] != b"\r\n"[2 - self._left]:
                    if parts:
                        self._kept = data[at:]
                        break
                    raise httpcore.RemoteProtocolError("a chunk is longer than it says")
                self._left -= 1
                at += 1
            else:
                size = _SIZE.match(data, at)
                if size is None and end - at <= _LONGEST_SIZE_LINE and data.find(b"\r\n", at) < 0:
                    self._line = data[at:]
                    break
                if size is None or not (length := int(size[1], 16)):
                    # The end with its trailers, or not a chunk: the parser decides.
                    self._at, self._kept = _PASS, data[at:]
                    break
                at = size.end()
                stop = at + length
                if data.startswith(b"\r\n", stop):
                    parts.append(data[at:stop])
                    at = stop + 2
                else:
                    self._left = length + 2
        return b"".join(parts)

    def take_content(self) -> bytes:
        """Take the content of what was held back."""
        kept, self._kept = self._kept, b""
        return self.content(kept) if kept else b""

    def ended(self) -> None:
        """Note that the connection has ended, so that the parser sees it."""
        self._at, self._kept, self._line = _PASS, b"", b""


class _End:
    """Detects the end of a body in what the parser gets: after its length, or after the last chunk.

    The parser silently keeps what comes after it for the next answer.
    """

    __slots__ = ("_chunks", "_last", "_left")

    def __init__(self, length: int | None = None) -> None:
        self._left = length
        self._chunks: Framing | None = None
        self._last = b""
        if length is None:
            self._chunks = Framing.within_body()

    @property
    def is_reached(self) -> bool:
        """Whether the whole body has arrived, and nothing after it."""
        return self._left == 0 if self._left is not None else _LAST_CHUNK.fullmatch(self._last) is not None

    def add(self, data: bytes) -> None:
        """Note what the parser gets."""
        if self._left is not None:
            self._left -= len(data)
        elif self._chunks is None:
            self._last += data
        else:
            with suppress(httpcore.RemoteProtocolError):
                self._chunks.content(data)
            if not self._chunks.is_body:
                self._last, self._chunks = self._chunks.take_rest(), None
