"""Markdown and plain text by section: what is under one heading is one page without a number."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

from chat_sessions.server.documents.pages import Block, Heading, Page, Paragraph, Table

__all__ = ["read_text"]

_HEADING = re.compile(r" {0,3}#{1,6}\s+(\S.*)")
_UNDERLINE = re.compile(r"(=|-|~|\^|\*|\+)\1{2,}\s*\Z")
_RULE = re.compile(r" {0,3}([-*_])(?:\s*\1){2,}\s*\Z")
_ITEM = re.compile(r"\s*(?:[-*+]|\d{1,3}[.)])\s+")
_FENCE = re.compile(r" {0,3}(```+|~~~+)")
_MARKS = re.compile(r"(\*\*|__|(?<!\w)[*_](?=\S)|(?<=\S)[*_](?!\w)|`)")
# Bounded on every side: a file may hold a million opening brackets.
_LINK = re.compile(r"!?\[([^\[\]]{0,1000})\]\([^()\s]{0,2000}(?:\s\"[^\"]{0,300}\")?\)")
_FRONT_MATTER = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)
_MAX_QUESTION = 120
_LONG_SECTION = 20_000


def read_text(text: str) -> list[Page]:
    """Return the sections of a text, in order, without those that are only a heading.

    A section's title is its heading, or the question at the beginning of a paragraph of plain text. A section or a
    paragraph of more than 20,000 characters becomes several pages with the same title, since an answer reads whole
    pages.
    """
    pages: list[Page] = []
    section: list[Block] = []
    title = ""
    length = 0

    def end_section() -> None:
        if any(not isinstance(block, Heading) for block in section):
            pages.append(Page(None, title, tuple(section)))
        section.clear()

    blocks = _blocks(_FRONT_MATTER.sub("", text.replace("\r\n", "\n")))
    for block in itertools.chain.from_iterable(map(_bounded, blocks)):
        if isinstance(block, Heading):
            end_section()
            title, length = block.text, 0
        elif length > _LONG_SECTION:
            end_section()
            length = 0
        section.append(block)
        length += len(block.text)
    end_section()
    return pages


def _blocks(text: str) -> Iterator[Block]:
    lines = text.splitlines()
    paragraph: list[str] = []
    heading = ""
    at = 0

    def ended() -> Iterator[Block]:
        if paragraph:
            first = paragraph[0]
            if len(paragraph) > 1 and first.endswith("?") and len(first) <= _MAX_QUESTION:
                yield Heading(_plain(first))
                del paragraph[0]
            yield Paragraph(_plain(" ".join(paragraph)))
            paragraph.clear()

    while at < len(lines):
        line = lines[at].rstrip()
        after = lines[at + 1] if at + 1 < len(lines) else ""
        if fence := _FENCE.match(line):
            yield from ended()
            end = next((n for n in range(at + 1, len(lines)) if lines[n].strip().startswith(fence[1])), len(lines))
            if code := "\n".join(lines[at + 1 : end]).strip("\n"):
                yield Paragraph(code)
            at = end
        elif not line.strip():
            yield from ended()
        elif match := _HEADING.match(line):
            yield from ended()
            heading = _plain(_without_closing(match[1]))
            yield Heading(heading)
        elif not paragraph and _UNDERLINE.match(after) and len(after.strip()) >= min(len(line.strip()), 3):
            heading = _plain(line.strip())
            yield Heading(heading)
            at += 1
        elif _RULE.match(line):
            yield from ended()
        elif "|" in line and "|" in after and _is_table_rule(after):
            yield from ended()
            end = next((n for n in range(at + 2, len(lines)) if "|" not in lines[n]), len(lines))
            header = _cells(line)
            rows = [_fitted(_cells(row), len(header)) for row in lines[at + 2 : end]]
            yield Table(heading, header, tuple(rows))
            at = end - 1
        else:
            if _ITEM.match(line):
                yield from ended()
                line = _ITEM.sub("", line, count=1)
            paragraph.append(line.strip().removeprefix("> "))
        at += 1
    yield from ended()


def _bounded(block: Block) -> Iterator[Block]:
    """Yield the block; a paragraph of over 20,000 characters in parts, cut after a sentence or a line if possible."""
    if not isinstance(block, Paragraph) or len(block.text) <= _LONG_SECTION:
        yield block
        return
    text, start = block.text, 0
    while start < len(text):
        end = start + _LONG_SECTION
        if end < len(text):
            after = max(text.rfind(mark, start, end) for mark in (". ", "? ", "! ", "\n")) + 1
            end = after or text.rfind(" ", start, end) + 1 or end
        if part := text[start:end].strip():
            yield Paragraph(part)
        start = end


def _without_closing(heading: str) -> str:
    """Return the heading without an optional `##` at its end; "C#" stays whole."""
    text = heading.rstrip()
    without = text.rstrip("#")
    return without if without.endswith((" ", "\t")) else text


def _is_table_rule(line: str) -> bool:
    return "-" in line and not line.strip("|-: \t")


def _cells(line: str) -> tuple[str, ...]:
    inner = line.strip().removeprefix("|").removesuffix("|")
    return tuple(_plain(cell.strip().replace("\\|", "|")) for cell in re.split(r"(?<!\\)\|", inner))


def _fitted(cells: tuple[str, ...], count: int) -> tuple[str, ...]:
    return (*cells, *[""] * (count - len(cells)))[:count]


def _plain(text: str) -> str:
    """Return the words without the markup of emphasis and links."""
    return _MARKS.sub("", _LINK.sub(r"\1", text)).strip()
