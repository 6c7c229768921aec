"""Documents are taken for hostile: what they are made of, what they are called, and where they lead."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pytest

from chat_sessions.server.documents import files, readers
from chat_sessions.server.documents.files import DocumentError, FileGone
from chat_sessions.server.documents.indexes import Drawing, Index, open_index

REPORT = Path(__file__).parents[2] / "examples" / "documents" / "annual-report-2025.pdf"
CONTROL = [*map(chr, range(0x20)), *map(chr, range(0x7F, 0xA0)), "\u202e", "\u2066"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "documents"
    root.mkdir()
    (root / "plain.md").write_text("# Rates\n\nA room costs 80 a night.")
    return root


def read(folder: Path) -> Index:
    """The index of the folder, whose one good document is always served."""
    index = open_index("idx-docs", folder)
    assert [hit.document.name for hit in index.search("What does a room cost?")][:1] == ["plain.md"]
    return index


def opens(index: Index, source_id: str) -> bool:
    """Whether the file of a source is opened for the picture of its first page."""
    drawing = index.drawing(source_id, "screenshots/page_1.jpg")
    assert isinstance(drawing, Drawing)
    try:
        drawing.data()
    except FileGone:
        return False
    return True


def swelling_pdf(pages: int, size: int) -> bytes:
    """A PDF whose pages share one content stream that unpacks to `size` bytes, packed twice over."""
    content = b" " * size + b"BT /F1 10 Tf 72 700 Td (Hello) Tj ET"
    packed = zlib.compress(zlib.compress(content, 9), 9)
    kids = b" ".join(b"%d 0 R" % (5 + number) for number in range(pages))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [%s] /Count %d >>" % (kids, pages),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        b"<< /Length %d /Filter [/FlateDecode /FlateDecode] >>\nstream\n%s\nendstream" % (len(packed), packed),
    ]
    fonts = b"/Resources << /Font << /F1 3 0 R >> >>"
    page = b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R %s >>" % fonts
    body = bytearray(b"%PDF-1.4\n")
    offsets: list[int] = []
    for number, data in enumerate([*objects, *[page] * pages], start=1):
        offsets.append(len(body))
        body += b"%d 0 obj\n%s\nendobj\n" % (number, data)
    start = len(body)
    body += b"xref\n0 %d\n0000000000 65535 f \n" % (len(offsets) + 1)
    body += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    body += b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(offsets) + 1, start)
    return bytes(body)


def test_a_bomb_costs_its_deadline_and_not_the_files_beside_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = swelling_pdf(pages=50, size=20_000_000)
    assert len(bomb) < 10_000
    (folder / "bomb.pdf").write_bytes(bomb)
    read_one = readers.Reader.read

    def impatient(self: readers.Reader, data: bytes, name: str) -> readers.Reading:
        # The others have all the time that they need.
        monkeypatch.setattr(readers, "SILENT_SECONDS", 0.0 if name == "bomb.pdf" else 60.0)
        return read_one(self, data, name)

    monkeypatch.setattr(readers.Reader, "read", impatient)
    assert read(folder).warnings == ("bomb.pdf: left out, it takes longer than 0 s",)


def test_what_was_read_before_a_deadline_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    with readers.Reader(longest=0.0) as reader:
        found: dict[str, Any] = {"passages": [[1, "", "Hello", "hello"]], "sheets": [], "notes": [], "language": "eng"}
        part = {**found, "done": 20, "total": 50}
        failure = {"failure": "it takes longer than 60 s"}
        monkeypatch.setattr(reader, "_ask", lambda *_: iter([part, failure]))
        reading = reader.read(b"", "a.pdf")
    assert reading.notes == ["only the first 20 of its 50 pages were read: it takes longer than 60 s"]
    assert [passage.text for passage in reading.passages] == ["Hello"]


@pytest.mark.skipif(sys.platform != "linux", reason="the bound on memory is Linux's")
def test_a_file_that_takes_too_much_memory_costs_its_process_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    *python, code = readers.command()[:4]
    small = code.replace("\nmain()", "\nsys.modules[main.__module__].MAX_MEMORY_BYTES = 300 * 1024**2\nmain()")
    command = [*python, small, *readers.command()[4:]]
    monkeypatch.setattr(readers, "command", lambda: command)
    (folder / "big.txt").write_text("word " * 18_000_000)
    (warning,) = read(folder).warnings
    assert warning == "big.txt: left out, it takes more than 0.29 GB of memory to read"


@pytest.mark.parametrize("name", ["huge.pdf", "huge.txt", "huge.docx"])
def test_a_file_of_two_gigabytes_is_left_out_by_its_size(folder: Path, name: str) -> None:
    with (folder / name).open("wb") as file:
        file.truncate(2 * 1024**3)  # sparse: it takes no room on the disk
    assert read(folder).warnings == (f"{name}: left out, it is larger than 100 MB",)


@pytest.mark.parametrize(
    "text",
    [">" * 200_000 + " quoted", "- " * 100_000 + "item", "[" * 500_000, "![](" * 100_000, "|" * 200_000, "#" * 200_000],
    ids=["quotes", "lists", "brackets", "images", "cells", "headings"],
)
def test_markdown_nested_without_end_is_read(folder: Path, text: str) -> None:
    (folder / "deep.md").write_text(text)
    read(folder)


def test_html_nested_without_end_is_read_or_left_out(folder: Path) -> None:
    (folder / "deep.html").write_text("<div>" * 20_000 + "deep" + "</div>" * 20_000)
    read(folder)


def test_an_archive_that_would_fill_the_memory_is_left_out_unopened(folder: Path) -> None:
    with zipfile.ZipFile(folder / "bomb.docx", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("word/document.xml", b"0")
        for number in range(6):
            archive.writestr(f"word/media/{number}.xml", bytes(100_000_000))
    assert read(folder).warnings == ("bomb.docx: left out, it unpacks to more than 500 MB",)


def test_a_sheet_whose_last_cell_is_far_away_is_read_without_all_that_lie_between(folder: Path) -> None:
    cells = '<row r="1"><c r="A1"><v>1</v></c></row><row r="1048576"><c r="XFD1048576"><v>2</v></c></row>'
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    package = "http://schemas.openxmlformats.org/package/2006"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{package}/content-types"/>',
        "_rels/.rels": f'<Relationships xmlns="{package}/relationships"><Relationship Id="r" '
        f'Type="{office}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{main}" xmlns:r="{office}"><sheets><sheet name="S" sheetId="1" '
        'r:id="r1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{package}/relationships"><Relationship Id="r1" '
        f'Type="{office}/worksheet" Target="worksheets/sheet1.xml"/></Relationships>',
        "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{main}"><sheetData>{cells}</sheetData></worksheet>',
    }
    with zipfile.ZipFile(folder / "far.xlsx", "w") as archive:
        for name, text in parts.items():
            archive.writestr(name, text)
    read(folder)


def test_entities_that_multiply_are_not_expanded(folder: Path) -> None:
    """The "billion laughs": ten entities of ten each, a document of ten gigabytes."""
    entities = "".join(f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 10}">' for n in range(9))
    word = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    document = (
        f'<?xml version="1.0"?><!DOCTYPE d [<!ENTITY a "aaaaaaaaaa">{entities}]>'
        f'<w:document xmlns:w="{word}"><w:body><w:p><w:r><w:t>&j;</w:t></w:r></w:p></w:body></w:document>'
    )
    package = "http://schemas.openxmlformats.org/package/2006"
    kind = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument"
    with zipfile.ZipFile(folder / "laughs.docx", "w") as archive:
        archive.writestr("word/document.xml", document)
        archive.writestr("[Content_Types].xml", f'<Types xmlns="{package}/content-types"/>')
        archive.writestr(
            "_rels/.rels",
            f'<Relationships xmlns="{package}/relationships"><Relationship Id="r" Type="{kind}" '
            'Target="word/document.xml"/></Relationships>',
        )
    assert not any("aaaa" in hit.passage.text for hit in read(folder).search("aaaaaaaaaa laughs"))


def test_a_link_that_takes_a_files_place_leads_nowhere(folder: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.pdf"
    secret.write_bytes(REPORT.read_bytes())
    served = folder / "report.pdf"
    served.write_bytes(REPORT.read_bytes())
    index = read(folder)
    source_id = next(document.file_id for document in index.documents if document.name == "report.pdf")
    served.unlink()
    served.symlink_to(secret)
    assert not opens(index, source_id)
    index.refresh()
    assert index.attachments(source_id) is None
    assert index.warnings == ("report.pdf: skipped, it is a symbolic link",)


def test_a_folder_that_becomes_a_link_leads_nowhere(folder: Path, tmp_path: Path) -> None:
    (folder / "inner").mkdir()
    (folder / "inner" / "report.pdf").write_bytes(REPORT.read_bytes())
    index = read(folder)
    source_id = next(document.file_id for document in index.documents if document.name == "inner/report.pdf")
    (folder / "inner").rename(tmp_path / "outside")
    (folder / "inner").symlink_to(tmp_path / "outside")
    assert not opens(index, source_id)


def test_a_link_that_takes_a_files_place_between_look_and_read_is_not_read(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "secret.md"
    secret.write_text("# Secret\n\nThe password is swordfish.")
    victim = folder / "victim.md"
    victim.write_text("# Nothing\n\nNothing at all.")
    found = files.find_files(folder)[0]
    victim.unlink()
    victim.symlink_to(secret)
    monkeypatch.setattr("chat_sessions.server.documents.indexes.find_files", lambda _root: (found, []))
    index = open_index("idx-docs", folder)
    assert index.search("What is the password?") == []
    assert index.warnings == ("victim.md: left out, it has become a link",)


def test_a_loop_of_links_is_passed_over(folder: Path) -> None:
    (folder / "loop").symlink_to(folder)
    (folder / "self.md").symlink_to(folder / "self.md")
    assert {warning.partition(":")[0] for warning in read(folder).warnings} == {"loop", "self.md"}


@pytest.mark.parametrize(
    "name",
    [
        "../plain.md",
        "screenshots/../../plain.md",
        "/etc/passwd",
        "screenshots/page_1.jpg\0",
        "screenshots\\page_1.jpg",
        "screenshots/page_1.jpg/..",
        "screenshots/page_٣.jpg",
        "screenshots/page_99999999999999999999.jpg",
        "~/page_1.jpg",
    ],
)
def test_the_name_of_an_attachment_is_no_path(folder: Path, name: str) -> None:
    (folder / "report.pdf").write_bytes(REPORT.read_bytes())
    index = read(folder)
    for document in index.documents:
        assert index.drawing(document.file_id, name) is None
    assert index.drawing(str(folder), "screenshots/page_1.jpg") is None
    assert index.drawing("../report.pdf", "screenshots/page_1.jpg") is None


def test_a_root_that_is_no_folder_of_documents_is_refused(tmp_path: Path) -> None:
    for path in (Path("/dev/zero"), Path("/dev/stdin"), tmp_path / "a\0b"):
        with pytest.raises((DocumentError, ValueError)):
            open_index("idx-docs", path)


@pytest.mark.skipif(os.name != "posix", reason="no other system has such names")
def test_what_a_file_is_called_and_says_reaches_the_terminal_as_plain_text(tmp_path: Path) -> None:
    """Through the program itself: the warnings about a file, the source of an answer, and the answer."""
    folder = tmp_path / "documents"
    folder.mkdir()
    evil = "\x1b]0;owned\x07\x1b[31m[bold]b\u202egnp\r\x9b5n"
    (folder / f"rates {evil}.md").write_text(f"# Rates {evil}\n\nA room costs 80 {evil} a night.")
    (folder / f"broken {evil}.pdf").write_bytes(b"%PDF-1.7 and nothing else")
    (folder / f"link {evil}.md").symlink_to(folder)
    command = [sys.executable, "-m", "chat_sessions", "ask", "What does a room cost?", "--local", "-i", str(folder)]
    env = {name: value for name, value in os.environ.items() if not name.startswith("LLAMA_")}
    env |= {"CHAT_SESSIONS_DATA": str(tmp_path / "data"), "PYTHONUTF8": "1"}
    for form in ((), ("--json",), ("--json-events",)):
        ran = subprocess.run([*command, *form], env=env, capture_output=True, check=False)
        told = ran.stdout.decode() + ran.stderr.decode()
        assert ran.returncode == 0, told
        assert "80" in told
        seen = set(told.replace("\n", "").replace("\t", ""))
        assert not seen & set(CONTROL), form
        if not form:
            assert "[bold]b" in told
            assert "broken" in told
            assert "symbolic link" in told
        elif form == ("--json",):
            json.loads(ran.stdout)
