"""Separates the tables below each other in one grid of cells, as on an Excel sheet or in a CSV file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

__all__ = ["stacked"]

Row = Sequence[str]

# A number, an amount or a date, but not a name such as "Q1".
_VALUE = re.compile(r"\W*\d")
_YEAR = re.compile(r"(?:19|20)\d\d")
# A column of values has more than this share of them among its filled cells.
_MOST = 0.5
# How many rows of a table tell what its columns are.
_JUDGED = 100


def stacked(rows: Sequence[Row]) -> list[range]:
    """Return the rows of each table, titles above it included.

    Only an empty row separates two tables, and only if another header follows it: other rows below an empty one belong
    to the table before it.
    """
    found: list[range] = []
    title: int | None = None
    head: Row | None = None
    for group in _groups(rows):
        start = group.start if title is None else title
        first = next((at for at in group if len(_filled(rows[at])) > 1), None)
        # Titles alone may be those of the table that follows.
        title = start if first is None else None
        if head is None:
            head = None if first is None else rows[first]
            found = [range(group.stop)]
        elif first is not None and _is_head(
            rows[first],
            rows[first + 1 : min(group.stop, first + 1 + _JUDGED)],
            head,
            rows[max(found[-1].start, start - _JUDGED) : start],
        ):
            found[-1] = range(found[-1].start, start)
            found.append(range(start, group.stop))
            head = rows[first]
        else:
            found[-1] = range(found[-1].start, group.stop)
    return found


def _groups(rows: Sequence[Row]) -> Iterator[range]:
    start: int | None = None
    for at, row in enumerate(rows):
        if any(row):
            start = at if start is None else start
        elif start is not None:
            yield range(start, at)
            start = None
    if start is not None:
        yield range(start, len(rows))


def _is_head(row: Row, below: Sequence[Row], head: Row, above: Sequence[Row]) -> bool:
    """Tell whether a row is the header of those below it, and not one more row of a table with another `head`."""
    filled, used = _filled(row), {at for one in below for at in _filled(one)}
    # The column of labels often has no title.
    if not below or not used - {min(used)} <= filled:
        return False
    if any(_is_value(row, at) and not _YEAR.fullmatch(row[at]) for at in filled if _has_values(below, at)):
        return False
    label = min(filled)
    return (
        # The same kind of table once more.
        (label < len(head) and row[label] == head[label])
        # The header before it has nothing to say of these columns.
        or bool(filled - _filled(head))
        or any(_has_values(below, at) for at in filled if not _is_value(row, at))
        # A column that holds values above holds none from here on.
        or any(_has_values(above, at) and not any(_is_value(one, at) for one in (row, *below)) for at in filled)
    )


def _has_values(rows: Sequence[Row], column: int) -> bool:
    cells = [row for row in rows if column < len(row) and row[column]]
    return sum(_is_value(row, column) for row in cells) > _MOST * len(cells)


def _is_value(row: Row, column: int) -> bool:
    return column < len(row) and _VALUE.match(row[column]) is not None


def _filled(row: Row) -> set[int]:
    return {at for at, cell in enumerate(row) if cell}
