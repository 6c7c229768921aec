"""Word, PowerPoint, Excel, OpenDocument, HTML, CSV, mail, EPUB, RTF and notebooks as Markdown, through kreuzberg."""

from __future__ import annotations

import html
import io
import re
import zipfile
from collections.abc import Iterable, Iterator
from xml.etree.ElementTree import ParseError, fromstring

from kreuzberg import ExtractionConfig, ExtractionResult, KreuzbergError, PageConfig, extract_bytes_sync

from chat_sessions.server.documents.reading.blocks import Block, blocks_of, cells, table
from chat_sessions.server.documents.reading.content import Unreadable
from chat_sessions.server.documents.reading.passages import Sheet

__all__ = ["read_office"]

_HEAD = re.compile(r"<head\b[^>]*>(.*?)</head\s*>", re.IGNORECASE | re.DOTALL)
_TITLE = re.compile(r"<title\b[^>]*>(.*?)</title\s*>", re.IGNORECASE | re.DOTALL)
_MIDNIGHT = re.compile(r"(\| \d{4}-\d\d-\d\d) 00:00:00(?= \|)")
# Letters and digits alone, which no Markdown escapes.
_MARK = "slide7f3a91c5number"
_EMPTY_ROW = "row7f3a91c5empty"
_NO_CELLS = re.compile(rb"(?<=\n)[ \t,;|]*(?=\r?\n)")
_A_CELL = re.compile(rb"[^\s,;|]")
_SLIDE = re.compile(rf"^\s*{_MARK}(\d+)\s*$", re.MULTILINE)
_NOTES = re.compile(r"ppt/notesSlides/notesSlide(\d+)\.xml")
_NOTE_RELATION = re.compile(rb'Target="[^"]*?slides/slide(\d+)\.xml"')
_EDGE = re.compile(r"word/(?:header|footer)\d*\.xml")
_WORD = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_DRAWING = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
# Of the notes of one slide, or of one header or footer.
_MAX_NOTE_BYTES = 2 * 1024 * 1024
_MOST_EDGES = 100


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
    found = _extracted(data, media_type)
    text = _markdown(found).replace(_EMPTY_ROW, "")
    if media_type.endswith("spreadsheetml.sheet") or media_type.startswith("application/vnd.ms-excel"):
        text = _MIDNIGHT.sub(r"\1", text)
    if title and title not in text[:1000]:
        text = f"# {title}\n\n{text}"
    edges = _edges(data) if media_type.endswith("wordprocessingml.document") else ""
    return [(None, [*([Block(edges)] if edges else []), *_blocks(text)])]


def _blocks(text: str) -> Iterator[Block]:
    """Yield the blocks of a text.

    A sheet is one table for kreuzberg, with its first row as the header: even if that is a title, or tables stand below
    each other.
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
    texts = [found.content]
    for child in found.children or ():
        attached = _markdown(child["result"])
        if attached.strip():
            texts.append(f"## {child['path']}\n\n{attached}")
    return "\n\n".join(texts)


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
    notes = dict(_notes(data)) if media_type.endswith("presentationml.presentation") else {}
    _, *parts = _SLIDE.split(text)
    if not parts:
        yield None, _blocks(text)
        return
    for number, slide in zip(map(int, parts[::2]), parts[1::2], strict=True):
        # kreuzberg leaves out what the speaker wrote for himself.
        said = f"\n\nNotes: {notes[number]}" if notes.get(number) else ""
        if whole := (slide + said).strip():
            yield Sheet(number, whole), _blocks(whole)


def _notes(data: bytes) -> Iterator[tuple[int, str]]:
    """Yield the notes of slides, each with the number of its slide's file."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for member in archive.infolist():
            match = _NOTES.fullmatch(member.filename)
            if not match or member.file_size > _MAX_NOTE_BYTES:
                continue
            relations = f"ppt/notesSlides/_rels/notesSlide{match[1]}.xml.rels"
            try:
                slide = _NOTE_RELATION.search(archive.read(relations))
                text = _paragraphs(archive.read(member))
            except (KeyError, ParseError, zipfile.BadZipFile, OSError, ValueError):
                continue
            if slide and text:
                yield int(slide[1]), text


def _edges(data: bytes) -> str:
    """Return the lines of the headers and footers of a Word document, which kreuzberg leaves out, each of them once."""
    lines: dict[str, None] = {}
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [one for one in archive.infolist() if _EDGE.fullmatch(one.filename)][:_MOST_EDGES]
        for member in sorted(members, key=lambda one: one.filename, reverse=True):
            if member.file_size > _MAX_NOTE_BYTES:
                continue
            try:
                text = _paragraphs(archive.read(member), _WORD)
            except (KeyError, ParseError, zipfile.BadZipFile, OSError, ValueError):
                continue
            # The number of a page is no line.
            lines |= {line: None for line in text.split("\n") if any(map(str.isalpha, line))}
    return "\n".join(lines)


def _paragraphs(xml: bytes, space: str = _DRAWING) -> str:
    """Return the paragraphs of a part in the namespace of its program, without those that a field of a slide fills."""
    if b"<!DOCTYPE" in xml or b"<!ENTITY" in xml:
        return ""
    lines = [
        "".join(run.text or "" for run in paragraph.iter(f"{space}t"))
        # Without a document type, there is nothing to expand.
        for paragraph in fromstring(xml).iter(f"{space}p")  # noqa: S314
        if paragraph.find(f"{_DRAWING}fld") is None
    ]
    return "\n".join(line for line in lines if line.strip())
