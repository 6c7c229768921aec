"""What is read from a folder, how it is read, and what is said about the rest."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from chat_sessions.core.errors import ConfigurationError
from chat_sessions.server.documents.files import (
    MAX_FILE_BYTES,
    DocumentError,
    DocumentFile,
    Unreadable,
    find_files,
    read_document,
)
from chat_sessions.server.documents.markdown import read_text
from chat_sessions.server.documents.pages import Document, Heading, Page, Paragraph, Table, sentences
from chat_sessions.server.documents.pdf import render_page

EXAMPLES = Path(__file__).parents[3] / "examples" / "documents"

Placed = tuple[float, float, str]


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


def file_at(path: Path) -> DocumentFile:
    return find_files(path)[0][0]


def read(path: Path) -> Document:
    return read_document(file_at(path), "idx-docs")[0]


def names(root: Path) -> list[str]:
    return [file.name for file in find_files(root)[0]]


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


class TestFindingFiles:
    def test_documents_are_found_at_any_depth_sorted_by_their_path(self, tmp_path: Path) -> None:
        for name in ("b.md", "a/z.txt", "a/b/report.PDF", "c.rst", "program.py", "picture.png"):
            write(tmp_path / name, "text")
        assert names(tmp_path) == ["a/b/report.PDF", "a/z.txt", "b.md", "c.rst"]

    def test_hidden_files_and_folders_are_never_read(self, tmp_path: Path) -> None:
        for name in (".secret.md", ".git/notes.md", "a/.cache/notes.md", "a/open.md"):
            write(tmp_path / name, "text")
        assert names(tmp_path) == ["a/open.md"]

    def test_symbolic_links_are_never_followed_and_the_warning_names_them(self, tmp_path: Path) -> None:
        outside = write(tmp_path / "outside" / "secret.md", "secret")
        root = tmp_path / "docs"
        write(root / "open.md", "text")
        (root / "link.md").symlink_to(outside)
        (root / "folder").symlink_to(outside.parent)
        files, warnings = find_files(root)
        assert [file.name for file in files] == ["open.md"]
        assert sorted(warnings) == [
            "folder: skipped, it is a symbolic link",
            "link.md: skipped, it is a symbolic link",
        ]

    def test_a_pipe_that_is_named_like_a_document_is_passed_over(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe.txt")
        write(tmp_path / "open.md", "text")
        assert names(tmp_path) == ["open.md"]

    def test_one_file_can_be_given_instead_of_a_folder(self, tmp_path: Path) -> None:
        assert names(write(tmp_path / "notes.md", "text")) == ["notes.md"]

    @pytest.mark.skipif(sys.platform != "linux", reason="the file system takes no name that is not text")
    def test_a_name_that_is_not_utf8_is_written_so_that_an_answer_can_hold_it(self, tmp_path: Path) -> None:
        for name in (b"caf\xe8.md", b"caf\xe9.md"):
            write(tmp_path / os.fsdecode(name), "text")
        (tmp_path / os.fsdecode(b"\xe8.md")).symlink_to(tmp_path)
        files, warnings = find_files(tmp_path)
        assert [file.name for file in files] == ["caf\\xe8.md", "caf\\xe9.md"]
        assert len({file.file_id("idx-docs") for file in files}) == 2
        assert warnings == ["\\xe8.md: skipped, it is a symbolic link"]
        assert names(files[0].path) == ["caf\\xe8.md"]

    def test_a_missing_folder_is_named_in_the_error(self, tmp_path: Path) -> None:
        with pytest.raises(DocumentError, match=r"cannot read .*nowhere: there is no such file or folder"):
            find_files(tmp_path / "nowhere")
        assert issubclass(DocumentError, ConfigurationError)

    def test_a_file_of_another_kind_is_refused_with_the_kinds_that_can_be_served(self, tmp_path: Path) -> None:
        with pytest.raises(DocumentError, match=r"\.py is not a kind of document that can be served.*\.pdf"):
            find_files(write(tmp_path / "program.py", "pass"))

    def test_something_that_is_neither_file_nor_folder_is_refused(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(DocumentError, match="neither a folder nor a file"):
            find_files(tmp_path / "pipe")

    @pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
    def test_a_folder_that_may_not_be_opened_is_skipped_with_a_warning(self, tmp_path: Path) -> None:
        write(tmp_path / "open.md", "text")
        (tmp_path / "locked").mkdir(mode=0)
        assert find_files(tmp_path)[1] == ["locked: skipped, it may not be read (permission denied)"]

    def test_no_more_files_are_read_than_the_limit(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for number in range(4):
            write(tmp_path / f"{number}.md", "text")
        monkeypatch.setattr("chat_sessions.server.documents.files.MAX_FILES", 3)
        files, warnings = find_files(tmp_path)
        assert [file.name for file in files] == ["0.md", "1.md", "2.md"]
        assert warnings == ["only the first 3 of 4 documents were read"]

    def test_the_file_id_follows_from_index_and_name_alone(self, tmp_path: Path) -> None:
        before = file_at(write(tmp_path / "a.md", "one"))
        after = file_at(write(tmp_path / "a.md", "another text"))
        assert before != after
        assert before.file_id("idx-a") == after.file_id("idx-a")
        assert before.file_id("idx-a") != before.file_id("idx-b")
        assert before.file_id("idx-a").startswith("dfl-")


class TestText:
    def test_each_markdown_section_is_a_page_without_a_number(self) -> None:
        pages = read_text(
            "Before.\n\n# One\n\nText *with* a [link](https://example.org) and `code`.\n\n## Two ##\nMore.\n"
        )
        assert [(page.number, page.section) for page in pages] == [(None, ""), (None, "One"), (None, "Two")]
        assert pages[1].text == "One\n\nText with a link and code."

    def test_a_markdown_table_keeps_its_header_and_is_named_by_its_heading(self) -> None:
        (page,) = read_text(
            "# Limits\n\n| What | How much |\n|:--|--:|\n| Hotel | 140 |\n| Meals \\| day | 42 | 7 |\n| Car |\n"
        )
        assert page.blocks[1] == Table(
            "Limits", ("What", "How much"), (("Hotel", "140"), ("Meals | day", "42"), ("Car", ""))
        )

    def test_headings_may_be_underlined(self) -> None:
        pages = read_text("Title\n=====\n\nText.\n\nPart\n----\nMore.\n")
        assert [page.section for page in pages] == ["Title", "Part"]

    def test_a_question_at_the_start_of_a_paragraph_is_its_title(self) -> None:
        (page,) = read_text("How long is it?\nIt is long.\nVery long.\n")
        assert page.blocks == (Heading("How long is it?"), Paragraph("It is long. Very long."))

    def test_list_items_are_paragraphs_of_their_own(self) -> None:
        (page,) = read_text("- One.\n- Two\n  lines.\n1. Three.\n")
        assert [block.text for block in page.blocks] == ["One.", "Two lines.", "Three."]

    def test_code_is_kept_as_it_is_and_its_hashes_are_no_headings(self) -> None:
        (page,) = read_text("# Setup\n\n```sh\n# comment\npip install x\n```\n")
        assert page.blocks == (Heading("Setup"), Paragraph("# comment\npip install x"))

    def test_front_matter_and_rules_are_left_out(self) -> None:
        (page,) = read_text("---\ntitle: x\n---\nText.\n\n***\n\nMore.\n")
        assert page.text == "Text.\n\nMore."

    def test_a_heading_keeps_a_hash_that_belongs_to_it(self) -> None:
        assert read_text("# C#\n\nText.")[0].section == "C#"

    def test_a_section_without_end_becomes_several_pages(self) -> None:
        pages = read_text("# Long\n\n" + "A sentence of the text.\n\n" * 3000)
        assert len(pages) > 2
        assert {page.section for page in pages} == {"Long"}

    @pytest.mark.parametrize(
        "text", ["[a](" * 50_000, "**_" * 50_000, "# " + " " * 100_000 + "b", "|-" * 50_000 + "\n" + "|-" * 50_000]
    )
    def test_a_text_made_to_be_slow_is_read_all_the_same(self, text: str) -> None:
        read_text(text)

    @pytest.mark.parametrize(
        ("text", "ends"),
        [
            ("It is one line. " * 3000, r"line\."),
            ("Is it one line? No! " * 3000, r"(line\?|No!)"),
            ("a word and " * 5000, r"(a|word|and)"),
            ("x" * 50_000, "x"),
            ("```\n" + "two words\n" * 5000 + "```\n", "two words"),
            ("a" + " " * 60_000 + "b", "(a|b)"),
        ],
    )
    def test_a_paragraph_without_end_becomes_several_pages(self, text: str, ends: str) -> None:
        pages = read_text(text)
        assert len(pages) > 1 or len(text.split()) == 2
        assert max(len(page.text) for page in pages) <= 41_000
        blocks = [block.text for page in pages for block in page.blocks]
        assert all(re.search(ends + r"\Z", block) for block in blocks)
        assert "".join("".join(blocks).split()) == "".join(text.replace("```", "").split())

    def test_bytes_that_are_not_utf8_are_replaced(self, tmp_path: Path) -> None:
        assert read(write(tmp_path / "latin.txt", b"\xef\xbb\xbfCaf\xe9 open.")).pages[0].text == "Caf� open."

    def test_a_binary_file_that_is_named_like_a_text_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(Unreadable, match="not a text in UTF-8"):
            read(write(tmp_path / "a.txt", b"\0\1\2"))

    def test_an_empty_file_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(Unreadable, match="it has no text"):
            read(write(tmp_path / "a.md", "# Only a heading\n"))

    def test_a_sentence_that_does_not_end_is_cut_between_words(self) -> None:
        pieces = list(sentences("word " * 1000 + "x" * 2000))
        assert max(map(len, pieces)) <= 900
        assert " ".join(pieces).replace(" ", "") == "word" * 1000 + "x" * 2000

    def test_sentences_stand_as_they_do_in_the_text(self) -> None:
        text = 'It cost 0.38 EUR, e.g. for a car. "Really?" Yes! See Table 2. Results follow. It ends'
        assert list(sentences(text)) == [
            "It cost 0.38 EUR, e.g. for a car.",
            '"Really?"',
            "Yes!",
            "See Table 2. Results follow.",
            "It ends",
        ]

    def test_a_text_of_nothing_but_table_numbers_is_read_without_looking_back_at_all_of_it(self) -> None:
        text = "Table 1. " * 100_000
        assert "".join(sentences(text)).replace(" ", "") == "Table1." * 100_000


class TestPdf:
    def test_pages_keep_their_numbers_and_titles(self) -> None:
        report = read(EXAMPLES / "annual-report-2025.pdf")
        assert [page.number for page in report.pages] == list(range(1, 13))
        assert [page.section for page in report.pages[1:4]] == [
            "The year in brief",
            "Quarterly results",
            "Product lines and regions",
        ]

    def test_a_table_is_found_with_its_caption_header_and_rows(self) -> None:
        page = read(EXAMPLES / "annual-report-2025.pdf").page(3)
        assert page is not None
        table = next(block for block in page.blocks if isinstance(block, Table))
        assert table.caption == "Table 2. Results by quarter, 2025 (EUR million)"
        assert table.header == ("2025", "Q1", "Q2", "Q3", "Q4", "Full year")
        assert table.rows[0] == ("Revenue", "18.4", "20.1", "23.7", "22.0", "84.2")
        assert len(table.rows) == 5

    def test_a_cell_that_is_empty_or_wrapped_stays_in_its_column(self) -> None:
        report = read(EXAMPLES / "annual-report-2025.pdf")
        rows = {
            row[0]: row
            for page in report.pages
            for block in page.blocks
            if isinstance(block, Table)
            for row in block.rows
        }
        assert ("Total", "", "366", "330") in [
            row for page in report.pages for block in page.blocks if isinstance(block, Table) for row in block.rows
        ]
        assert rows["Single source for radar chips"][3] == "Second supplier qualified in October; stock for five months"

    def test_lines_that_run_along_every_page_are_left_out(self) -> None:
        report = read(EXAMPLES / "annual-report-2025.pdf")
        assert not any(
            "Annual Report 2025\u00a0Page" in page.text or "· Annual Report" in page.text for page in report.pages
        )

    def test_lines_of_a_paragraph_are_joined_and_divided_words_made_whole(self, tmp_path: Path) -> None:
        words = [(72, 700, "The river rose in the morn-"), (72, 688, "ing and fell again"), (72, 676, "by noon.")]
        (page,) = read(write(tmp_path / "a.pdf", pdf(words))).pages
        assert page.text == "The river rose in the morning and fell again by noon."

    def test_two_columns_of_prose_are_not_taken_for_a_table(self, tmp_path: Path) -> None:
        left = [(72.0, 700.0 - 12 * line, f"Left line number {line} of the text") for line in range(4)]
        right = [(320.0, 700.0 - 12 * line, f"Right line number {line} of the text") for line in range(4)]
        (page,) = read(write(tmp_path / "a.pdf", pdf([*left, *right]))).pages
        assert not any(isinstance(block, Table) for block in page.blocks)
        assert page.text.index("Left line number 3") < page.text.index("Right line number 0")

    def test_items_of_a_list_are_paragraphs_without_their_bullets(self, tmp_path: Path) -> None:
        items = [
            (72, 700, "\\225"),
            (90, 700, "Two boats."),
            (72, 688, "\\225"),
            (90, 688, "One ferry at"),
            (90, 676, "-5 degrees."),
        ]
        (page,) = read(write(tmp_path / "a.pdf", pdf(items))).pages
        assert [block.text for block in page.blocks] == ["Two boats.", "One ferry at -5 degrees."]

    def test_a_small_table_of_words_is_found(self, tmp_path: Path) -> None:
        rows = [("Boat", "Built"), ("Ferry", "1970"), ("Tug", "1984")]
        cells = [
            (x, 700 - 14 * row, text) for row, pair in enumerate(rows) for x, text in zip((72, 200), pair, strict=True)
        ]
        (page,) = read(write(tmp_path / "a.pdf", pdf(cells))).pages
        assert page.blocks == (Table("", ("Boat", "Built"), (("Ferry", "1970"), ("Tug", "1984"))),)

    def test_a_table_of_a_hundred_columns_is_found_and_a_wider_one_is_lines(self, tmp_path: Path) -> None:
        def rows(count: int) -> list[Placed]:
            return [(40 + 40 * at, y, f"c{at}") for y in (700, 688) for at in range(count)]

        path = write(tmp_path / "a.pdf", pdf(rows(100), rows(101), size=(4200, 842)))
        table, lines = (page.blocks[0] for page in read(path).pages)
        assert isinstance(table, Table)
        assert len(table.header) == 100
        assert not isinstance(lines, Table)
        assert lines.text.split()[:3] == ["c0", "c1", "c2"]

    def test_a_page_too_dense_to_take_apart_is_read_as_plain_text(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cells: list[Placed] = [(72 + 100 * at, y, f"cell {at}") for y in (700, 688) for at in range(3)]
        path = write(tmp_path / "a.pdf", pdf(cells))
        monkeypatch.setattr("chat_sessions.server.documents.pdf._MAX_LOOKED_AT", 50)
        (page,) = read(path).pages
        assert not any(isinstance(block, Table) for block in page.blocks)
        assert sorted(page.text.split()) == sorted(word for _, _, text in cells for word in text.split())

    def test_a_page_without_text_is_named_and_the_others_are_read(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.pdf", pdf([(72, 700, "Text.")], [], [(72, 700, "More text.")]))
        document, warnings = read_document(file_at(path), "idx-docs")
        assert [page.number for page in document.pages] == [1, 3]
        assert warnings == ["a.pdf: no text on page 2 (a picture or a scan?)"]

    def test_a_scan_is_refused_with_what_to_do(self, tmp_path: Path) -> None:
        with pytest.raises(Unreadable, match="text recognition first"):
            read(write(tmp_path / "scan.pdf", pdf([], [])))

    @pytest.mark.parametrize("data", [b"", b"%PDF-1.7 and nothing else", b"PK\x03\x04", pdf([(1, 1, "x")])[:200]])
    def test_a_damaged_file_is_refused_in_words(self, tmp_path: Path, data: bytes) -> None:
        with pytest.raises(Unreadable, match="damaged or not a PDF file"):
            read(write(tmp_path / "bad.pdf", data))

    def test_an_encrypted_file_is_refused_with_what_to_do(self, tmp_path: Path) -> None:
        with pytest.raises(Unreadable, match="encrypted; save a copy without a password"):
            read(write(tmp_path / "locked.pdf", pdf([(72, 700, "Secret.")], encrypted=True)))

    def test_no_more_pages_are_read_than_the_limit(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("chat_sessions.server.documents.pdf.MAX_PAGES", 2)
        path = write(tmp_path / "a.pdf", pdf(*([(72, 700, f"Page {number}.")] for number in range(4))))
        document, warnings = read_document(file_at(path), "idx-docs")
        assert len(document.pages) == 2
        assert warnings == ["a.pdf: only the first 2 of its 4 pages were read"]

    def test_a_page_is_drawn_as_a_jpeg_of_bounded_size(self, tmp_path: Path) -> None:
        from PIL import Image

        huge = write(tmp_path / "huge.pdf", pdf([(72, 700, "Text.")], size=(14_000, 900)))
        image = render_page(huge, 1)
        assert image is not None
        (tmp_path / "page.jpg").write_bytes(image)
        with Image.open(tmp_path / "page.jpg") as opened:
            assert opened.format == "JPEG"
            assert max(opened.size) <= 1601
        assert render_page(huge, 2) is None


class TestOtherKinds:
    @pytest.mark.skipif(importlib.util.find_spec("markitdown") is not None, reason="the extra is installed")
    def test_without_the_extra_the_reason_names_it(self, tmp_path: Path) -> None:
        with pytest.raises(Unreadable, match=r"\.docx files need the extra: pip install 'chat-sessions\[documents\]'"):
            read(write(tmp_path / "letter.docx", b"PK"))

    @pytest.mark.skipif(importlib.util.find_spec("markitdown") is None, reason="the extra is not installed")
    def test_with_the_extra_a_web_page_is_read_by_sections(self, tmp_path: Path) -> None:
        page = "<html><body><h1>Rates</h1><p>A room costs 80.</p><table><tr><th>A</th></tr><tr><td>1</td></tr></table>"
        document = read(write(tmp_path / "a.html", page))
        assert document.pages[0].section == "Rates"
        assert "A room costs 80." in document.pages[0].text

    @pytest.mark.skipif(importlib.util.find_spec("markitdown") is None, reason="the extra is not installed")
    def test_with_the_extra_a_damaged_file_is_refused_in_words(self, tmp_path: Path) -> None:
        with pytest.raises(Unreadable, match=r"it is damaged or not a \.docx file"):
            read(write(tmp_path / "letter.docx", b"PK no archive"))

    @pytest.mark.skipif(importlib.util.find_spec("markitdown") is None, reason="the extra is not installed")
    def test_with_the_extra_an_archive_that_swells_is_refused_unopened(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with zipfile.ZipFile(tmp_path / "letter.docx", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("word/document.xml", b"0" * 3_000_000)
        monkeypatch.setattr("chat_sessions.server.documents.files._MAX_UNPACKED_BYTES", 2 * 1024 * 1024)
        with pytest.raises(Unreadable, match="unpacks to more than 2 MB"):
            read(tmp_path / "letter.docx")

    def test_a_file_over_the_size_limit_is_not_opened(self, tmp_path: Path) -> None:
        file = DocumentFile(tmp_path / "gone.pdf", "gone.pdf", MAX_FILE_BYTES + 1, 0)
        with pytest.raises(Unreadable, match="larger than 100 MB"):
            read_document(file, "idx-docs")

    def test_a_text_over_the_size_limit_is_not_opened(self, tmp_path: Path) -> None:
        file = DocumentFile(tmp_path / "gone.txt", "gone.txt", 21 * 1024 * 1024, 0)
        with pytest.raises(Unreadable, match="more than 20 MB"):
            read_document(file, "idx-docs")

    def test_a_file_that_went_away_is_refused_in_words(self, tmp_path: Path) -> None:
        with pytest.raises(Unreadable, match="there is no such file"):
            read_document(DocumentFile(tmp_path / "gone.md", "gone.md", 1, 0), "idx-docs")


def test_a_page_can_be_looked_up_by_its_number() -> None:
    page = Page(3, "", (Paragraph("Text."),))
    document = Document("dfl-1", "a.pdf", (page,))
    assert document.page(3) is page
    assert document.page(4) is None
