"""PDF files, page by page, through liteparse: their text with its tables, scanned pages by OCR, and pictures of pages.

liteparse cuts a page into columns before it looks for tables, so a table can arrive in pieces, which `grids` puts
together. A title above a table that became its header is mended here.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from liteparse.parser import LiteParse
from liteparse.types import AnnotationRect, LayoutBlock, LayoutCell, ParsedPage, ParseError, ParseResult

from chat_sessions.server.documents.ocr import data_folder, ocr_languages
from chat_sessions.server.documents.reading.blocks import Block, Box, around, table
from chat_sessions.server.documents.reading.content import Unreadable
from chat_sessions.server.documents.reading.page_order import PageOrder
from chat_sessions.server.documents.reading.passages import Leaves, Sheet

__all__ = ["MAX_PAGES", "draw_page", "read_pdf"]

MAX_PAGES = 2000
"""How many pages of a file are read; the rest is left out, with a note."""

_AT_ONCE = 20
_SCANNED_AT_ONCE = 2
_LONG_SIDE_PIXELS = 1600
_MOST_DPI = 144.0
_JPEG_QUALITY = 80
_GOES_ON = re.compile(r"[^\W\d_]")


def read_pdf(data: bytes) -> Iterator[Leaves]:
    """Yield the pages that have text, some at a time. Raises `Unreadable` for a file without any, and a broken one."""
    parser = _parser(max_pages=MAX_PAGES)
    order = PageOrder()
    blank: list[int] = []
    damaged: list[int] = []
    written = total = done = 0
    try:
        for batch in parser.parse_batches(data, _AT_ONCE):
            total, done = batch.total_pages, batch.end_page
            damaged += [error.page_num for error in batch.result.page_errors]
            leaves, empty = _leaves(batch.result, order, done, total)
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
    recognised = PageOrder()
    for number in range(0, len(scanned) if ocr_languages() else 0, _SCANNED_AT_ONCE):
        leaves, _ = _leaves(_recognised(data, scanned[number : number + _SCANNED_AT_ONCE]), recognised, done, total)
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
        "emit_word_boxes": True,
        "extract_links": False,
        "image_mode": "off",
        "continue_on_page_error": True,
        # Left out here as well are sums and rows at the end of a page; see `PageOrder`.
        "keep_headers_footers": True,
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


def _leaves(result: ParseResult, order: PageOrder, done: int, total: int) -> tuple[Leaves, list[int]]:
    pages: list[tuple[Sheet | None, Iterable[Block]]] = []
    blank: list[int] = []
    for page, found in zip(result.pages, order.blocks(result.pages), strict=True):
        blocks = _blocks(page, found)
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


def _blocks(page: ParsedPage, found: Iterable[LayoutBlock]) -> list[Block]:
    blocks: list[Block] = []
    for block, boxes in _joined(found):
        blocks += [replace(made, boxes=boxes) for made in _block(block)]
    if not blocks and not page.blocks and page.text.strip():
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
    rows = [[cell.text.strip() for cell in row] for row in [block.header or [], *(block.rows or [])]]
    width = max(map(len, rows))
    head, first = rows[0], rows[1] if len(rows) > 1 else []
    if head and head[0] and sum(map(bool, head)) < width <= sum(map(bool, first)):
        # A title above the table, whose words fell into the columns.
        rows[0] = [" ".join(filter(None, head))]
    if width == 1 and not any(map(any, rows[1:])):
        yield Block(head[0])
        return
    yield from table(rows, [_row_box(row) for row in [block.header or [], *(block.rows or [])]])


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
