"""Reads a document from the bytes of its file: in parts, so that what came before a deadline is kept."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from chat_sessions.server.documents.reading.blocks import Block, blocks_of
from chat_sessions.server.documents.reading.content import Unreadable, kind_of
from chat_sessions.server.documents.reading.passages import Chunker, Passage, Sheet
from chat_sessions.server.documents.reading.terms import function_words, language_written, terms, words

__all__ = ["MAX_TEXT_CHARACTERS", "Part", "Unreadable", "language_of", "read"]

MAX_TEXT_CHARACTERS = 20_000_000
"""How much of a text is read; the rest is left out, with a note."""

_AT_ONCE = 500_000
_END_OF_LINE = re.compile(r"\n(?![ \t]*\|)")
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
    kind = kind_of(data, name)
    writer = _Writer()
    if kind.media_type == "application/pdf":
        from chat_sessions.server.documents.reading.pdf import read_pdf

        for leaves in read_pdf(data):
            yield writer.part(leaves.pages, leaves.notes, leaves.done, leaves.total)
        return
    text, notes = _bounded(kind.text)
    notes += kind.notes
    if kind.media_type == "text/markdown":
        for piece in _pieces(text):
            yield writer.part([(None, blocks_of(piece))], [], 1, 1)
        yield writer.part([], notes, 1, 1)
        return
    from chat_sessions.server.documents.reading.office import read_office

    yield writer.part(read_office(text.encode() if kind.text else data, kind.media_type), notes, 1, 1)


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

    def part(
        self, pages: Iterable[tuple[Sheet | None, Iterable[Block]]], notes: list[str], done: int, total: int
    ) -> Part:
        part = Part(notes=notes, done=done, total=total)
        found: list[Passage] = []
        for sheet, blocks in pages:
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
