"""Word, PowerPoint, Excel, OpenDocument, HTML, CSV, EPUB, RTF and notebooks as Markdown, through kreuzberg."""

from __future__ import annotations

import html
import posixpath
import re
from collections.abc import Container, Iterable, Iterator
from urllib.parse import unquote_to_bytes

from kreuzberg import ExtractionConfig, ExtractionResult, KreuzbergError, PageConfig, extract_bytes_sync

from chat_sessions.server.documents.reading.blocks import Block, blocks_of, cells, table
from chat_sessions.server.documents.reading.content import Unreadable
from chat_sessions.server.documents.reading.formats.archives import rewritten
from chat_sessions.server.documents.reading.formats.openxml import edges, slides, with_signs, written_out
from chat_sessions.server.documents.reading.passages import Sheet

__all__ = ["read_office"]

_HEAD = re.compile(r"<head\b[^>]*>(.*?)</head\s*>", re.IGNORECASE | re.DOTALL)
_TITLE = re.compile(r"<title\b[^>]*>(.*?)</title\s*>", re.IGNORECASE | re.DOTALL)
_MIDNIGHT = re.compile(r"(\| \d{4}-\d\d-\d\d) 00:00:00(?= \|)")
# How much of a text is looked at for a title that it may begin with.
_BEGINNING = 1000
_LINK = re.compile(rb'(?<=href=")[^"<>&]*%[^"<>&]*(?=")')
# A time or a duration, in which kreuzberg counts days as Excel does, from the end of 1899. At midnight, it is a date.
_TIME = re.compile(
    r"(?<=\| )(?:1899-12-31|1900-01-(?P<days>\d\d)(?! 00:00:00))"
    r" (?P<hours>\d\d)(?P<minutes>:\d\d)(?P<seconds>:\d\d)(?= \|)"
)
# Letters and digits alone, which no Markdown escapes.
_MARK = "slide7f3a91c5number"
_EMPTY_ROW = "row7f3a91c5empty"
_TABS, _INDENT = re.compile(r"(?:&#9;)+"), re.compile(r"(?:(?<=\s)|\A)(?:&#9;)+")
_NO_CELLS = re.compile(rb"(?<=\n)[ \t,;|]*(?=\r?\n)")
_A_CELL = re.compile(rb"[^\s,;|]")
_SLIDE = re.compile(rf"^\s*{_MARK}(\d+)\s*$", re.MULTILINE)


def read_office(data: bytes, media_type: str) -> list[tuple[Sheet | None, Iterable[Block]]]:
    """Return the pages of a document, the slides of a presentation, or the whole of a file without pages.

    Raises `Unreadable` if it is damaged or encrypted.
    """
    if media_type.endswith(("presentationml.presentation", "ms-powerpoint", "opendocument.presentation")):
        return list(_slides(data, media_type))
    title = ""
    if media_type == "text/html":
        data, title = _without_head(data)
    elif media_type == "text/csv":
        data = _with_empty_rows(data)
    is_word = media_type.endswith("wordprocessingml.document")
    is_book = media_type == "application/epub+zip"
    found = _extracted(
        written_out(data) if is_word else rewritten(data, _with_plain_links) if is_book else data, media_type
    )
    text = _markdown(found).replace(_EMPTY_ROW, "")
    if media_type.endswith("spreadsheetml.sheet") or media_type.startswith("application/vnd.ms-excel"):
        text = _MIDNIGHT.sub(r"\1", _TIME.sub(_time, text))
    if title and title not in text[:_BEGINNING]:
        text = f"# {title}\n\n{text}"
    above = ""
    if is_word:
        text, above = with_signs(text), edges(data)
    elif is_book:
        known = [str(found.metadata.get("title") or ""), *(found.metadata.get("authors") or ())]
        above = "\n".join(line for line in known if line not in text[:_BEGINNING])
    return [(None, [*([Block(above)] if above else []), *_blocks(text)])]


def _blocks(text: str) -> Iterator[Block]:
    """Yield the blocks of a text.

    A sheet is one table for kreuzberg, with its first row as the header: even if that is a title, or several tables
    follow each other.
    """
    for block in blocks_of(text):
        yield from table(cells(block)) if block.is_table else (block,)


def _extracted(data: bytes, media_type: str, **options: object) -> ExtractionResult:
    # Its cache would be a second one, in a folder of its own; its only connections are those to models and OCR
    # services, none of which is configured.
    config = ExtractionConfig(output_format="markdown", use_cache=False, **options)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    try:
        return extract_bytes_sync(data, media_type, config=config)
    except KreuzbergError as error:
        words = str(error).lower()
        if "password" in words or "encrypt" in words:
            raise Unreadable("it is encrypted; save a copy without a password") from error
        if "limit exceeded" in words:
            raise Unreadable("it unpacks to more than is read of one file") from error
        raise Unreadable("it is damaged, or not what it begins like") from error


def _markdown(found: ExtractionResult) -> str:
    """Return the text, with that of the files attached to it below a title of their own."""
    texts = [_tabs(found.content)]
    for child in found.children or ():
        attached = _markdown(child["result"])
        if attached.strip():
            texts.append(f"## {child['path']}\n\n{attached}")
    return "\n\n".join(texts)


def _time(found: re.Match[str]) -> str:
    """Return a time as most formats show it, such as 14:30, and a duration of more than a day as 36:00."""
    hours = int(found["days"] or 0) * 24 + int(found["hours"])
    return f"{hours:02}{found['minutes']}{found['seconds'].removesuffix(':00')}"


def _tabs(text: str) -> str:
    """Return a text with the tabs that kreuzberg writes as `&#9;`, without those that only indent, as for code."""
    return _TABS.sub("\t", _INDENT.sub("", text))


def _with_plain_links(name: str, part: bytes, names: Container[str]) -> bytes:
    """Return a part of a book; in its list of files, no name is percent-encoded, which kreuzberg would not find."""

    def plain(link: re.Match[bytes]) -> bytes:
        is_there = posixpath.join(posixpath.dirname(name), link[0].decode(errors="replace")) in names
        return link[0] if is_there else html.escape(unquote_to_bytes(link[0]).decode(errors="replace")).encode()

    return _LINK.sub(plain, part) if name.endswith(".opf") else part


def _with_empty_rows(data: bytes) -> bytes:
    """Return a CSV file with a word in its empty rows, which kreuzberg leaves out: they may part two tables."""
    first = _A_CELL.search(data)
    start = first.start() if first else len(data)
    return data[:start] + _NO_CELLS.sub(_EMPTY_ROW.encode() + rb"\g<0>", data[start:])


def _without_head(data: bytes) -> tuple[bytes, str]:
    """Return a web page without its head, which is not part of the text, and its title."""
    text = data.decode()
    head = _HEAD.search(text, 0, 1_000_000)
    title = _TITLE.search(text, 0, 1_000_000)
    if head:
        text = text[: head.start()] + text[head.end() :]
    return text.encode(), " ".join(html.unescape(title[1]).split())[:300] if title else ""


def _slides(data: bytes, media_type: str) -> Iterator[tuple[Sheet | None, Iterable[Block]]]:
    pages = PageConfig(insert_page_markers=True, marker_format=f"\n\n{_MARK}{{page_num}}\n\n")
    text = _markdown(_extracted(data, media_type, pages=pages))
    _, *parts = _SLIDE.split(text)
    if not parts:
        yield None, _blocks(text)
        return
    known = dict(enumerate(slides(data), start=1)) if media_type.endswith("presentationml.presentation") else {}
    counted = zip(map(int, parts[::2]), parts[1::2], strict=True)
    for number, notes, slide in sorted((*known.get(count, (count, "")), slide) for count, slide in counted):
        whole = f"{slide}\n\nNotes: {notes}" if notes else slide
        if whole := whole.strip():
            yield Sheet(number, whole), _blocks(whole)
