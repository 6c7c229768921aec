"""Splits a table that is too wide for a passage into several: as many columns as fit, each time after the first one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from chat_sessions.server.documents.reading.blocks import Block, Box, cells, pieces

__all__ = ["CUT", "gap", "is_gap", "narrow"]

CUT = "…"
"""What stands for a part of a table that is left out: alone in a cell, or at the end of one that is cut."""

# The first column says what a row is about, if it is short; with each other column, only its beginning is shown.
_LONGEST_LABEL = 100
# A cell may take one of this many parts of a row; a longer cell is split.
_LONG_CELLS = 3


def gap(block: Block) -> str:
    """Return the row that stands for rows left out of a table: a sign in each column."""
    return _line([CUT] * len(cells(replace(block, rows=()))[0]))


def is_gap(row: str) -> bool:
    """Tell whether a row of a table stands for rows that are left out."""
    return CUT in row and not row.replace(CUT, "").strip("| ")


def narrow(block: Block, most: int) -> Iterator[Block]:
    """Yield a table with about `most` characters to a row, and half of that to its header.

    One that is wider becomes several, which have some of its columns each, and a column of "…" where others are. A row
    with a long cell becomes several rows.
    """
    if 2 * len(block.head.partition("\n")[0]) <= most and all(len(row) <= most for row in block.rows):
        yield block
        return
    head, *rows = _even(cells(block))
    longest = most // _LONG_CELLS
    widths = [min(longest, max((len(row[at]) for row in rows), default=0)) for at in range(len(head))]
    groups = _groups([len(cell) for cell in head], widths, most)
    label = [_short(row[0]) for row in (head, *rows)]
    for columns in groups:
        top, *rest = _parts(_shown(head, columns, label[0]), longest)
        # What a header cannot hold is in the rows below it.
        lines = rest
        boxes: list[Box] = []
        for at, row in enumerate(rows):
            parts = list(_parts(_shown(row, columns, label[at + 1]), longest))
            lines += parts
            boxes += [block.row_boxes[at]] * len(parts) if block.row_boxes else []
        yield Block(
            head=f"{_line(top)}\n|{' --- |' * len(top)}",
            rows=tuple(map(_line, lines)),
            boxes=block.boxes,
            row_boxes=tuple(boxes) if len(boxes) == len(lines) else (),
        )


def _even(rows: list[list[str]]) -> list[list[str]]:
    width = max(map(len, rows))
    return [[*row, *[""] * (width - len(row))] for row in rows]


def _groups(heads: Sequence[int], widths: Sequence[int], most: int) -> list[range]:
    """Return the columns to put side by side. Their rows have `most` characters at most, their header half of it."""
    groups: list[range] = []
    start = top = size = 0
    for at, (head, width) in enumerate(zip(heads, widths, strict=True)):
        if at > start and (2 * (top + head) > most or size + width > most):
            groups.append(range(start, at))
            start, top, size = at, _LONGEST_LABEL, _LONGEST_LABEL
        top, size = top + head + 3, size + width + 3
    return [*groups, range(start, len(heads))]


def _shown(row: Sequence[str], columns: range, label: str) -> list[str]:
    """Return the cells of some columns, after the first of the row, with a sign for columns left out."""
    before = [label, *([CUT] if columns.start > 1 else [])] if columns.start else []
    return [*before, *row[columns.start : columns.stop], *([CUT] if columns.stop < len(row) else [])]


def _parts(row: Sequence[str], longest: int) -> Iterator[list[str]]:
    """Yield the row, or several with one piece each of the cells that are too long. The first cell is repeated."""
    cut = [list(pieces(cell, longest)) or [""] for cell in row]
    count = max(map(len, cut))
    for number in range(count):
        yield [_piece(found, number, repeated=at == 0) for at, found in enumerate(cut)]


def _piece(found: Sequence[str], number: int, *, repeated: bool) -> str:
    if len(found) == 1:
        return found[0] if number == 0 else _short(found[0]) if repeated else CUT
    if number >= len(found):
        return CUT
    before, after = f"{CUT} " if number else "", f" {CUT}" if number + 1 < len(found) else ""
    return f"{before}{found[number]}{after}"


def _short(cell: str) -> str:
    if len(cell) <= _LONGEST_LABEL:
        return cell
    beginning = cell[:_LONGEST_LABEL]
    return f"{beginning.rpartition(' ')[0] or beginning} {CUT}"


def _line(row: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"
