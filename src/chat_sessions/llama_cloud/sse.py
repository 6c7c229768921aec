r"""The event stream's bytes, decoded as they come.

The rules are those of the standard (WHATWG HTML, 9.2.5 and 9.2.6): a line ends with LF, CRLF or CR
and with nothing else, the text is UTF-8, a blank line ends an event, an event that the end of the
stream cuts is none. Names, ids and `retry` are read over: an event's JSON says what it is.

`httpx-sse` decodes the same (the tests compare the two) but for three things that a chat service
does: the CR of a closing CRLF at the end of a chunk keeps the event back until the next bytes, a
line without an end fills the memory, and each keep-alive after an `id:` becomes an event without
data. It also pulls its bytes, through a chain of generators that costs an async reader more than
all the rest; here bytes are pushed, by the sync and the async connection alike.
"""

from __future__ import annotations

from collections import deque

from chat_sessions.core.errors import ProtocolError
from chat_sessions.core.events import Event, parse_event_json

__all__ = ["EventDecoder"]

_BOM = b"\xef\xbb\xbf"


class EventDecoder:
    """Bytes in, events out: `feed` it what came, then take events with `next_event` until it gives None."""

    def __init__(self, max_event_bytes: int) -> None:
        self._limit = max_event_bytes
        self._head: bytes | None = b""
        self._after_cr = False
        # A line that has no end yet, in the pieces in which it came: joined once, however long it grows.
        self._pieces: list[bytes] = []
        # The bytes of the event so far, and of them the lines of data.
        self._size = 0
        self._data: list[bytes] = []
        self._ready: deque[bytes] = deque()
        # Whether an event was larger than the limit: nothing is taken in any more.
        self.is_over_limit = False

    def next_event(self) -> Event | None:
        """The next event that is whole, or None until more is fed.

        Raises `ProtocolError` for an event that cannot be read, and for one over the limit.
        """
        while self._ready:
            data = self._ready.popleft()
            # Some gateways end a stream with "[DONE]", as the completion APIs do.
            if data[:1] == b"{" or data.strip() not in (b"", b"[DONE]"):
                return parse_event_json(data)
        if self.is_over_limit:
            raise ProtocolError(
                f"the service sent an event of more than {self._limit:,} bytes; max_event_bytes= allows larger ones"
            )
        return None

    def feed(self, chunk: bytes) -> None:
        """Take in the next bytes of the stream."""
        if self._head is not None:
            chunk = self._head + chunk
            if len(chunk) < len(_BOM) and _BOM.startswith(chunk):
                self._head = chunk
                return
            self._head = None
            chunk = chunk.removeprefix(_BOM)
        if self._after_cr and chunk:
            chunk = chunk.removeprefix(b"\n")
            self._after_cr = False
        if b"\r" in chunk:
            # The line is over with its CR; a LF that comes next belongs to it.
            self._after_cr = chunk.endswith(b"\r")
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *lines, rest = chunk.split(b"\n")
        if self._pieces and lines:
            lines[0] = b"".join((*self._pieces, lines[0]))
            self._size -= sum(map(len, self._pieces))
            self._pieces = []
        for line in lines:
            if not line:
                self._end_event()
                continue
            self._size += len(line) + 1
            if self._size > self._limit:
                break
            if line.startswith(b"data:"):
                self._data.append(line[6:] if line.startswith(b"data: ") else line[5:])
            elif line == b"data":
                self._data.append(b"")
        else:
            if rest:
                self._size += len(rest)
                self._pieces.append(rest)
        if self._size > self._limit:
            self.is_over_limit = True
            self._pieces, self._data = [], []

    def _end_event(self) -> None:
        self._size = 0
        if self._data:
            self._ready.append(b"\n".join(self._data))
            self._data = []
