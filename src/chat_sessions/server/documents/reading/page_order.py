"""Relates a PDF page to its neighbours: lines that repeat on every page, and tables that continue across pages."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from liteparse.types import LayoutBlock, LayoutCell, ParsedPage

from chat_sessions.server.documents.reading.grids import with_grids
from chat_sessions.server.documents.reading.tables import CUT

__all__ = ["PageOrder"]

# As a share of a page's height: where lines run from page to page. The text itself keeps further from the edge.
_EDGE = 0.08
# A book has other lines on its left pages than on its right ones.
_NEAR = 2
_NUMBER = re.compile(r"\d+")
# In points. A column that is not framed begins where its words do.
_SAME_PLACE = 2.0
_MOST = 0.7


@dataclass(frozen=True, slots=True)
class _Line:
    page: int
    text: str

    @property
    def template(self) -> str:
        return _NUMBER.sub("#", self.text)

    def runs_to(self, other: _Line) -> bool:
        """Tell whether another page has this line, too, but for the number of the page."""
        if self.text == other.text:
            return True
        if self.template != other.template:
            return False
        has_words = any(map(str.isalpha, self.template))
        pairs = zip(map(int, _NUMBER.findall(self.text)), map(int, _NUMBER.findall(other.text)), strict=True)
        # "Invoice 12" is followed by "Invoice 13", and neither is the number of a page.
        return all(
            mine == its or (mine - its == self.page - other.page and (not has_words or mine == self.page))
            for mine, its in pairs
        )


@dataclass(slots=True)
class PageOrder:
    """Passes on the blocks of pages in order. Running lines are left out, but one that is always the same is kept once.

    liteparse has a rule of its own for lines that repeat, which also takes rows and sums that differ in their numbers.
    """

    _before: list[_Line] = field(default_factory=list[_Line])
    _said: set[str] = field(default_factory=set[str])
    _table: LayoutBlock | None = None
    _page: int = 0

    def blocks(self, pages: Sequence[ParsedPage]) -> list[list[LayoutBlock]]:
        """Return the blocks of pages that follow those before, none for a page that has only lines of every page."""
        found = [(page, with_grids(page)) for page in pages]
        lines = [*self._before, *(line for page, blocks in found for line in _edges(page, blocks))]
        passed = [self._passed(page, blocks, lines) for page, blocks in found]
        last = pages[-1].page_num if pages else 0
        self._before = [line for line in lines if line.page > last - _NEAR]
        return passed

    def _passed(self, page: ParsedPage, blocks: Sequence[LayoutBlock], lines: Sequence[_Line]) -> list[LayoutBlock]:
        near = [line for line in lines if 0 < abs(line.page - page.page_num) <= _NEAR]
        running: dict[int, bool] = {}
        for block in blocks:
            if _is_edge(page, block):
                line = _Line(page.page_num, _text(block))
                if others := [other for other in near if line.runs_to(other)]:
                    running[id(block)] = any(other.text == line.text for other in others)
        body = [block for block in blocks if id(block) not in running and block.kind != "rule"]
        if not body:
            return []
        body = self._going_on(page.page_num, body)
        heads = [block for block in blocks if running.get(id(block)) and self._is_new(_text(block))]
        above = [block for block in heads if block.bbox and block.bbox.y < page.height / 2]
        return [*above, *body, *(block for block in heads if block not in above)]

    def _is_new(self, text: str) -> bool:
        is_new = text not in self._said
        self._said.add(text)
        return is_new

    def _going_on(self, number: int, body: list[LayoutBlock]) -> list[LayoutBlock]:
        """If this page begins with the rest of the previous page's last table, give it that table's header."""
        before = self._table if number == self._page + 1 else None
        if before is not None and _goes_on(before, body[0]):
            header = [LayoutCell(cell.text) for cell in _rows(before)[0]]
            rows = _rows(body[0])
            # A row of "…" shows that rows are missing here, as where a long table is cut.
            gap = [LayoutCell(CUT, cell.bbox) for cell in rows[0]]
            body = [replace(body[0], header=header, rows=[gap, *rows]), *body[1:]]
        self._table, self._page = body[-1], number
        return body


def _edges(page: ParsedPage, blocks: Iterable[LayoutBlock]) -> list[_Line]:
    return [_Line(page.page_num, _text(block)) for block in blocks if _is_edge(page, block)]


def _is_edge(page: ParsedPage, block: LayoutBlock) -> bool:
    area = block.bbox
    if area is None or not _text(block):
        return False
    return area.y + area.height <= _EDGE * page.height or area.y >= (1 - _EDGE) * page.height


def _text(block: LayoutBlock) -> str:
    return " ".join((block.text or "").split())


def _rows(block: LayoutBlock) -> list[list[LayoutCell]]:
    """Return the rows of a table that have words, its header first."""
    rows = [block.header or [], *(block.rows or [])]
    return [row for row in rows if any(cell.text.strip() for cell in row)]


def _goes_on(above: LayoutBlock, below: LayoutBlock) -> bool:
    """Tell whether a table continues the one above it: the same columns, and no header of its own."""
    first, second = _rows(above), _rows(below)
    if above.kind != "table" or below.kind != "table" or len(first) < 2 or not second:
        return False
    head, rows, next_row = first[0], first[1:], second[0]
    if len(head) < 2 or any(len(row) != len(head) for row in second) or _said(head) == _said(next_row):
        return False
    # A header has words where the rows below it have numbers.
    counted = [
        at
        for at, cell in enumerate(head)
        if not _is_number(cell) and sum(len(row) > at and _is_number(row[at]) for row in rows) >= _MOST * len(rows)
    ]
    if counted:
        return all(_is_number(next_row[at]) or not next_row[at].text.strip() for at in counted) and any(
            _is_number(next_row[at]) for at in counted
        )
    one, other = above.bbox, below.bbox
    return (
        one is not None
        and other is not None
        and abs(one.x - other.x) <= _SAME_PLACE
        and abs(one.width - other.width) <= _SAME_PLACE
    )


def _said(row: Iterable[LayoutCell]) -> list[str]:
    return [" ".join(cell.text.split()) for cell in row]


def _is_number(cell: LayoutCell) -> bool:
    return any(map(str.isdigit, cell.text))
