"""A text as blocks: headings, tables and the rest, each as it is in its Markdown source."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markdown_it import MarkdownIt
from markdown_it.token import Token

from chat_sessions.server.documents.reading.stacks import stacked

__all__ = ["LOWEST_LEVEL", "Block", "Box", "around", "blocks_of", "cells", "pieces", "sentences", "table"]

Box = tuple[float, float, float, float]
"""Where something is on its page, in points from the top left corner: x, y, width, height."""

LOWEST_LEVEL = 6
"""The deepest level of heading."""

_FRONT_MATTER = re.compile(r"\A---\n(.{0,20000}?)\n---\n", re.DOTALL)
_UNDERLINE = re.compile(r"\n[=-]+\s*\Z")
_HASHES = re.compile(r"\A#{1,6}(?=\s|\Z)|\s#+\Z")
_BAR, _EDGE = re.compile(r"(?<!\\)\|"), re.compile(r"\A\0|\0\Z")
_SENTENCE_END = re.compile(
    # Three letters or fewer before a full stop are an abbreviation as often as not, and a number an ordinal.
    r"(?<=[.!?])(?<!\b\w\.)(?<!\b\w\w\.)(?<!\b\w\w\w\.)(?P<closing>[\"'\u201d\u2019\u00bb)\]*]*)\s+(?=\S)|(?<=[\u3002\uff01\uff1f])(?=\S)|\n+"
)


@dataclass(frozen=True, slots=True)
class Block:
    """A heading (`level` 1 to 6), a table (`rows` under the `head`), or any other text.

    `text` is the block in Markdown; a table's is empty, since its rows and head have it. `boxes` are where it is on its
    page, and `row_boxes` where each row of a table is, if that is known.
    """

    text: str = ""
    level: int = 0
    head: str = ""
    rows: tuple[str, ...] = ()
    boxes: tuple[Box, ...] = ()
    row_boxes: tuple[Box, ...] = ()

    @property
    def is_table(self) -> bool:
        """Whether it is a table."""
        return bool(self.head)

    def __len__(self) -> int:
        return len(self.text) + len(self.head) + sum(map(len, self.rows))


def blocks_of(text: str) -> Iterator[Block]:
    """Yield the blocks of a Markdown or plain text, in order."""
    source = _FRONT_MATTER.sub(r"\1\n", text.replace("\r\n", "\n").replace("\r", "\n"))
    # Text without formatting is all that is wanted of a block: what is inside it stays as it is written.
    parser = MarkdownIt("commonmark", {"maxNesting": 20}).enable("table").disable("inline")
    # As `markdown_it` counts lines; `splitlines` knows more kinds of line ends.
    lines = source.split("\n")
    at = 0
    for token in parser.parse(source):
        if token.level or token.map is None:
            continue
        start, end = token.map
        if start > at:
            # Definitions of links have no token.
            yield from _block(None, lines[at:start])
        yield from _block(token, lines[start:end])
        at = max(at, end)


def table(rows: Sequence[Sequence[str]], row_boxes: Sequence[Box | None] = ()) -> Iterator[Block]:
    """Yield a table of cells, whose first row is its header, below the titles that its first rows are.

    Where an empty row and another header follow, another table begins. Rows without words are left out. `row_boxes` are
    used if there is one for each row of the table.
    """
    known = [*row_boxes, *[None] * (len(rows) - len(row_boxes))]
    found = stacked(rows)
    for each in found:
        part = [rows[at] for at in each]
        # The columns of a grid are those of its widest table.
        columns = [at for at in range(max(map(len, part))) if len(found) == 1 or any(map(any, _column(part, at)))]
        yield from _table([[row[at] for at in columns if at < len(row)] for row in part], [known[at] for at in each])


def _column(rows: Sequence[Sequence[str]], at: int) -> Iterator[Sequence[str]]:
    return (row[at : at + 1] for row in rows)


def _table(rows: Sequence[Sequence[str]], boxes: Sequence[Box | None]) -> Iterator[Block]:
    width = max(map(len, rows), default=0)
    filled = [(row, box) for row, box in zip(rows, boxes, strict=True) if any(row)]
    while len(filled) > 1 < width and sum(map(bool, filled[0][0])) == 1:
        yield Block("".join(filled.pop(0)[0]))
    if not filled:
        return
    (head, _), *rest = filled
    placed = [box for _, box in rest if box is not None]
    yield Block(
        head=f"{_row(head, width)}\n{'|' + ' --- |' * width}",
        rows=tuple(_row(row, width) for row, _ in rest),
        row_boxes=tuple(placed) if len(placed) == len(rest) else (),
    )


def cells(block: Block) -> list[list[str]]:
    """Return the cells of a table, its header first."""
    lines = [block.head.partition("\n")[0], *block.rows]
    found = [_EDGE.sub("", line).split("\0") for line in (_BAR.sub("\0", line.strip()) for line in lines)]
    return [[cell.replace("\\|", "|").strip() for cell in row] for row in found]


def around(*boxes: Box) -> Box:
    """Return the box around boxes, of which there is at least one."""
    left, top = min(box[0] for box in boxes), min(box[1] for box in boxes)
    return left, top, max(box[0] + box[2] for box in boxes) - left, max(box[1] + box[3] for box in boxes) - top


def sentences(text: str) -> Iterator[str]:
    """Yield the sentences and lines of a text, each as it is there."""
    start = 0
    for end in _SENTENCE_END.finditer(text):
        if sentence := text[start : max(end.start(), end.end("closing"))].strip():
            yield sentence
        start = end.end()
    if sentence := text[start:].strip():
        yield sentence


def pieces(text: str, most: int) -> Iterator[str]:
    """Yield the text in pieces of at most `most` characters, cut between sentences, or between words if need be."""
    start = cut = 0
    for end in (*(match.end() for match in _SENTENCE_END.finditer(text)), len(text)):
        if end - start > most and cut > start:
            yield text[start:cut].strip()
            start = cut
        while end - start > most:
            cut = text.rfind(" ", start + 1, start + most) + 1 or start + most
            yield text[start:cut].strip()
            start = cut
        cut = end
    if text[start:].strip():
        yield text[start:].strip()


def _block(token: Token | None, lines: Sequence[str]) -> Iterator[Block]:
    text = "\n".join(line.rstrip() for line in lines).strip("\n")
    if not text.strip() or (token is not None and token.type == "hr"):
        return
    if token is not None and token.type == "heading_open":
        title = _UNDERLINE.sub("", text) if token.markup in ("=", "-") else _HASHES.sub("", text.strip()).strip()
        yield Block(title, level=int(token.tag[1:]))
    elif token is not None and token.type == "table_open":
        head, rule, *rows = text.split("\n")
        yield Block(head=f"{head}\n{rule}", rows=tuple(row for row in rows if row.strip()))
    else:
        yield Block(text)


def _row(row: Sequence[str], width: int) -> str:
    written = [" ".join(cell.replace("|", "\\|").split()) for cell in row]
    return f"| {' | '.join([*written, *[''] * (width - len(row))])} |"
