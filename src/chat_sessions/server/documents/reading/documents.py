"""Reads a document from the bytes of its file: in parts, so that what came before a deadline is kept."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from chat_sessions.server.documents.reading.blocks import LOWEST_LEVEL, Block, blocks_of
from chat_sessions.server.documents.reading.content import Picture, Unreadable, kind_of
from chat_sessions.server.documents.reading.passages import Chunker, Leaves, Passage, Sheet
from chat_sessions.server.documents.reading.terms import function_words, language_written, terms, words

if TYPE_CHECKING:
    from chat_sessions.server.documents.reading.formats.mail import Attached

__all__ = ["MAX_TEXT_CHARACTERS", "Part", "Unreadable", "language_of", "read"]

MAX_TEXT_CHARACTERS = 20_000_000
"""How much of a text is read; the rest is left out, with a note."""

_AT_ONCE = 500_000
_END_OF_LINE = re.compile(r"\n(?![ \t]*\|)")
_WIDE = ("utf-16", "utf_16", "utf-32")
_JUDGED = 4000
_TELLING = 2


@dataclass(slots=True)
class Part:
    """Some pages of a document, in order. `notes` are sentences on what was left out, or read in another way.

    `language` is the code of the whole document's, "" if nothing tells it. `done` and `total` count pages.
    """

    passages: list[tuple[Passage, list[str]]] = field(default_factory=list[tuple[Passage, list[str]]])
    sheets: list[Sheet] = field(default_factory=list[Sheet])
    notes: list[str] = field(default_factory=list[str])
    language: str = ""
    done: int = 0
    total: int = 0


def read(data: bytes, name: str) -> Iterator[Part]:
    """Yield the parts of a document. Raises `Unreadable` if it cannot be read."""
    writer = _Writer()
    for leaves in _read(data, name):
        yield writer.part(leaves)


def _read(data: bytes, name: str) -> Iterator[Leaves]:
    kind = kind_of(data, name)
    if kind.media_type == "application/pdf":
        from chat_sessions.server.documents.reading.formats.pdf import read_pdf

        yield from read_pdf(data)
        return
    text, notes = _bounded(kind.text)
    notes += kind.notes
    if kind.media_type == "text/markdown":
        for piece in _pieces(text):
            yield Leaves([(None, blocks_of(piece))])
        yield Leaves([], notes)
        return
    if kind.media_type == "message/rfc822":
        # Each of its parts may be in an encoding of its own.
        yield from _mail(text.encode() if kind.encoding.startswith(_WIDE) else data)
        return
    from chat_sessions.server.documents.reading.formats.office import read_office

    yield Leaves(read_office(text.encode() if kind.text else data, kind.media_type), notes)


def _mail(data: bytes) -> Iterator[Leaves]:
    from chat_sessions.server.documents.reading.formats.mail import Attached, read_mail

    try:
        for found in read_mail(data):
            if isinstance(found, Attached):
                yield from _attached(found)
            else:
                yield Leaves([(None, found)])
    except RecursionError as error:
        raise Unreadable("it is nested too deeply") from error


def _attached(file: Attached) -> Iterator[Leaves]:
    """Yield what a file says by itself, below its name and without pages, which would be taken for the mail's."""
    title = [Block(file.name, level=file.level)]
    try:
        for leaves in _read(file.data, file.name):
            below = [_lowered(block, file.level) for _, blocks in leaves.pages for block in blocks]
            yield Leaves([(None, title + below if below else [])], [f"of {file.name}, {note}" for note in leaves.notes])
            title = [] if below else title
    except Picture:
        # Most mails have logos.
        return
    except Unreadable as error:
        yield Leaves([], [f"{file.name} in it was left out: {error}"])


def _lowered(block: Block, by: int) -> Block:
    return replace(block, level=min(block.level + by, LOWEST_LEVEL)) if block.level else block


def _pieces(text: str) -> Iterator[str]:
    """Yield a long text in pieces that end where a paragraph does, so that a deadline costs what is not read yet.

    A paragraph that is too long for that ends with one of its lines, but a table does not.
    """
    start = 0
    while len(text) - start > _AT_ONCE:
        end = text.find("\n\n", start + _AT_ONCE, start + 2 * _AT_ONCE)
        if end < 0:
            line = _END_OF_LINE.search(text, start + _AT_ONCE)
            if line is None:
                break
            end = line.start()
        yield text[start:end]
        start = end
    yield text[start:]


def _bounded(text: str) -> tuple[str, list[str]]:
    if len(text) <= MAX_TEXT_CHARACTERS:
        return text, []
    cut = text.rfind("\n", 0, MAX_TEXT_CHARACTERS) + 1 or MAX_TEXT_CHARACTERS
    share = f"{MAX_TEXT_CHARACTERS / 1e6:g} of its {len(text) / 1e6:.1f} million characters"
    return text[:cut], [f"only the first {share} were read"]


class _Writer:
    """Makes passages with their terms. The first words of a document decide on its language."""

    def __init__(self) -> None:
        self._chunker = Chunker()
        self._language: str | None = None

    def part(self, leaves: Leaves) -> Part:
        part = Part(notes=leaves.notes, done=leaves.done, total=leaves.total)
        found: list[Passage] = []
        for sheet, blocks in leaves.pages:
            if sheet is not None:
                part.sheets.append(sheet)
            found += self._chunker.passages(blocks, sheet.number if sheet is not None else None)
        if self._language is None and found:
            self._language = language_of(passage.text for passage in found)
        part.language = self._language or ""
        # Without a term, nothing finds it.
        part.passages = [(passage, listed) for passage in found if (listed := self._terms(passage))]
        return part

    def _terms(self, passage: Passage) -> list[str]:
        above = " ".join(title for title in passage.path if title not in passage.text)
        return terms(f"{above}\n{passage.text}" if above else passage.text, self._language or "")


def language_of(texts: Iterable[str]) -> str:
    """Return the ISO 639-3 code of the language that the texts begin in, "" if nothing tells it.

    Names and numbers have no language. A text without two function words of its language may be in English as well:
    then both codes are returned, with a `+` between them.
    """
    sample = ""
    for text in texts:
        sample += text + "\n"
        if len(sample) > _JUDGED:
            break
    sample = sample[:_JUDGED]
    language = language_written(sample)
    is_sure = language == "eng" or len(function_words(words(sample), language)) >= _TELLING
    return language if is_sure else f"{language}+eng"
