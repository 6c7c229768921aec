"""The parts of a document: pages made of blocks, and blocks made of statements that can be quoted."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

__all__ = ["Block", "Document", "Heading", "Page", "Paragraph", "Table", "sentences"]

_ABBREVIATIONS = (
    r"(?<!\be\.g\.)(?<!\bi\.e\.)(?<!\bNo\.)(?<!\bFig\.)(?<!\bDr\.)(?<!\bMr\.)(?<!\bMs\.)(?<!\bvs\.)(?<!\bca\.)"
)
_SENTENCE_END = re.compile(r"(?:(?<=[.!?])" + _ABBREVIATIONS + r"|(?<=[.!?][\"\u201d\u2019)\]]))\s+(?=[^a-z\s])")
_LONGEST_SENTENCE = 900
_TABLE_NUMBER = re.compile(r"(?:Table|Figure) \d+\.\Z")
# No table has a longer number. Looking further back would take hours in a text full of such numbers.
_LONGEST_TABLE_NUMBER = 30


@dataclass(frozen=True, slots=True)
class Heading:
    """A title within a page."""

    text: str


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Running text, without line breaks unless it is code."""

    text: str


@dataclass(frozen=True, slots=True)
class Table:
    """Rows with the same number of cells. `header` names the columns; `caption` is "" if there is none."""

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    @property
    def text(self) -> str:
        """The table as Markdown, under its caption."""
        rule = "|" + "---|" * len(self.header)
        lines = [_markdown_row(self.header), rule, *(_markdown_row(row) for row in self.rows)]
        return "\n".join([self.caption, "", *lines] if self.caption else lines)


Block: TypeAlias = Heading | Paragraph | Table


@dataclass(frozen=True)
class Page:
    """A page of a PDF, or a section of a text, which has no page `number`.

    `section` is its title, "" if there is none.
    """

    number: int | None
    section: str
    blocks: tuple[Block, ...]

    @cached_property
    def text(self) -> str:
        """The whole page: paragraphs and tables, with a blank line between blocks."""
        return "\n\n".join(block.text for block in self.blocks)


@dataclass(frozen=True, slots=True)
class Document:
    """A file that was read. `name` is its path within the folder, with `/`; `file_id` follows from it."""

    file_id: str
    name: str
    pages: tuple[Page, ...]

    def page(self, number: int) -> Page | None:
        """Return the page with this number, or None if there is none or it has no text."""
        return next((page for page in self.pages if page.number == number), None)


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def sentences(text: str) -> Iterator[str]:
    """Yield the sentences of a paragraph, each exactly as it is there; an endless one is cut between words."""
    start = 0
    for end in _SENTENCE_END.finditer(text):
        if not _TABLE_NUMBER.search(text, max(start, end.start() - _LONGEST_TABLE_NUMBER), end.start()):
            yield from _pieces(text[start : end.start()])
            start = end.end()
    yield from _pieces(text[start:])


def _pieces(sentence: str) -> Iterator[str]:
    start = 0
    while len(sentence) - start > _LONGEST_SENTENCE:
        end = sentence.rfind(" ", start + 1, start + _LONGEST_SENTENCE)
        end = end if end > 0 else start + _LONGEST_SENTENCE
        yield sentence[start:end]
        start = end + (sentence[end] == " ")
    yield sentence[start:]
