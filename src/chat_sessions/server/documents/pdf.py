"""PDF files, page by page: their text with its tables, and pictures of pages.

PDFium returns words with their boxes, in the order of the file. Boxes side by side on a line are the cells of a row,
and consecutive rows are a table. So a question about a table finds its row and its column.
"""

from __future__ import annotations

import io
import itertools
import re
import statistics
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pypdfium2  # type: ignore[import-untyped]

from chat_sessions.server.documents.pages import Block, Heading, Page, Paragraph, Table

__all__ = ["MAX_PAGES", "MAX_SECONDS", "PdfError", "read_pdf", "render_page"]

MAX_PAGES = 2000
"""How many pages of a file are read; the rest is left out with a warning."""

MAX_SECONDS = 120
"""How many seconds reading a file may take; the rest is left out with a warning.

A file of a few kilobytes can expand to a gigabyte on each of its pages.
"""

_LONG_SIDE_PIXELS = 1600
_SCALE = 2.0
_JPEG_QUALITY = 80
# PDFium looks for the text of a box among all characters of the page; this many take some seconds.
_MAX_LOOKED_AT = 100_000_000
_MAX_COLUMNS = 100
_MARGIN = 0.08
_TOLERANCE = 5.0
_BULLETS = frozenset("•◦▪●○‣\u2013-*·")
_BULLET = re.compile(r"[•◦▪●○‣\u2013*·-]\s+(?=\S)")
# PDFium's character for the hyphen of a word that is divided at the end of a line.
_HYPHEN = "\x02"
_SENTENCE_ENDS = (".", "!", "?", ":", ";", ",")

# Any: neither PDFium's bindings nor their objects have types.
_pdfium: Any = pypdfium2

# PDFium has global state: only one thread may be inside it, whatever its document.
_lock = threading.Lock()


class PdfError(Exception):
    """The file cannot be read as a PDF. The message says why, without its name."""


@dataclass(slots=True)
class _Cell:
    text: str
    left: float
    bottom: float
    right: float
    top: float


@dataclass(slots=True)
class _Line:
    cells: list[_Cell]
    table: bool = field(init=False, default=False)

    @property
    def text(self) -> str:
        return " ".join(cell.text for cell in self.cells)

    @property
    def top(self) -> float:
        # Most lines have a capital or an ascender, but not all have a descender: tops are evenly spaced.
        return max(cell.top for cell in self.cells)

    @property
    def height(self) -> float:
        return max(cell.top - cell.bottom for cell in self.cells)


@dataclass(slots=True)
class _Sheet:
    """A page as it was found: its lines, and its height in points."""

    number: int
    lines: list[_Line]
    height: float


def read_pdf(path: Path) -> tuple[list[Page], list[str]]:
    """Return the pages that have text, and warnings (sentences without the file's name).

    Raises `PdfError` if the file is damaged, encrypted or not a PDF.
    """
    document = _open(path)
    try:
        with _lock:
            count = len(document)
        sheets: list[_Sheet] = []
        warnings: list[str] = []
        end = time.monotonic() + MAX_SECONDS
        for number in range(1, min(count, MAX_PAGES) + 1):
            if number > 1 and time.monotonic() > end:
                warnings.append(
                    f"only the first {number - 1} of its {count} pages were read: it takes more than {MAX_SECONDS} s"
                )
                break
            try:
                with _lock:
                    sheets.append(_read_sheet(document, number))
            except _pdfium.PdfiumError:
                warnings.append(f"page {number} is damaged and was left out")
        else:
            if count > MAX_PAGES:
                warnings.append(f"only the first {MAX_PAGES} of its {count} pages were read")
    finally:
        with _lock:
            document.close()
    empty = [str(sheet.number) for sheet in sheets if not sheet.lines]
    if empty and len(empty) < len(sheets):
        shown = ", ".join(empty[:10]) + (", …" if len(empty) > 10 else "")
        warnings.append(f"no text on page {shown} (a picture or a scan?)")
    _drop_running_lines(sheets)
    step = _line_step(sheets)
    return [_page(sheet, step) for sheet in sheets if sheet.lines], warnings


def render_page(path: Path, number: int) -> bytes | None:
    """Return the page as a JPEG of at most 1600 pixels on its long side, or None if the file has no such page.

    Raises `PdfError` like `read_pdf`.
    """
    document = _open(path)
    with _lock:
        try:
            if not 1 <= number <= len(document):
                return None
            page = document[number - 1]
            # A page may claim to be as large as a house, so the scale depends on its size.
            scale = min(_SCALE, _LONG_SIDE_PIXELS / max(*page.get_size(), 1.0))
            image = page.render(scale=scale).to_pil()
        except _pdfium.PdfiumError as error:
            raise PdfError(f"page {number} cannot be drawn") from error
        finally:
            document.close()
    target = io.BytesIO()
    image.convert("RGB").save(target, "JPEG", quality=_JPEG_QUALITY)
    return target.getvalue()


def _open(path: Path) -> Any:
    with _lock:
        try:
            return _pdfium.PdfDocument(path)
        except _pdfium.PdfiumError as error:
            if "password" in str(error).lower():
                raise PdfError("it is encrypted; save a copy without a password") from error
            raise PdfError("it is damaged or not a PDF file") from error


def _read_sheet(document: Any, number: int) -> _Sheet:
    page = document[number - 1]
    text_page = page.get_textpage()
    try:
        height = float(page.get_height())
        plain: str = re.sub(f"{_HYPHEN}\\s*", "", text_page.get_text_bounded())
        boxes = text_page.count_rects() if plain.strip() else 0
        lines = _lines_by_box(text_page, boxes) if boxes * len(plain) <= _MAX_LOOKED_AT else []
        # Text that is rotated, or set letter by letter on top of itself, defeats the boxes. Then the plain text counts,
        # without its tables.
        read, known = (Counter(filter(str.isalnum, text)) for text in ("".join(line.text for line in lines), plain))
        if (read & known).total() < 0.9 * max(read.total(), known.total()):
            lines = [_Line([_Cell(" ".join(line.split()), 0, 0, 0, 0)]) for line in plain.splitlines() if line.strip()]
        return _Sheet(number, lines, height)
    finally:
        text_page.close()
        page.close()


def _lines_by_box(text_page: Any, boxes: int) -> list[_Line]:
    lines: list[_Line] = []
    for number in range(boxes):
        left, bottom, right, top = text_page.get_rect(number)
        text = " ".join(text_page.get_text_bounded(left, bottom, right, top).replace(_HYPHEN, "-").split())
        if text:
            _add(lines, _Cell(text, left, bottom, right, top))
    return lines


def _add(lines: list[_Line], cell: _Cell) -> None:
    """Add a box where it belongs: to the last line, below one of its cells, or on a new line."""
    if lines:
        row = lines[-1].cells
        last = row[-1]
        # A box fits its letters tightly, and a comma is low; so the highest box decides what counts as a gap.
        sizes = [one.top - one.bottom for one in (cell, last, row[0])]
        high, gap = max(*sizes, 1.0), cell.left - last.right
        if (_overlap(last, cell) or _overlap(row[0], cell)) and gap >= -high:
            if gap < 0.8 * high or last.text in _BULLETS:
                last.text += (" " if gap > 0.1 * high else "") + cell.text
                last.right, last.top, last.bottom = cell.right, max(last.top, cell.top), min(last.bottom, cell.bottom)
            else:
                row.append(cell)
            return
        for above in row[1:_MAX_COLUMNS]:
            # A wrapped cell continues directly below itself.
            if abs(above.left - cell.left) < 3 and 0 < above.bottom - cell.top < 0.8 * high:
                above.text += " " + cell.text
                above.bottom, above.right = cell.bottom, max(above.right, cell.right)
                return
    lines.append(_Line([cell]))


def _overlap(one: _Cell, other: _Cell) -> bool:
    """Tell whether two boxes are on the same line."""
    shared = min(one.top, other.top) - max(one.bottom, other.bottom)
    return shared > 0.4 * min(one.top - one.bottom, other.top - other.bottom)


def _drop_running_lines(sheets: list[_Sheet]) -> None:
    """Remove headers and footers: what is at the edge of most pages, apart from numbers."""

    def edge_key(sheet: _Sheet, line: _Line) -> str:
        at_edge = not _MARGIN * sheet.height < line.top < (1 - _MARGIN) * sheet.height
        return re.sub(r"\d+", "#", line.text) if at_edge else ""

    if len(sheets) < 3:
        return
    seen = Counter(key for sheet in sheets for key in {edge_key(sheet, line) for line in sheet.lines} if key)
    for sheet in sheets:
        sheet.lines = [line for line in sheet.lines if seen[edge_key(sheet, line)] < 0.6 * len(sheets)]


def _line_step(sheets: list[_Sheet]) -> float:
    """Return the distance between two lines of a paragraph, in points, from the lower end of those in the file."""
    steps: list[float] = []
    for sheet in sheets:
        _mark_tables(sheet.lines)
        prose = [line for line in sheet.lines if not line.table]
        gaps = ((above.top - below.top, below.height) for above, below in itertools.pairwise(prose))
        steps += [gap for gap, height in gaps if 0.8 * height < gap < 3 * height]
    return sorted(steps)[len(steps) // 3] if steps else 0.0


def _page(sheet: _Sheet, step: float) -> Page:
    prose = [line for line in sheet.lines if not line.table]
    size = statistics.median(line.height for line in prose) if prose else 0.0
    blocks: list[Block] = []
    above: _Line | None = None
    paragraph: list[str] = []
    rows: list[_Line] = []

    def end_paragraph() -> None:
        if paragraph:
            paragraph[0] = _BULLET.sub("", paragraph[0], count=1) if _BULLET.match(paragraph[0]) else paragraph[0]
            blocks.append(Paragraph(_joined(paragraph)))
            paragraph.clear()

    def end_table() -> None:
        if rows:
            blocks.append(_table(rows, blocks))
            rows.clear()

    for number, line in enumerate(sheet.lines):
        if line.table:
            end_paragraph()
            rows.append(line)
        else:
            end_table()
            below = sheet.lines[number + 1] if number + 1 < len(sheet.lines) else None
            far_above = above is None or above.table or not 0 < above.top - line.top <= 1.25 * step
            far_below = below is None or below.table or not 0 < line.top - below.top <= 1.25 * step
            if _is_heading(line, size, far_above and far_below):
                end_paragraph()
                blocks.append(Heading(line.text))
            else:
                # The numbers along the axis of a chart are a single paragraph.
                of_chart = paragraph and not _has_letters(paragraph[-1]) and not _has_letters(line.text)
                if (far_above and size and not of_chart) or _BULLET.match(line.text):
                    end_paragraph()
                paragraph.append(line.text)
        above = line
    end_paragraph()
    end_table()
    section = next((block.text for block in blocks if isinstance(block, Heading)), "")
    return Page(sheet.number, section, tuple(blocks))


def _mark_tables(lines: list[_Line]) -> None:
    """Mark lines with cells as a table if at least two consecutive ones have aligned cells.

    A line of more than 100 cells is not part of a table: the work for a table grows with the square of its width.
    """
    for above, below in itertools.pairwise(lines):
        shorter, longer = sorted((above.cells, below.cells), key=len)
        if len(shorter) < 2 or len(longer) > _MAX_COLUMNS or not 0 < above.top - below.top < 5 * below.height:
            continue
        aligned = sum(any(_aligned(cell, other) for other in longer) for cell in shorter)
        if aligned >= max(2, 0.6 * len(shorter)):
            above.table = below.table = True


def _aligned(one: _Cell, other: _Cell) -> bool:
    """Tell whether two cells share their left, right or middle, within a few points."""
    left, right = one.left - other.left, one.right - other.right
    return min(abs(left), abs(right), abs(left + right) / 2) < _TOLERANCE


def _is_heading(line: _Line, size: float, alone: bool) -> bool:
    if len(line.cells) > 1 or len(line.text) > 100 or line.text.endswith(_SENTENCE_ENDS):
        return False
    if not _has_letters(line.text):
        return False
    return alone or line.height > 1.3 * size > 0


def _has_letters(text: str) -> bool:
    return any(character.isalpha() for character in text)


def _joined(lines: list[str]) -> str:
    """Join the lines of a paragraph, and the words that were divided at their ends."""
    pieces: list[str] = []
    for line in lines:
        if pieces and line[:1].islower() and re.search(r"[a-z]-\Z", pieces[-1][-2:]):
            pieces[-1] = pieces[-1][:-1]
        elif pieces:
            pieces.append(" ")
        pieces.append(line)
    return "".join(pieces)


def _table(rows: list[_Line], blocks: list[Block]) -> Table:
    """Make a table from its lines. The heading or line just above it, if short, is its caption."""
    columns = _columns(rows)
    cells = [_in_columns(row, columns) for row in rows]
    caption = ""
    if blocks and isinstance(blocks[-1], Heading | Paragraph) and re.match(r"(Table|Tab\.|Figure)\b", blocks[-1].text):
        caption = blocks.pop().text
    elif blocks and isinstance(blocks[-1], Heading):
        caption = blocks[-1].text
    return Table(caption, cells[0], tuple(cells[1:]))


def _columns(rows: list[_Line]) -> list[tuple[float, float]]:
    """Return the columns as spans from left to right: those of the row with most cells, widened by the others."""
    widest = max(rows, key=lambda row: len(row.cells))
    spans = [(cell.left, cell.right) for cell in widest.cells]
    for row in rows:
        for cell in row.cells:
            at = _nearest(cell, spans)
            left, right = min(spans[at][0], cell.left), max(spans[at][1], cell.right)
            if all(right <= other[0] or left >= other[1] for place, other in enumerate(spans) if place != at):
                spans[at] = (left, right)
    return spans


def _in_columns(row: _Line, columns: list[tuple[float, float]]) -> tuple[str, ...]:
    cells = [""] * len(columns)
    for cell in row.cells:
        at = _nearest(cell, columns)
        cells[at] = f"{cells[at]} {cell.text}".strip()
    return tuple(cells)


def _nearest(cell: _Cell, spans: list[tuple[float, float]]) -> int:
    """Return the column that a cell covers most, or the closest one."""
    return max(
        range(len(spans)),
        key=lambda at: min(cell.right, spans[at][1]) - max(cell.left, spans[at][0]),
    )
