"""PDF files, page by page, through liteparse: their text with its tables, scanned pages by OCR, and pictures of pages.

liteparse cuts a page into columns before it looks for tables. So a table with a wide gap arrives in two halves, and a
title above a table as its header. Both are mended here, the first by the lines of the same page, which are whole.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from liteparse.parser import LiteParse
from liteparse.types import AnnotationRect, LayoutBlock, LayoutCell, ParsedPage, ParseError, ParseResult

from chat_sessions.server.documents.reading.blocks import Block, Box, around, table
from chat_sessions.server.documents.reading.content import Unreadable
from chat_sessions.server.documents.reading.ocr import data_folder, ocr_languages
from chat_sessions.server.documents.reading.passages import Sheet

__all__ = ["MAX_PAGES", "Leaves", "draw_page", "read_pdf"]

MAX_PAGES = 2000
"""How many pages of a file are read; the rest is left out, with a note."""

_AT_ONCE = 20
_SCANNED_AT_ONCE = 2
_LONG_SIDE_PIXELS = 1600
_MOST_DPI = 144.0
_JPEG_QUALITY = 80
_GOES_ON = re.compile(r"[^\W\d_]")
_FEWEST_LABELS = 2
_SAME_LINE = 3.0
_GAP = re.compile(r"\s{2,}")


@dataclass(frozen=True, slots=True)
class Leaves:
    """Some pages that were read together, and what is to be said of them."""

    pages: list[tuple[Sheet | None, Iterable[Block]]]
    notes: list[str]
    done: int
    total: int


def read_pdf(data: bytes) -> Iterator[Leaves]:
    """Yield the pages that have text, some at a time. Raises `Unreadable` for a file without any, and a broken one."""
    parser = _parser(max_pages=MAX_PAGES)
    blank: list[int] = []
    damaged: list[int] = []
    written = total = done = 0
    try:
        for batch in parser.parse_batches(data, _AT_ONCE):
            total, done = batch.total_pages, batch.end_page
            damaged += [error.page_num for error in batch.result.page_errors]
            leaves, empty = _leaves(batch.result, done, total)
            blank += empty
            written += len(leaves.pages)
            yield leaves
    except ParseError as error:
        raise Unreadable(_reason(str(error))) from error
    notes: list[str] = []
    if total > done:
        notes.append(f"only the first {done} of its {total} pages were read")
    if damaged:
        notes.append(f"{_pages(damaged)} damaged and left out")
    scanned = _scanned(data, blank)
    for number in range(0, len(scanned) if ocr_languages() else 0, _SCANNED_AT_ONCE):
        leaves, _ = _leaves(_recognised(data, scanned[number : number + _SCANNED_AT_ONCE]), done, total)
        written += len(leaves.pages)
        yield leaves
    if scanned and ocr_languages():
        notes.append(f"{_pages(scanned)} scanned; the text was recognised ({'+'.join(ocr_languages())})")
    elif scanned:
        notes.append(
            f"{_pages(scanned)} scanned, a picture without text; install Tesseract's language data to have it read"
        )
    if not written:
        raise Unreadable("; ".join(notes) or "none of its pages has text")
    yield Leaves([], notes, done, total)


def draw_page(data: bytes, number: int, side: float) -> bytes:
    """Return a page as a JPEG of at most 1,600 pixels on its long side, which is `side` points.

    Raises `Unreadable` if it cannot be drawn.
    """
    from PIL import Image

    # A page may claim to be as large as a house.
    dpi = min(_MOST_DPI, 72.0 * _LONG_SIDE_PIXELS / max(side, 1.0))
    parser = LiteParse(ocr_enabled=False, quiet=True, extract_screenshots=True, target_pages=str(number), dpi=dpi)
    try:
        shots = parser.parse(data).screenshots
    except ParseError as error:
        raise Unreadable(_reason(str(error))) from error
    if not shots:
        raise Unreadable(f"page {number} cannot be drawn")
    target = io.BytesIO()
    with Image.open(io.BytesIO(shots[0].image_bytes)) as image:
        image.convert("RGB").save(target, "JPEG", quality=_JPEG_QUALITY)
    return target.getvalue()


def _parser(**options: Any) -> LiteParse:
    settings: dict[str, Any] = {
        # Without data on this machine, liteparse would download some.
        "ocr_enabled": False,
        "output_format": "markdown",
        "extract_blocks": True,
        "extract_links": False,
        "image_mode": "off",
        "continue_on_page_error": True,
        "quiet": True,
        "num_workers": 1,
    }
    return LiteParse(**(settings | options))


def _recognised(data: bytes, numbers: Sequence[int]) -> ParseResult:
    parser = _parser(
        ocr_enabled=True,
        tessdata_path=str(data_folder()),
        ocr_language="+".join(ocr_languages()),
        ocr_failure_fatal=False,
        target_pages=",".join(map(str, numbers)),
    )
    try:
        return parser.parse(data)
    except ParseError as error:
        raise Unreadable(_reason(str(error))) from error


def _scanned(data: bytes, blank: Sequence[int]) -> list[int]:
    """Return those of the pages without text that show a picture."""
    if not blank:
        return []
    parser = _parser(include_complexity=True, target_pages=",".join(map(str, blank)))
    try:
        pages = parser.parse(data).pages
    except ParseError as error:
        raise Unreadable(_reason(str(error))) from error
    return [
        page.page_num
        for page in pages
        if page.complexity and (page.complexity.full_page_image or page.complexity.has_substantial_images)
    ]


def _leaves(result: ParseResult, done: int, total: int) -> tuple[Leaves, list[int]]:
    pages: list[tuple[Sheet | None, Iterable[Block]]] = []
    blank: list[int] = []
    for page in result.pages:
        blocks = _blocks(page)
        if blocks:
            text = "\n\n".join(filter(None, map(_written, blocks)))
            pages.append((Sheet(page.page_num, text, page.width, page.height), blocks))
        else:
            blank.append(page.page_num)
    return Leaves(pages, [], done, total), blank


def _written(block: Block) -> str:
    return (
        "\n".join([block.head, *block.rows])
        if block.is_table
        else "#" * block.level + " " * (block.level > 0) + block.text
    )


def _blocks(page: ParsedPage) -> list[Block]:
    blocks: list[Block] = []
    for block, boxes in _joined(_whole(page)):
        blocks += [replace(made, boxes=boxes) for made in _block(block)]
    if not blocks and page.text.strip():
        blocks.append(Block(page.text.strip()))
    return blocks


def _block(block: LayoutBlock) -> Iterator[Block]:
    match block.kind:
        case "heading":
            if text := " ".join((block.text or "").split()):
                yield Block(text, level=block.level or 1)
        case "table":
            yield from _table(block)
        case "code" | "grid_fallback":
            if text := "\n".join(block.lines or []).strip("\n"):
                yield Block(text)
        case "list_item":
            if text := (block.text or "").strip():
                yield Block(f"{block.marker if block.ordered and block.marker else '-'} {text}")
        case _:
            if text := (block.text or "").strip():
                yield Block(text)


def _table(block: LayoutBlock) -> Iterator[Block]:
    rows = [[cell.text.strip() for cell in row] for row in block.rows or []]
    boxes = [_row_box(row) for row in block.rows or []]
    head = [cell.text.strip() for cell in block.header or []]
    width = max([len(head), *map(len, rows)], default=0)
    rows = [row + [""] * (width - len(row)) for row in rows]
    if rows and head and sum(map(bool, head)) < width <= sum(map(bool, rows[0])):
        # A title above the table, whose words fell into the columns.
        yield Block(" ".join(filter(None, head)))
        head = rows.pop(0)
        boxes.pop(0)
    head += [""] * (width - len(head))
    if not any(head) and rows:
        head = rows.pop(0)
        boxes.pop(0)
    if width > 1 or rows:
        yield table(head, rows, boxes)
    elif any(head):
        yield Block(" ".join(head))


def _whole(page: ParsedPage) -> Iterator[LayoutBlock]:
    """Yield the blocks of a page, with the columns of each table together.

    What lies in the frame of a table and is not among its cells was cut off from it.
    """
    blocks = _labelled(page)
    inside: set[int] = set()
    lines = [line for line in page.text.splitlines() if line.strip()]
    for frame in blocks:
        if frame.kind != "table" or id(frame) in inside:
            continue
        cut_off = [block for block in blocks if block is not frame and _lies_in(block, frame)]
        rows = _rows_on_lines(frame, lines) if cut_off else []
        if rows:
            inside |= set(map(id, cut_off))
            head = next((block.header for block in cut_off if block.header), None)
            if head and len(rows[0]) != len(rows[-1]) == len(head) + 1:
                # The gaps of a header can be too narrow to be seen on its line.
                rows[0] = [(frame.header or head)[0].text, *(cell.text for cell in head)]
            if len(set(map(len, rows))) == 1:
                # Each line is one row of the frame, and where the first cell is is known of that.
                first = [row[0].bbox for row in [frame.header or [], *(frame.rows or [])] if row]
                frame.header, *frame.rows = [
                    [LayoutCell(row[0], area), *map(LayoutCell, row[1:])] for row, area in zip(rows, first, strict=True)
                ]
            else:
                frame.kind, frame.lines = "grid_fallback", ["  ".join(row) for row in rows]
    yield from (block for block in blocks if id(block) not in inside)


def _labelled(page: ParsedPage) -> list[LayoutBlock]:
    """Return the blocks of a page, each table with its first column, if that was cut off, a paragraph for each row."""
    blocks = page.blocks or []
    for frame in [block for block in blocks if block.kind == "table" and block.rows and block.bbox]:
        head, *labels = (_beside(row, frame, page) for row in [frame.header or [], *(frame.rows or [])])
        cut_off = {block.text: block for block in blocks if block.kind == "paragraph"}
        if len(labels) < _FEWEST_LABELS or not all(label in cut_off for label in labels):
            continue
        frame.header = [LayoutCell(head), *(frame.header or [])]
        frame.rows = [
            [LayoutCell(label, cut_off[label].bbox), *row] for label, row in zip(labels, frame.rows or [], strict=True)
        ]
        gone = {id(cut_off[label]) for label in labels}
        for block in cut_off.values():
            if head and block.text and block.text.endswith(f" {head}"):
                # The caption, which the head of the column was joined to.
                block.text = block.text.removesuffix(f" {head}")
        blocks = [block for block in blocks if id(block) not in gone and block.text != head]
    return blocks


def _beside(row: Sequence[LayoutCell], frame: LayoutBlock, page: ParsedPage) -> str:
    """Return the text to the left of a row of a table, on the same line; "" if there is none, or more than one."""
    first = row[0].bbox if row else None
    left = frame.bbox.x if frame.bbox else 0.0
    found = [
        item.text.strip()
        for item in page.text_items or []
        if first and abs(item.y - first.y) < _SAME_LINE and item.x + item.width < left
    ]
    return found[0] if len(found) == 1 else ""


def _lies_in(block: LayoutBlock, frame: LayoutBlock) -> bool:
    if not block.bbox or not frame.bbox or block.kind == "rule":
        return False
    middle = block.bbox.y + block.bbox.height / 2
    # Columns of one table can all have its frame.
    is_right = frame.bbox.x < block.bbox.x or (block.kind == "table" and frame.bbox.x == block.bbox.x)
    return bool(
        is_right
        and block.bbox.x + block.bbox.width < frame.bbox.x + frame.bbox.width + 1
        and frame.bbox.y <= middle <= frame.bbox.y + frame.bbox.height
    )


def _rows_on_lines(frame: LayoutBlock, lines: Sequence[str]) -> list[list[str]]:
    """Return the rows of a table as they are on the lines of the page, none if they are not there one by one."""
    labels = [" ".join(row[0].text.split()) for row in [frame.header or [], *(frame.rows or [])] if row]
    starts = [at for at, line in enumerate(lines) if " ".join(line.split()).startswith(labels[0])] if labels else []
    for start in starts:
        found = [line.strip() for line in lines[start : start + len(labels)]]
        if len(found) == len(labels) and all(
            " ".join(line.split()).startswith(label) for line, label in zip(found, labels, strict=True)
        ):
            return [_GAP.split(line) for line in found]
    return []


def _joined(blocks: Iterable[LayoutBlock]) -> Iterator[tuple[LayoutBlock, tuple[Box, ...]]]:
    """Join paragraphs that a column cut in two: one without an end, and one that begins in the middle of a sentence.

    Each block comes with where it is; one that was joined is in several places.
    """
    above: LayoutBlock | None = None
    boxes: tuple[Box, ...] = ()
    for block in blocks:
        if block.kind == "rule":
            continue
        if above is not None and _continues(above, block):
            above = LayoutBlock(kind="paragraph", text=f"{above.text} {block.text}", bbox=above.bbox)
            boxes += _places(block)
            continue
        if above is not None:
            yield above, boxes
        above, boxes = block, _places(block)
    if above is not None:
        yield above, boxes


def _places(block: LayoutBlock) -> tuple[Box, ...]:
    """Return where a block is, with the cells that were cut off from it; nothing if that is not known."""
    cells = [cell for row in [block.header or [], *(block.rows or [])] for cell in row]
    found = [_box(area) for area in (block.bbox, *(cell.bbox for cell in cells)) if area is not None]
    return (around(*found),) if found else ()


def _row_box(row: Iterable[LayoutCell]) -> Box | None:
    found = [_box(cell.bbox) for cell in row if cell.bbox is not None]
    return around(*found) if found else None


def _box(area: AnnotationRect) -> Box:
    return area.x, area.y, area.width, area.height


def _continues(above: LayoutBlock, block: LayoutBlock) -> bool:
    first, second = (above.text or "").rstrip(), (block.text or "").lstrip()
    if above.kind != "paragraph" or block.kind != "paragraph" or not first or not second:
        return False
    return second[0].islower() and bool(_GOES_ON.match(first[-1]) or first[-1] in ",;-") and len(first) > 60


def _reason(error: str) -> str:
    lowered = error.lower()
    if "password" in lowered or "encrypt" in lowered or "security" in lowered:
        return "it is encrypted; save a copy without a password"
    return "it is damaged or not a PDF file"


def _pages(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, sorted(numbers)[:10])) + (", …" if len(numbers) > 10 else "")
    return f"page {shown} is" if len(numbers) == 1 else f"pages {shown} are"
