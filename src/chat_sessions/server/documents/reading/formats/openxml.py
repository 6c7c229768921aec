"""Reads what kreuzberg leaves out of Word and PowerPoint files."""

from __future__ import annotations

import html
import io
import re
import zipfile
from collections.abc import Container, Iterator
from xml.etree.ElementTree import Element, fromstring

from chat_sessions.server.documents.reading.formats.archives import DAMAGED, rewritten

__all__ = ["edges", "slides", "with_signs", "written_out"]

_TEXT = re.compile(r"word/(?:document|footnotes|endnotes|comments)\.xml")
_REFERENCE = re.compile(rb"&(?:amp|lt|gt|quot|apos|#\d{1,7}|#[xX][0-9a-fA-F]{1,6});")
_MARK = re.compile(rb"<w:(?:(tab|cr|noBreakHyphen)\s*|(ptab)\b[^<>]*)/>")
_WRITTEN = {"tab": "\t", "ptab": "\t", "cr": "\n", "br": "\n", "noBreakHyphen": "-"}
# Noncharacters, which no text has, in place of the characters that XML has to escape.
_HIDDEN = {ord(sign): 0xFDD0 + at for at, sign in enumerate("&<>\"'")}
_SHOWN = {hidden: sign for sign, hidden in _HIDDEN.items()}
# Where such a character would be HTML, a reference or a quotation in Markdown.
_MEANT = re.compile("\ufdd0(?=#?\\w{1,31};)|\ufdd1(?=[A-Za-z/!?])|^\ufdd2", re.MULTILINE)
_NOTES = re.compile(r"ppt/notesSlides/notesSlide(\d+)\.xml")
_SLIDE, _SLIDE_TARGET = re.compile(r"ppt/slides/slide(\d+)\.xml"), re.compile(r"\bslides/slide(\d+)\.xml\Z")
_EDGE = re.compile(r"word/(?:header|footer)\d*\.xml")
_WORD = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_DRAWING = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
_SLIDES = "{http://schemas.openxmlformats.org/presentationml/2006/main}"
_RELATION = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"
# Of the notes of one slide, one header or footer, or the list of the slides.
_MAX_SMALL_BYTES = 2 * 1024 * 1024
_MOST_EDGES = 100


def written_out(data: bytes) -> bytes:
    """Return a Word file with its tabs and the like as text, and a stand-in for each reference such as `&amp;`.

    kreuzberg drops them all: "Rent<tab>850" becomes "Rent850", and "A &amp; B" loses its sign. `with_signs` puts the
    signs back into what it returns.
    """
    return rewritten(data, _written_out, without=("word/media/",))


def with_signs(text: str) -> str:
    """Return a Markdown text with the characters that `written_out` replaced, escaped if need be."""
    return _MEANT.sub(r"\\\g<0>", text).translate(_SHOWN)


def edges(data: bytes) -> str:
    """Return the lines of the headers and footers of a Word document, which kreuzberg leaves out, each of them once."""
    lines: dict[str, None] = {}
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = list(filter(_EDGE.fullmatch, archive.namelist()))[:_MOST_EDGES]
        for name in sorted(names, reverse=True):
            try:
                text = _paragraphs(_xml(archive, name), _WORD)
            except DAMAGED:
                continue
            # A bare page number does not count as a line.
            lines |= {line: None for line in text.split("\n") if any(map(str.isalpha, line))}
    return "\n".join(lines)


def slides(data: bytes) -> list[tuple[int, str]]:
    """Return the number in the deck of each slide, and its notes, in the order of their files.

    kreuzberg counts the files and leaves the notes out. Where a slide has been moved, its file often keeps its name.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        files = sorted(int(match[1]) for match in map(_SLIDE.fullmatch, archive.namelist()) if match)
        deck = {file: number for number, file in enumerate(dict.fromkeys([*_deck(archive), *files]), start=1)}
        said = dict(_notes(archive))
    return [(deck[file], said.get(file, "")) for file in files]


def _deck(archive: zipfile.ZipFile) -> Iterator[int]:
    """Yield the numbers of the slides' files in the order of the deck, as far as it is known."""
    try:
        slides, relations = (
            _xml(archive, f"ppt/{name}") for name in ("presentation.xml", "_rels/presentation.xml.rels")
        )
    except DAMAGED:
        return
    targets = {relation.get("Id"): relation.get("Target", "") for relation in relations}
    for slide in slides.iterfind(f".//{_SLIDES}sldId"):
        if match := _SLIDE_TARGET.search(targets.get(slide.get(f"{_RELATION}id"), "")):
            yield int(match[1])


def _notes(archive: zipfile.ZipFile) -> Iterator[tuple[int, str]]:
    for name in archive.namelist():
        if match := _NOTES.fullmatch(name):
            try:
                relations = _xml(archive, f"ppt/notesSlides/_rels/notesSlide{match[1]}.xml.rels")
                text = _paragraphs(_xml(archive, name), _DRAWING)
            except DAMAGED:
                continue
            slide = next(filter(None, (_SLIDE_TARGET.search(one.get("Target", "")) for one in relations)), None)
            if slide:
                yield int(slide[1]), text


def _xml(archive: zipfile.ZipFile, name: str) -> Element:
    """Return a part. Raises one of `DAMAGED` if there is none that can be read."""
    if archive.getinfo(name).file_size > _MAX_SMALL_BYTES:
        raise ValueError(f"{name} is too large")
    part = archive.read(name)
    if b"<!DOCTYPE" in part or b"<!ENTITY" in part:
        raise ValueError(f"{name} has entities")
    # Without a document type, there is nothing to expand.
    return fromstring(part)  # noqa: S314


def _written_out(name: str, part: bytes, _: Container[str]) -> bytes:
    return _MARK.sub(_as_text, _REFERENCE.sub(_as_stand_in, part)) if _TEXT.fullmatch(name) else part


def _as_stand_in(reference: re.Match[bytes]) -> bytes:
    return html.unescape(reference[0].decode()).translate(_HIDDEN).encode(errors="replace")


def _as_text(mark: re.Match[bytes]) -> bytes:
    return f'<w:t xml:space="preserve">{_WRITTEN[(mark[1] or mark[2]).decode()]}</w:t>'.encode()


def _paragraphs(part: Element, space: str) -> str:
    """Return the paragraphs of a part in the namespace of its program, without those that a field of a slide fills."""
    found = [
        "".join(_text(element, space) for element in paragraph.iter())
        for paragraph in part.iter(f"{space}p")
        if paragraph.find(f"{_DRAWING}fld") is None
    ]
    return "\n".join(line.strip() for text in found for line in text.split("\n") if line.strip())


def _text(element: Element, space: str) -> str:
    name = element.tag.removeprefix(space)
    return element.text or "" if name == "t" else _WRITTEN.get(name, "")
