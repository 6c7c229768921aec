"""Documents of every kind, made as the programs make them that people use, and what is read of them."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import docx
import openpyxl  # type: ignore[import-untyped]
import pptx

from chat_sessions.server.documents.reading.documents import read
from chat_sessions.server.documents.reading.passages import Sheet

Placed = tuple[float, float, str]


@dataclass
class ReadWhole:
    """All parts of a document."""

    texts: list[str] = field(default_factory=list[str])
    pages: list[int | None] = field(default_factory=list[int | None])
    sections: list[str] = field(default_factory=list[str])
    sheets: list[Sheet] = field(default_factory=list[Sheet])
    notes: list[str] = field(default_factory=list[str])
    terms: list[str] = field(default_factory=list[str])
    language: str = ""

    @property
    def text(self) -> str:
        return "\n\n".join(self.texts)


def read_whole(data: bytes | str, name: str = "a.md") -> ReadWhole:
    """Read a document in this process, without bounds."""
    whole = ReadWhole()
    for part in read(data.encode() if isinstance(data, str) else data, name):
        for passage, found in part.passages:
            whole.texts.append(passage.text)
            whole.pages.append(passage.page)
            whole.sections.append(passage.section)
            whole.terms += found
        whole.sheets += part.sheets
        whole.notes += part.notes
        whole.language = part.language or whole.language
    return whole


def pdf(*pages: Sequence[Placed], size: tuple[float, float] = (595, 842), encrypted: bool = False) -> bytes:
    """A PDF file with words at (x, y), y from the bottom, set in 10 point Helvetica."""
    first = 4
    kids = " ".join(f"{first + 2 * number} 0 R" for number in range(len(pages)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ]
    for number, page in enumerate(pages):
        content = "\n".join(f"BT /F1 10 Tf {x} {y} Td ({text}) Tj ET" for x, y, text in page).encode("cp1252")
        objects += [
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {size[0]} {size[1]}] /Contents {first + 2 * number + 1} 0 R "
            "/Resources << /Font << /F1 3 0 R >> >> >>".encode(),
            b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content),
        ]
    data = bytearray(b"%PDF-1.4\n")
    offsets: list[int] = []
    for number, body in enumerate(objects, start=1):
        offsets.append(len(data))
        data += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = len(data)
    data += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    data += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    key = b"/Encrypt << /Filter /Standard /V 1 /R 2 /P -4 /O <%s> /U <%s> >> /ID [<00> <00>] " % (
        b"11" * 32,
        b"22" * 32,
    )
    data += b"trailer << /Size %d /Root 1 0 R %s>>\nstartxref\n%d\n%%%%EOF\n" % (
        len(objects) + 1,
        key if encrypted else b"",
        table,
    )
    return bytes(data)


def saved(save: Callable[[io.BytesIO], object]) -> bytes:
    target = io.BytesIO()
    save(target)
    return target.getvalue()


def word(title: str, *paragraphs: str, table: Sequence[Sequence[str]] = ()) -> bytes:
    """A document of Word. Its table has no row that is marked as a header, as Word makes it."""
    document = docx.Document()
    document.add_heading(title, 1)
    for paragraph in paragraphs:
        document.add_paragraph(paragraph)
    if table:
        made = document.add_table(rows=0, cols=len(table[0]))
        for row in table:
            for cell, text in zip(made.add_row().cells, row, strict=True):
                cell.text = text
    return saved(document.save)


def excel(**sheets: Sequence[Sequence[object]]) -> bytes:
    """A workbook of Excel with sheets by name."""
    book = openpyxl.Workbook()
    book.remove(book.worksheets[0])
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    return saved(book.save)


def powerpoint(*slides: tuple[str, str, str]) -> bytes:
    """A presentation: title, text and the speaker's notes of each slide."""
    deck = pptx.Presentation()
    for title, text, notes in slides:
        slide = deck.slides.add_slide(deck.slide_layouts[1])
        assert slide.shapes.title is not None
        slide.shapes.title.text = title
        slide.placeholders[1].text = text  # pyright: ignore[reportAttributeAccessIssue]
        if notes and slide.notes_slide.notes_text_frame:
            slide.notes_slide.notes_text_frame.text = notes
    return saved(deck.save)
