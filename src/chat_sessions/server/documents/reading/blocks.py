"""A text as blocks: headings, tables and the rest, each as it is in its Markdown source."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markdown_it import MarkdownIt
from markdown_it.token import Token

__all__ = ["Block", "Box", "around", "blocks_of", "pieces", "sentences", "table"]

Box = tuple[float, float, float, float]
"""Where something is on its page, in points from the top left corner: x, y, width, height."""

_FRONT_MATTER = re.compile(r"\A---\n(.{0,20000}?)\n---\n", re.DOTALL)
_UNDERLINE = re.compile(r"\n[=-]+\s*\Z")
_HASHES = re.compile(r"\A#{1,6}(?=\s|\Z)|\s#+\Z")
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


def table(head: Sequence[str], rows: Sequence[Sequence[str]], row_boxes: Sequence[Box | None] = ()) -> Block:
    """Make a table from its cells. `row_boxes` are used if there is one for each row that has words."""
    boxes = [box for row, box in zip(rows, row_boxes, strict=False) if any(row) and box is not None]
    written = tuple(_row(row) for row in rows if any(row))
    return Block(
        head=f"{_row(head)}\n{'|' + ' --- |' * len(head)}",
        rows=written,
        row_boxes=tuple(boxes) if len(boxes) == len(written) else (),
    )


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


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in cells) + " |"
