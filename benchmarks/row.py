"""A row of the table: a surface, its goal, the figure, and whether it is reached."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = ["Row", "Verdict", "at_least", "at_most", "table"]

Verdict: TypeAlias = Literal["pass", "MISS", "-"]


@dataclass(frozen=True)
class Row:
    """`limit` and `figure` are in `unit`; a figure of None was not measured, for the reason in `note`."""

    group: str
    surface: str
    goal: str
    figure: float | None
    limit: float | None
    unit: str
    is_floor: bool = False
    note: str = ""

    @property
    def verdict(self) -> Verdict:
        if self.figure is None or self.limit is None:
            return "-"
        return "pass" if (self.figure >= self.limit if self.is_floor else self.figure <= self.limit) else "MISS"

    @property
    def excess(self) -> float:
        """How often the limit the figure is, above 1 for a miss."""
        if not self.figure or not self.limit:
            return 0.0
        return self.limit / self.figure if self.is_floor else self.figure / self.limit


def at_most(
    group: str, surface: str, goal: str, figure: float | None, limit: float | None, unit: str, note: str = ""
) -> Row:
    """A goal that a figure must not be over."""
    return Row(group, surface, goal, figure, limit, unit, note=note)


def at_least(
    group: str, surface: str, goal: str, figure: float | None, limit: float | None, unit: str, note: str = ""
) -> Row:
    """A goal that a figure must not be under."""
    return Row(group, surface, goal, figure, limit, unit, is_floor=True, note=note)


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    digits = 0 if abs(value) >= 1000 else 1 if abs(value) >= 10 else 2 if abs(value) >= 0.1 else 3
    return f"{value:,.{digits}f}"


def table(rows: Sequence[Row]) -> str:
    """The rows as aligned text."""
    cells = [("surface", "goal", "limit", "figure", "unit", "")]
    cells += [
        (row.surface, row.goal, _number(row.limit), _number(row.figure), row.unit, row.note or row.verdict)
        for row in rows
    ]
    return aligned(cells, right=(2, 3))


def aligned(cells: Sequence[Sequence[str]], *, right: Sequence[int]) -> str:
    """Columns of text, the numbered ones flush right."""
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    lines = [
        "  ".join(
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    ]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])
