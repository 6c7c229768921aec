"""Random and mutated bytes, in random pieces, through the stream decoder and the fold of a turn.

`python -m fuzz.stream_decoder --seconds 60` compares what comes out with a slow reference that is written straight
from the standard (WHATWG HTML, 9.2.5 and 9.2.6) and sees the whole stream at once. A stream that tells them apart, or
that raises anything but `ProtocolError`, is trouble.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator

from chat_sessions.core.errors import ProtocolError
from chat_sessions.core.events import (
    Event,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    broken_event,
    parse_event_json,
)
from chat_sessions.core.turn import TurnFold
from chat_sessions.http.event_stream import EventDecoder
from fuzz.run import run

__all__ = ["decoded", "expected", "split", "stream", "trouble"]

_LIMIT = 2000
_ENDS = (b"\n", b"\r\n", b"\r")
_TEXTS = ("a", " ", "é", "😀", "\u2028", "\u0085", "a b", "\n", "", "\ufeff", "word " * 20)
_HALVES = ("\ud83d", "\ude00")
_LINES = (
    b": comment",
    b":",
    b"id: 1",
    b"id",
    b"event: message",
    b"event:",
    b"retry: 10",
    b"data",
    b"data:",
    b"data: ",
    b"data:  {}",
    b"data: [DONE]",
    b"data: nonsense",
    b"Data: {}",
    b"datax: {}",
    b"\xff\xfe",
    b"data: \xff",
    b"\x00",
    b"data: {}",
    b'data: {"type": "text"}',
    b'data: {"type": "new_thing", "n": 1}',
)


def trouble(seed: int) -> tuple[str | None, int]:
    """What is wrong with the stream of this seed, None if nothing is; and its size in bytes."""
    choose = random.Random(seed)
    data = stream(choose)
    pieces = list(split(choose, data))
    try:
        found, wanted = decoded(pieces), expected(data)
    except Exception as error:  # noqa: BLE001 - whatever it is, it must not reach a user
        return f"{type(error).__name__}: {error}: {pieces!r}", len(data)
    if found != wanted:
        return f"{found!r} instead of {wanted!r}: {pieces!r}", len(data)
    return None, len(data)


def stream(choose: random.Random) -> bytes:
    """The bytes of a stream: events and oddities, some of them mutated."""
    made = bytearray(choose.choice((b"", b"", b"\xef\xbb\xbf", b"\xef\xbb", b"\xef\xbb\xbf" * 2)))
    end = choose.choice(_ENDS)
    for _ in range(choose.randrange(12)):
        if choose.random() < 0.3:
            end = choose.choice(_ENDS)
        for _ in range(choose.choice((1, 1, 1, 2, 3))):
            made += _line(choose) + end
        made += end * choose.choice((0, 1, 1, 1, 1, 2))
    for _ in range(choose.choice((0, 0, 0, 1, 3))):
        _mutate(choose, made)
    return bytes(made)


def _line(choose: random.Random) -> bytes:
    if choose.random() < 0.4:
        return choose.choice(_LINES)
    kind = choose.choice(("text_delta", "thinking_delta", "text", "thinking", "user_input"))
    ascii_only = choose.random() < 0.5
    # Half of a surrogate pair can only be written as an escape.
    texts = (*_TEXTS, *_HALVES) if ascii_only else _TEXTS
    event = {"type": kind, "content": "".join(choose.choice(texts) for _ in range(choose.randint(1, 4)))}
    space = choose.choice((b" ", b"", b"  "))
    return b"data:" + space + json.dumps(event, ensure_ascii=ascii_only).encode()


def _mutate(choose: random.Random, data: bytearray) -> None:
    at = choose.randrange(len(data) + 1)
    what = choose.randrange(4)
    if what == 0:
        data[at:at] = choose.randbytes(choose.randint(1, 4))
    elif what == 1:
        del data[at : at + choose.randint(1, 8)]
    elif what == 2:
        data[at:at] = choose.choice(
            (b"\r", b"\n", b"\r\n", b"\x00", b"data:", b"x" * choose.randint(_LIMIT - 12, _LIMIT + 2))
        )
    elif data:
        data[at % len(data)] ^= 1 << choose.randrange(8)


def split(choose: random.Random, data: bytes) -> Iterator[bytes]:
    """The bytes in pieces, empty ones among them."""
    most = choose.choice((1, 2, 7, 100, len(data) + 1))
    at = 0
    while at < len(data):
        size = choose.randint(0, most)
        yield data[at : at + size]
        at += size


def decoded(pieces: list[bytes]) -> tuple[list[Event], str | None]:
    """What the decoder makes of the pieces: events, and the kind of error that ended them."""
    decoder = EventDecoder(_LIMIT)
    events: list[Event] = []
    try:
        for piece in pieces:
            decoder.feed(piece)
            while (event := decoder.next_event()) is not None:
                events.append(event)
    except ProtocolError as error:
        return _folded(events), _kind(error)
    return _folded(events), None


def expected(data: bytes) -> tuple[list[Event], str | None]:
    """The same from the whole stream, by the standard."""
    events: list[Event] = []
    deltas = _Deltas()
    data = data.removeprefix(b"\xef\xbb\xbf")
    # A line ends with CRLF, CR or LF; what stands behind the last end is no line.
    lines = re.split(rb"\r\n|\r|\n", data)
    values: list[bytes] = []
    size = 0
    try:
        for line in lines[:-1]:
            if not line:
                size = 0
                joined = b"\n".join(values)
                values = []
                if joined.strip() not in (b"", b"[DONE]"):
                    try:
                        events.append(deltas.read(joined))
                    except ProtocolError:
                        if (broken := broken_event(joined)) is None:
                            raise
                        events.append(broken)
                continue
            size += len(line)
            if size > _LIMIT:
                return _folded(events), "size"
            # The end of a line counts if another line follows.
            size += 1
            name, _, value = line.partition(b":")
            if name == b"data":
                values.append(value.removeprefix(b" "))
        if lines[-1] and size + len(lines[-1]) > _LIMIT:
            return _folded(events), "size"
    except ProtocolError as error:
        return _folded(events), _kind(error)
    return _folded(events), None


class _Deltas:
    """Reads events; a delta's text is what it adds to all that its kind has said, read as UTF-16 at once.

    Half of a surrogate pair at the end says nothing yet.
    """

    def __init__(self) -> None:
        self._said: dict[str, str] = {}

    def read(self, data: bytes) -> Event:
        event = parse_event_json(data)
        if isinstance(event, Text | Thinking):
            self._said.pop(f"{event.type}_delta", None)
        if not isinstance(event, TextDelta | ThinkingDelta):
            return event
        before = self._said.get(event.type, "")
        self._said[event.type] = before + json.loads(data.decode("utf-8", "replace"))["content"]
        shown, now = (_utf16(said) for said in (before, self._said[event.type]))
        return event.model_copy(update={"content": now.removeprefix(shown)})


def _utf16(units: str) -> str:
    whole = units[:-1] if "\ud800" <= units[-1:] <= "\udbff" else units
    return whole.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _folded(events: list[Event]) -> list[Event]:
    """The events, after their fold was found to show each word once."""
    fold = TurnFold()
    shown = {TextDelta: "", ThinkingDelta: ""}
    for event in events:
        for new in fold.add(event):
            for kind in shown:
                shown[kind] += new.content if isinstance(new, kind) else ""
    # A final that corrects its deltas takes back what was shown; without finals nothing may differ.
    if not any(event.type in ("text", "thinking") for event in events):
        turn = fold.turn
        if (shown[TextDelta], shown[ThinkingDelta]) != (turn.text, turn.thinking):
            raise AssertionError(f"shown {shown}, folded {turn}")
    return events


def _kind(error: ProtocolError) -> str:
    return "size" if "max_event_bytes" in str(error) else "event"


if __name__ == "__main__":
    run("stream_decoder", __doc__, trouble)
