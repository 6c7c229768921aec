"""Passages, the units of retrieval, and statements, the units of an answer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from chat_sessions.server.documents.pages import Document, Heading, Page, Table, sentences
from chat_sessions.server.documents.words import terms

__all__ = ["Passage", "Statement", "passages_of", "statements_of"]

_TABLE_NUMBER = re.compile(r"Table \d+[.:]?\s*")
_WRITTEN = re.compile(r"[^\W\d_]{2}")
_FULL = 600
_MOST = 900
_MOST_OF_A_TABLE = 1800


@dataclass(frozen=True, slots=True)
class Statement:
    """A sentence, or a row of a table, exactly as it is in the document.

    `own` are its terms, `title` those of its heading or its table's caption. `near` adds those of the page's title, or
    of the table's header; `around` adds those of the rest of its paragraph, or of what the table is under. `row` is the
    row's position in `table`.
    """

    text: str
    own: frozenset[str]
    title: frozenset[str]
    near: frozenset[str]
    around: frozenset[str]
    table: Table | None = None
    row: int = 0


@dataclass(frozen=True, slots=True)
class Passage:
    """A few hundred characters of one page. `chunk_index` counts the passages of the document from 0."""

    document: Document
    page: Page
    chunk_index: int
    text: str

    @property
    def terms(self) -> list[str]:
        """The terms that find it: its words, and those of its section's title and its file's name."""
        title = "" if self.page.section in self.text else self.page.section
        return terms(f"{self.text}\n{title}\n{self.document.name.rpartition('.')[0]}")


def passages_of(document: Document) -> list[Passage]:
    """Return the passages of a document in order, of 600 to 900 characters if its paragraphs allow, a table in one."""
    found: list[Passage] = []
    for page in document.pages:
        found += [
            Passage(document, page, chunk_index, text)
            for chunk_index, text in enumerate(_texts(page), start=len(found))
        ]
    return found


def statements_of(page: Page) -> list[Statement]:
    """Return every sentence and every row of a page, in order."""
    found: list[Statement] = []
    section = frozenset(terms(page.section))
    heading = section
    for block in page.blocks:
        if isinstance(block, Heading):
            heading = frozenset(terms(block.text))
        elif isinstance(block, Table):
            title = frozenset(terms(_TABLE_NUMBER.sub("", block.caption))) or heading
            near = title | frozenset(terms(" ".join(block.header)))
            around = section | heading
            for number, row in enumerate(block.rows):
                if row[0] and not any(character.isalnum() for character in row[0]):
                    # The key of a chart in a PDF.
                    continue
                text = " | ".join(row)
                found.append(Statement(text, frozenset(terms(text)), title, near, around, block, number))
        else:
            around = frozenset(terms(block.text))
            found += [
                Statement(text, frozenset(terms(text)), heading, section | heading, around)
                for text in sentences(block.text)
                if _WRITTEN.search(text)
            ]
    return found


def _texts(page: Page) -> Iterator[str]:
    """Yield the page's text in pieces. A heading begins the piece that follows it."""
    piece = ""
    for block_text, is_heading in _parts(page):
        full = len(piece) >= _FULL and (is_heading or len(piece) + len(block_text) > _MOST)
        if piece and (full or len(piece) + len(block_text) > _MOST_OF_A_TABLE):
            yield piece
            piece = ""
        piece = f"{piece}\n\n{block_text}" if piece else block_text
    if piece:
        yield piece


def _parts(page: Page) -> Iterator[tuple[str, bool]]:
    """Yield the blocks as text; long ones are cut between sentences or rows."""
    for block in page.blocks:
        if len(block.text) <= _MOST:
            yield block.text, isinstance(block, Heading)
        elif isinstance(block, Table):
            yield from ((table.text, False) for table in _cut_table(block))
        else:
            yield from ((text, False) for text in _cut_text(block.text))


def _cut_table(table: Table) -> Iterator[Table]:
    """Yield tables of a few rows each under the same header."""
    rows: list[tuple[str, ...]] = []
    size = 0
    for row in table.rows:
        length = sum(map(len, row))
        if rows and size + length > _MOST_OF_A_TABLE:
            yield Table(table.caption, table.header, tuple(rows))
            rows, size = [], 0
        rows.append(row)
        size += length
    yield Table(table.caption, table.header, tuple(rows))


def _cut_text(text: str) -> Iterator[str]:
    piece = ""
    for sentence in sentences(text):
        if piece and len(piece) + len(sentence) > _MOST:
            yield piece
            piece = ""
        piece = f"{piece} {sentence}" if piece else sentence
    yield piece
