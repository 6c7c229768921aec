"""Answers in HTTP chunks, some of them broken, cut anywhere, through the framing of a connection.

`python -m fuzz.chunked_body --seconds 60` compares what a reader gets with what h11 makes of the same bytes at
once. The framing takes plain chunks apart itself and leaves the rest to h11, here as in a connection.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable
from itertools import chain

import h11
import httpcore

from chat_sessions.http.connection.framing import Framing
from fuzz.run import run
from fuzz.stream_decoder import split

__all__ = ["answer", "expected", "read", "trouble"]

_HEADS = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nServer: x\r\ntransfer-encoding:chunked \r\nX: y\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"HTTP/1.1 100 \r\n\r\nHTTP/1.1 429 Too Many\r\nTransfer-Encoding: CHUNKED\r\n\r\n",
    b"HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n",
    b"HTTP/1.0 200 OK\r\n\r\n",
)
_ENDS = (b"0\r\n\r\n",) * 4 + (b"0;x=y\r\n\r\n", b"000\r\nTrailer: x\r\n\r\n", b"0\r\n\r\nHTTP/1.1 200 OK\r\n", b"")


def trouble(seed: int) -> tuple[str | None, int]:
    """What is wrong with the answer of this seed, None if nothing is; and its size in bytes."""
    choose = random.Random(seed)
    data = answer(choose)
    pieces = [bytes([byte]) for byte in data] if choose.random() < 0.2 else [p for p in split(choose, data) if p]
    is_direct = choose.random() < 0.8
    wanted = expected(data)
    try:
        found, keeps_a_rest = read(pieces, is_direct=is_direct)
    except Exception as error:  # noqa: BLE001 - whatever it is, it must not reach a user
        return f"{type(error).__name__}: {error}: {pieces!r}", len(data)
    if keeps_a_rest:
        return f"the connection would be used again with something behind the answer: {pieces!r}", len(data)
    if found == wanted:
        return None, len(data)
    # How much of a broken body has been given before that is noticed, depends on where it is cut.
    is_beginning = found[0].startswith(wanted[0]) or wanted[0].startswith(found[0])
    if not found[1] and not wanted[1] and is_beginning:
        return None, len(data)
    return f"{found!r} instead of {wanted!r}: {pieces!r}", len(data)


def answer(choose: random.Random) -> bytes:
    """The bytes of an answer; of every third, some are mutated."""
    made = bytearray(choose.choice(_HEADS))
    for _ in range(choose.randrange(8)):
        content = choose.randbytes(choose.choice((1, 2, 3, 15, 16, 17, 300, 5000)))
        if choose.random() < 0.3:
            content = choose.choice((b"\r\n", b"0\r\n\r\n", b"a\r\n", b"\r", b"\n")) * choose.randint(1, 3)
        size = choose.choice((f"{len(content):x}", f"{len(content):X}", f"{len(content):04x}"))
        extension = choose.choice(("", "", "", ";a=b", '; a="b;c"', " ", "\t ", ";" + "e" * 5000))
        made += f"{size}{extension}\r\n".encode() + content + b"\r\n"
    made += choose.choice(_ENDS)
    if choose.random() < 0.33:
        for _ in range(choose.choice((1, 1, 3))):
            at = choose.randrange(len(made))
            what = choose.randrange(3)
            if what == 0:
                made[at:at] = choose.choice((b"\r", b"\n", b"\x00", b"0", b"f", b"-", choose.randbytes(2)))
            elif what == 1:
                del made[at : at + choose.randint(1, 3)]
            else:
                made[at] ^= 1 << choose.randrange(8)
    return bytes(made)


def expected(data: bytes) -> tuple[bytes, bool]:
    """The body in the bytes, and whether all of it is there, as h11 has it."""
    return _Parser().rest([data])


def read(pieces: Iterable[bytes], *, is_direct: bool) -> tuple[tuple[bytes, bool], bool]:
    """The same, as a connection gives it: with `is_direct` to a reader of the content, else to httpcore's parser.

    Also whether the connection would be used again although h11 got more than the answer.
    """
    framing, parser, left = Framing(), _Parser(), deque(pieces)
    framing.wrote(b"POST / HTTP/1.1\r\n\r\n")
    while left and not framing.is_body:
        parser.feed(framing.head(left.popleft()))
    body = b""
    if is_direct and framing.is_body:
        try:
            while True:
                body += framing.take_content()
                if not framing.is_body:
                    break
                if not left:
                    framing.ended()
                    break
                body += framing.content(left.popleft())
        except httpcore.RemoteProtocolError:
            return (body, False), False
    # One after the other: a connection is not read beyond the end of an answer.
    rest, is_whole = parser.rest(chain([framing.take_kept()], map(framing.head, left)))
    return (body + rest, is_whole), is_whole and framing.is_at_end and not parser.is_drained


class _Parser:
    """h11, as httpcore uses it."""

    def __init__(self) -> None:
        self._h11 = h11.Connection(h11.CLIENT, max_incomplete_event_size=100 * 1024)
        self._h11.send(h11.Request(method="POST", target="/", headers=[("Host", "h"), ("Content-Length", "0")]))
        self._h11.send(h11.EndOfMessage())

    def feed(self, data: bytes) -> None:
        """Give it more of the head."""
        if data:
            self._h11.receive_data(data)

    @property
    def is_drained(self) -> bool:
        """Whether all that it got belongs to the answer."""
        return self._h11.trailing_data[0] == b""

    def rest(self, pieces: Iterable[bytes]) -> tuple[bytes, bool]:
        """Give it the rest, and the end; returns the body, and whether it came to its end."""
        body = b""
        try:
            for piece in chain(filter(None, pieces), [b""]):
                self._h11.receive_data(piece)
                while not isinstance(event := self._h11.next_event(), type(h11.NEED_DATA)):
                    if isinstance(event, h11.Data):
                        body += event.data
                    elif isinstance(event, h11.EndOfMessage):
                        return body, True
                    elif isinstance(event, h11.ConnectionClosed):
                        return body, False
        except h11.RemoteProtocolError:
            pass
        return body, False


if __name__ == "__main__":
    run("chunked_body", __doc__, trouble)
