"""Finds the tables of a PDF page by word positions alone: lines under each other whose gaps line up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import mean

from liteparse.types import AnnotationRect, LayoutBlock, LayoutCell, ParsedPage, TextItem, WordBox

__all__ = ["with_grids"]

Word = TextItem | WordBox
Rows = list[list[list[Word]]]

_MOST_ITEMS = 5_000
_SAME_LINE = 3.0
# In line heights: the gap that separates two cells, and how far a line may be below the one before it: to continue
# its cells, and to belong to its table.
_SPACE, _SAME_CELL, _NEXT_LINE = 0.6, 1.6, 3.0
_FEWEST_ROWS = 3
_FILLED = 0.6
# In characters: a table has a column of labels or numbers, and with two columns, neither is as long as prose.
_SHORT, _LONG = 20, 40
_TORN = frozenset(("table", "paragraph", "heading", "grid_fallback"))


def with_grids(page: ParsedPage) -> list[LayoutBlock]:
    """Return the blocks of a page, with each table that liteparse tore apart as a single block.

    The other words of the blocks that held its parts become paragraphs before and after it.
    """
    blocks = list(page.blocks or [])
    items = page.text_items or []
    words = [word for item in items for word in _words(item)] if len(items) <= _MOST_ITEMS else []
    for rows in _grids(words):
        listed = [word for row in rows for cell in row for word in cell]
        torn = [block for block in blocks if any(_is_in(word, block) for word in listed)]
        if not torn or not _is_torn(torn, listed, rows):
            continue
        inside, top = set(map(id, listed)), min(word.y for word in listed)
        rest = [word for word in words if id(word) not in inside and any(_is_in(word, block) for block in torn)]
        made = [
            *_paragraph([word for word in rest if word.y < top]),
            _table(rows, torn),
            *_paragraph([word for word in rest if word.y >= top]),
        ]
        at = blocks.index(torn[0])
        gone = set(map(id, torn))
        blocks = [*blocks[:at], *made, *(block for block in blocks[at:] if id(block) not in gone)]
    return blocks


def _words(item: TextItem) -> Sequence[Word]:
    """Return the words of a piece of text that reaches over the gap between two columns, and any other as it is."""
    # Its words are from left to right in every script.
    return item.words if len(_cells(item.words)) > 1 else [item]


def _grids(words: Sequence[Word]) -> Iterator[Rows]:
    run = _Run()
    for line in [*_lines(words), None]:
        if line and run.takes(line):
            continue
        if rows := run.table():
            yield rows
        run = _Run()
        if line:
            run.takes(line)


class _Run:
    """Lines under each other that may be a table, each with its cells from left to right."""

    def __init__(self) -> None:
        self._rows: list[list[list[Word]]] = []
        self._columns: list[tuple[float, float]] = []
        self._top = 0.0

    def takes(self, line: Sequence[Word]) -> bool:
        """Add a line if it can belong to the table, and tell whether it does."""
        cells = _cells(line)
        columns = _joined([*self._columns, *map(_span, cells)])
        count = max(map(len, self._rows), default=0)
        distance = (line[0].y - self._top) / max(line[0].height, 1.0) if self._rows else 0.0
        if self._rows and (distance > _NEXT_LINE or len(columns) != max(len(cells), count)):
            return False
        is_below = self._rows and distance <= _SAME_CELL and _span(cells[0])[0] > self._columns[0][1]
        if is_below and len(cells) < max(2, count - 1):
            both = zip(_row(self._rows[-1], columns), _row(cells, columns), strict=True)
            self._rows[-1] = [[*above, *below] for above, below in both if above or below]
        elif len(cells) > 1:
            self._rows.append(cells)
        else:
            return False
        self._columns, self._top = columns, line[0].y
        return True

    def table(self) -> Rows:
        """Return the rows, with a cell for each column; none if they do not form a table."""
        rows = [_row(row, self._columns) for row in self._rows]
        lengths = [[len(_text(cell)) for cell in column if cell] for column in zip(*rows, strict=True)]
        means = [mean(column) for column in lengths]
        is_table = (
            len(rows) >= _FEWEST_ROWS
            and sum(map(len, lengths)) >= _FILLED * len(rows) * len(lengths)
            and min(means) <= _SHORT
            and (len(means) > 2 or max(means) <= _LONG)
        )
        return rows if is_table else []


def _lines(words: Sequence[Word]) -> Iterator[list[Word]]:
    line: list[Word] = []
    for word in sorted((word for word in words if word.text.strip()), key=lambda word: word.y):
        if line and word.y - line[0].y > _SAME_LINE:
            yield line
            line = []
        line.append(word)
    if line:
        yield line


def _cells(line: Sequence[Word]) -> list[list[Word]]:
    cells: list[list[Word]] = []
    right = float("-inf")
    for word in sorted(line, key=lambda word: word.x):
        if word.x - right < _SPACE * word.height:
            cells[-1].append(word)
        else:
            cells.append([word])
        right = max(right, word.x + word.width)
    return cells


def _span(cell: Sequence[Word]) -> tuple[float, float]:
    return min(word.x for word in cell), max(word.x + word.width for word in cell)


def _joined(spans: Sequence[tuple[float, float]] | Iterator[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return spans with those that overlap as one, from left to right."""
    joined: list[tuple[float, float]] = []
    for left, right in sorted(spans):
        if joined and left <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(joined[-1][1], right)
        else:
            joined.append((left, right))
    return joined


def _row(cells: Sequence[list[Word]], columns: Sequence[tuple[float, float]]) -> list[list[Word]]:
    return [
        next((cell for cell in cells if left <= _span(cell)[0] and _span(cell)[1] <= right), list[Word]())
        for left, right in columns
    ]


def _is_torn(blocks: Sequence[LayoutBlock], words: Sequence[Word], rows: Rows) -> bool:
    """Tell whether all blocks are text or tables, and none is already a table with all of these words and columns."""
    columns, filled = len(rows[0]), sum(bool(cell) for row in rows for cell in row)
    return all(block.kind in _TORN for block in blocks) and not any(
        all(_is_in(word, block) for word in words)
        for block in blocks
        if max(map(len, block.rows or []), default=0) >= columns and not _is_guessed(block, filled)
    )


def _is_guessed(block: LayoutBlock, filled: int) -> bool:
    """Tell whether liteparse guessed the cells of a table, and took several for one: it fills fewer than there are."""
    found = [cell for row in [block.header or [], *(block.rows or [])] for cell in row]
    # A cell between lines has a width whatever is in it.
    are_guessed = any(cell.bbox is not None and cell.bbox.width == 0 for cell in found)
    return are_guessed and sum(bool(cell.text.strip()) for cell in found) < filled


def _is_in(word: Word, block: LayoutBlock) -> bool:
    area = block.bbox
    if area is None or not word.text.strip() or block.kind == "rule":
        return False
    x, y = word.x + word.width / 2, word.y + word.height / 2
    return area.x <= x <= area.x + area.width and area.y <= y <= area.y + area.height


def _table(rows: Rows, torn: Sequence[LayoutBlock]) -> LayoutBlock:
    head, *rest = [[LayoutCell(_text(cell), _area(cell)) for cell in row] for row in rows]
    # The frame that is drawn around a table is that of each of its columns.
    frames = [block.bbox for block in torn if block.kind == "table" and block.bbox]
    return LayoutBlock(
        "table", header=head, rows=rest, bbox=_area([*frames, *(word for row in rows for cell in row for word in cell)])
    )


def _paragraph(words: Sequence[Word]) -> Iterator[LayoutBlock]:
    if words:
        ordered = [word for line in _lines(words) for word in sorted(line, key=lambda word: word.x)]
        yield LayoutBlock("paragraph", text=_text(ordered), bbox=_area(words))


def _text(words: Sequence[Word]) -> str:
    return " ".join(word.text.strip() for word in words)


def _area(parts: Sequence[Word | AnnotationRect]) -> AnnotationRect | None:
    if not parts:
        return None
    left, right = min(part.x for part in parts), max(part.x + part.width for part in parts)
    top, bottom = min(part.y for part in parts), max(part.y + part.height for part in parts)
    return AnnotationRect(left, top, right - left, bottom - top)
