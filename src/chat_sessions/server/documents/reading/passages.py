"""Passages, the units of retrieval: a few hundred characters of one section, a table's rows always with its header."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from chat_sessions.server.documents.reading.blocks import Block, Box, around, pieces
from chat_sessions.server.documents.reading.tables import gap, narrow

__all__ = ["Chunker", "Leaves", "Passage", "Sheet"]

_FULL = 500
_MOST = 900
_MOST_OF_A_TABLE = 1800
_LONGEST_CAPTION = 200
_LONGEST_TITLE = 300
# Blocks that are this close in one column, in points, are marked as one.
_CLOSE = 40.0


@dataclass(frozen=True, slots=True)
class Passage:
    """A passage of a document. `page` is None for a document without pages, `section` "" without a heading above.

    `path` has all headings above it, the nearest last: they find it, too. `boxes` are where it is on its page, empty if
    that is not known.
    """

    text: str
    page: int | None
    section: str
    path: tuple[str, ...]
    boxes: tuple[Box, ...] = ()


@dataclass(frozen=True, slots=True)
class Sheet:
    """A page with a number. Its size is in points, 0 if it cannot be drawn."""

    number: int
    text: str
    width: float = 0.0
    height: float = 0.0


@dataclass(frozen=True, slots=True)
class Leaves:
    """Some pages that were read together, with notes on them. `done` and `total` count pages."""

    pages: list[tuple[Sheet | None, Iterable[Block]]]
    notes: list[str] = field(default_factory=list[str])
    done: int = 1
    total: int = 1


@dataclass
class Chunker:
    """Cuts a document into passages, page by page. The headings above stay in force from one page to the next."""

    _headings: dict[int, str] = field(default_factory=dict[int, str])

    def passages(self, blocks: Iterable[Block], page: int | None = None) -> Iterator[Passage]:
        """Yield the passages of one page, or of a whole document without pages."""
        parts: list[str] = []
        places: list[tuple[Box, ...]] = []
        size = 0
        for block in blocks:
            if block.level:
                if size:
                    yield self._passage(parts, page, places)
                    parts, places, size = [], [], 0
                self._enter(block)
                parts.append(f"{'#' * block.level} {block.text}")
                places.append(block.boxes)
                continue
            caption = (
                parts[-1] if parts and size and len(parts[-1]) <= _LONGEST_CAPTION and "\n" not in parts[-1] else ""
            )
            for text, boxes in _texts(block, caption):
                limit = _MOST_OF_A_TABLE if block.is_table else _MOST
                if size >= _FULL and size + len(text) > limit:
                    moved: tuple[Box, ...] = ()
                    if block.is_table and caption and parts[-1] == caption:
                        parts.pop()
                        moved = places.pop()
                        text = f"{caption}\n\n{text}"
                    if parts:
                        yield self._passage(parts, page, places)
                    parts, places, size = [], [moved], 0
                parts.append(text)
                places.append(boxes)
                size += len(text)
        if parts:
            yield self._passage(parts, page, places)

    def _enter(self, heading: Block) -> None:
        self._headings = {level: text for level, text in self._headings.items() if level < heading.level}
        self._headings[heading.level] = heading.text[:_LONGEST_TITLE]

    def _passage(self, parts: list[str], page: int | None, places: Iterable[tuple[Box, ...]]) -> Passage:
        path = tuple(self._headings.values())
        return Passage(
            "\n\n".join(parts), page, path[-1] if path else "", path, _joined(box for boxes in places for box in boxes)
        )


def _joined(boxes: Iterable[Box]) -> tuple[Box, ...]:
    """Merge the boxes that follow each other down a column."""
    joined: list[Box] = []
    for box in boxes:
        if joined and _follows(joined[-1], box):
            joined[-1] = around(joined[-1], box)
        else:
            joined.append(box)
    return tuple((round(x, 1), round(y, 1), round(width, 1), round(height, 1)) for x, y, width, height in joined)


def _follows(above: Box, below: Box) -> bool:
    shared = min(above[0] + above[2], below[0] + below[2]) - max(above[0], below[0])
    return (
        shared >= min(above[2], below[2]) / 2 and above[1] <= below[1] + 1 and below[1] - above[1] - above[3] <= _CLOSE
    )


def _texts(block: Block, caption: str) -> Iterator[tuple[str, tuple[Box, ...]]]:
    """Yield the block, or its parts if it is long, and where each is.

    The parts of a table repeat its header, and its caption, but are only where their own rows are. A row of "…" stands
    for the rows that other parts have.
    """
    if not block.is_table:
        for text in pieces(block.text, _MOST) if len(block) > _MOST else (block.text,):
            yield text, block.boxes
        return
    repeated, again = "", f"{caption}\n\n" if caption else ""
    for table in narrow(block, _MOST_OF_A_TABLE):
        left_out = gap(table)
        rows: list[str] = []
        size = start = 0
        for at, row in enumerate(table.rows):
            if rows and size + len(row) + len(table.head) > _MOST_OF_A_TABLE:
                yield "\n".join([f"{repeated}{table.head}", *rows, left_out]), _rows(table, start, at)
                repeated = again
                rows, size, start = [left_out], 0, at
            rows.append(row)
            size += len(row)
        boxes = _rows(table, start, len(table.rows)) if start else table.boxes
        yield "\n".join([f"{repeated}{table.head}", *rows]), boxes
        repeated = again


def _rows(block: Block, start: int, end: int) -> tuple[Box, ...]:
    """Return where some rows of a table are, as wide as the table; its head belongs to the first of them."""
    if not block.row_boxes or len(block.boxes) != 1:
        return block.boxes
    left, top, width, _ = block.boxes[0]
    rows = around(*block.row_boxes[start:end])
    top = rows[1] if start else top
    return ((left, top, width, rows[1] + rows[3] - top),)
