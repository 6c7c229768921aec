"""Files made to take all the time or memory there is: each costs a bound that is named, and nobody else anything."""

from __future__ import annotations

import re
import threading
import zipfile
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest

from chat_sessions import LocalServer
from chat_sessions.server import open_index
from chat_sessions.server.documents import readers
from chat_sessions.server.turns import turns
from tests.security.test_documents import swelling_pdf

_WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"


def crowded_pdf() -> bytes:
    """A page with a million words, each in a box of its own."""
    words = "\n".join(f"BT /F1 4 Tf {at % 590} {at // 590 % 840} Td (a) Tj ET" for at in range(1_000_000))
    packed = zlib.compress(words.encode(), 1)
    fonts = b"/Resources << /Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >>"
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R %s >>" % fonts,
        b"<< /Length %d /Filter /FlateDecode >>\nstream\n%s\nendstream" % (len(packed), packed),
    ]
    body = b"%PDF-1.4\n" + b"".join(b"%d 0 obj\n%s\nendobj\n" % (at, one) for at, one in enumerate(objects, 1))
    return body + b"trailer << /Size 5 /Root 1 0 R >>\n%%EOF\n"


def zip_bomb() -> bytes:
    """A Word file of 450 kB whose text is one of 300 MB, just below what is refused by its size."""
    paragraph = b"<w:p><w:r><w:t>All work and no play.</w:t></w:r></w:p>"
    target = BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("[Content_Types].xml", f'<Types xmlns="{_PACKAGE}/content-types"/>')
        archive.writestr(
            "_rels/.rels",
            f'<Relationships xmlns="{_PACKAGE}/relationships"><Relationship Id="r" Type="{_OFFICE}/officeDocument" '
            'Target="word/document.xml"/></Relationships>',
        )
        with archive.open("word/document.xml", "w") as document:
            document.write(f'<w:document xmlns:w="{_WORD}"><w:body>'.encode())
            for _ in range(300):
                document.write(paragraph * (1_000_000 // len(paragraph)))
            document.write(b"</w:body></w:document>")
    return target.getvalue()


BOMBS: dict[str, Callable[[], bytes]] = {
    "pages.pdf": lambda: swelling_pdf(pages=50, size=100_000_000),
    "boxes.pdf": crowded_pdf,
    "word.docx": zip_bomb,
    "lines.txt": lambda: b"All the words of a book, and no end of it.\n" * 1_250_000,
}


@pytest.mark.parametrize("name", BOMBS)
def test_the_bound_that_a_bomb_runs_into_is_named(name: str) -> None:
    # So little that no machine reads these in time.
    with readers.Reader(silent=0.5) as reader:
        reading = reader.read(BOMBS[name](), name)
    said = " ".join(filter(None, [reading.failure, *reading.notes]))
    bounds = "takes longer than 0.5 s|memory|only the first 20 of its|unpacks to more than"
    assert re.search(bounds, said), said


@pytest.mark.parametrize("name", BOMBS)
def test_the_server_answers_others_while_it_reads_a_bomb(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "plain.md").write_text("# Rates\n\nA room costs 80 a night.")
    index = open_index("idx-docs", tmp_path)
    begun, may_end = threading.Event(), threading.Event()
    read = readers.Reader.read

    def watched(self: readers.Reader, data: bytes, file: str) -> readers.Reading:
        begun.set()
        try:
            return read(self, data, file)
        finally:
            # Some bombs run into their bound before the others are answered.
            may_end.wait(30)

    monkeypatch.setattr(readers.Reader, "read", watched)
    monkeypatch.setattr(turns, "_CHECK_SECONDS", 0.1)
    (tmp_path / name).write_bytes(BOMBS[name]())
    with LocalServer(indexes={"idx-docs": index}) as server:
        client = server.client()
        assert "80 a night" in client.session().ask("What does a room cost?").text
        assert begun.wait(30)
        for _ in range(3):
            assert "80 a night" in client.session().ask("What does a room cost?").text
        may_end.set()
