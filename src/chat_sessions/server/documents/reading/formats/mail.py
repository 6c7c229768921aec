"""A mail as its text and the files attached to it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from email import message_from_bytes
from email.errors import MessageError
from email.header import decode_header
from email.message import Message
from typing import cast

from chat_sessions.server.documents.reading.blocks import LOWEST_LEVEL, Block, blocks_of
from chat_sessions.server.documents.reading.encodings import decoded
from chat_sessions.server.documents.reading.formats.office import read_office
from chat_sessions.server.documents.reading.terms import words

__all__ = ["Attached", "read_mail"]

_HEADERS = ("Subject", "From", "To", "Cc", "Date")
# In Markdown, it would make a heading of the line above.
_SIGNATURE = re.compile(r"^(?=--[ \r]*$)", re.MULTILINE)
_ANGLE = re.compile(r"[<>]")


@dataclass(frozen=True, slots=True)
class Attached:
    """A file that is attached to a mail, whose title has this level."""

    name: str
    data: bytes
    level: int


@dataclass(frozen=True, slots=True)
class _Piece:
    """A part that is not made of others; its text if it is part of the mail's."""

    part: Message
    text: Sequence[Block] | None


def read_mail(data: bytes) -> Iterator[Iterable[Block] | Attached]:
    """Yield the text of a mail with its headers, then its attachments. A mail attached to it is read in the same way.

    What is damaged is read as far as it goes. Raises `RecursionError` for parts that are nested without end.
    """
    # The newer policies raise errors over damaged headers.
    return _read(message_from_bytes(data.lstrip(b"\xef\xbb\xbf\r\n")), 1)


def _read(mail: Message, level: int, title: str = "") -> Iterator[Iterable[Block] | Attached]:
    headers = [(name, _decoded_header(mail[name])) for name in _HEADERS if mail[name]]
    head = _ANGLE.sub(r"\\\g<0>", "\n\n".join(f"**{name}**: {value}" for name, value in headers))
    pieces = list(_pieces(mail))
    yield [
        *([Block(title, level=level)] if title else []),
        *blocks_of(head),
        *(block for piece in pieces for block in piece.text or ()),
    ]
    below = min(level + 1, LOWEST_LEVEL)
    for number, part in enumerate((piece.part for piece in pieces if piece.text is None), start=1):
        name = _name(part) or f"attachment {number}"
        inner = part.get_payload()
        if isinstance(inner, list):
            for message in cast("list[Message]", inner):
                yield from _read(message, below, _name(part) or _decoded_header(message["Subject"]) or name)
        elif data := _bytes(part):
            yield Attached(name, data, below)


def _pieces(mail: Message) -> Iterator[_Piece]:
    payload = mail.get_payload()
    if not isinstance(payload, list) or mail.get_content_maintype() != "multipart":
        is_text = mail.get_content_maintype() == "text" and not _name(mail)
        yield _Piece(mail, _text(mail) if is_text else None)
        return
    parts = cast("list[Message]", payload)
    kind = mail.get_content_subtype()
    # Its second part is the signature.
    pieces = [piece for part in (parts[:1] if kind == "signed" else parts) for piece in _pieces(part)]
    plain = [piece for piece in pieces if piece.part in parts and piece.part.get_content_subtype() == "plain"]
    others = [piece for piece in pieces if piece not in plain]
    # A mail program shows the other version. That may be a picture of a text, though.
    if kind == "alternative" and 2 * _count(others) >= _count(plain):
        pieces = others
    yield from pieces


def _count(pieces: Iterable[_Piece]) -> int:
    """Return how many words there are, each counted once."""
    blocks = (block for piece in pieces for block in piece.text or ())
    return len({word for block in blocks for text in (block.text, block.head, *block.rows) for word in words(text)})


def _text(part: Message) -> list[Block]:
    text = _decoded(_bytes(part), part.get_content_charset())
    if part.get_content_subtype() != "html":
        return list(blocks_of(_SIGNATURE.sub("\n", text)))
    return [block for _, blocks in read_office(text.encode(errors="replace"), "text/html") for block in blocks]


def _bytes(part: Message) -> bytes:
    found = part.get_payload(decode=True)
    return found if isinstance(found, bytes) else b""


def _decoded(data: bytes, charset: str | None) -> str:
    """Return a text in the encoding that it is said to be in, if it is; else in the likeliest."""
    for encoding in filter(None, (charset, "utf-8")):
        try:
            return data.decode(encoding)
        except (LookupError, ValueError):
            continue
    found = decoded(data)
    return found.text if found else data.decode(errors="replace")


def _decoded_header(value: str | None) -> str:
    if value is None:
        return ""
    try:
        units = decode_header(value)
    except (MessageError, ValueError):
        return " ".join(str(value).split())
    return " ".join("".join(one if isinstance(one, str) else _decoded(one, charset) for one, charset in units).split())


def _name(part: Message) -> str:
    try:
        return _decoded_header(part.get_filename())
    except (LookupError, ValueError):
        return ""
