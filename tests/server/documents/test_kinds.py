"""What is read of each kind of file that a person has."""

from __future__ import annotations

import datetime
import io
import json
import zipfile
from collections.abc import Sequence
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import docx
import pptx
import pytest
from docx.oxml.ns import qn
from kreuzberg import ExtractionConfig, extract_bytes_sync
from reportlab.lib.styles import getSampleStyleSheet  # type: ignore[import-untyped]
from reportlab.platypus import Paragraph, SimpleDocTemplate, Table  # type: ignore[import-untyped]

from chat_sessions.server.documents.reading import content
from chat_sessions.server.documents.reading.content import Unreadable
from tests.server.documents.made import ReadWhole, excel, pdf, powerpoint, read_whole, saved, word

HTML = """<html><head><title>Rates</title><style>x{}</style></head><body><h1>Rooms</h1><p>A room costs 80.</p>
<table><tr><th>Room</th><th>EUR</th></tr><tr><td>Attic</td><td>95</td></tr></table><script>no()</script></body></html>"""
MAIL = """From: Ann <ann@example.org>
To: Bo <bo@example.org>
Subject: The keys
Date: Mon, 3 Feb 2025 10:00:00 +0000

They are in the blue box.
"""

CODES = [
    ("Code", "Meaning", "Remedy"),
    ("E02", "Ignition failed", "Check gas valve"),
    ("E07", "Flue blocked", "Call technician"),
    ("E11", "Low water pressure", "Refill to 1.5 bar"),
]


def printed(rows: Sequence[Sequence[str]], after: str) -> bytes:
    """A PDF file with a table that has no lines, as a program for letters makes it."""
    style = getSampleStyleSheet()["BodyText"]
    flow: list[Any] = [Paragraph("Reset the boiler.", style), Table(list(map(list, rows)))]
    flow += [Paragraph(after, style)] if after else []
    return saved(lambda target: SimpleDocTemplate(target).build(flow))


@pytest.fixture(scope="module")
def report() -> ReadWhole:
    return read_whole((Path(__file__).parents[3] / "examples/documents/annual-report-2025.pdf").read_bytes())


def epub(name: str = "c.xhtml", href: str = "c.xhtml") -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as book:
        book.writestr("mimetype", "application/epub+zip")
        book.writestr(
            "META-INF/container.xml",
            '<container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles><rootfile '
            'full-path="b.opf" media-type="application/oebps-package+xml"/></rootfiles></container>',
        )
        book.writestr(
            "b.opf",
            '<package xmlns="http://www.idpf.org/2007/opf" version="3.0" unique-identifier="i"><metadata '
            'xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>Boats</dc:title>'
            '<dc:creator>Maud Ellery</dc:creator></metadata><manifest><item id="c" '
            f'href="{href}" media-type="application/xhtml+xml"/></manifest><spine><itemref idref="c"/></spine>'
            "</package>",
        )
        book.writestr(
            name,
            '<html xmlns="http://www.w3.org/1999/xhtml"><body><h1>Ferries</h1>'
            "<p>The ferry carries 40 cars.</p></body></html>",
        )
    return target.getvalue()


def opendocument(body: str) -> bytes:
    """A text of LibreOffice."""
    names = "urn:oasis:names:tc:opendocument:xmlns"
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.text")
        archive.writestr(
            "content.xml",
            f'<office:document-content xmlns:office="{names}:office:1.0" xmlns:text="{names}:text:1.0">'
            f"<office:body><office:text>{body}</office:text></office:body></office:document-content>",
        )
    return target.getvalue()


def mail(text: str) -> EmailMessage:
    sent = EmailMessage()
    sent["Subject"], sent["From"], sent["To"] = "The keys", "Ann <ann@example.org>", "bo@example.org"
    sent.set_content(text)
    return sent


class TestOffice:
    def test_a_table_of_word_keeps_its_header_though_none_is_marked(self) -> None:
        rows = [("Country", "Per day", "Hotel"), ("Germany", "28", "130"), ("Japan", "50", "170")]
        whole = read_whole(word("Allowances", "Everyone may travel.", table=rows), "travel.docx")
        assert whole.sections == ["Allowances"]
        assert "Everyone may travel." in whole.text
        assert "| Country | Per day | Hotel |\n| --- | --- | --- |\n| Germany | 28 | 130 |" in whole.text

    def test_the_headers_and_footers_of_word_are_read_once(self) -> None:
        document = docx.Document()
        document.sections[0].header.paragraphs[0].text = "Protocol 88, confidential"
        document.sections[0].footer.paragraphs[0].text = "Drafted by Helga Storm"
        document.sections[0].footer.add_paragraph("3")
        document.add_heading("Opening", 1)
        document.add_paragraph("The chair opened the meeting.")
        document.add_section().header.is_linked_to_previous = False
        document.sections[1].header.paragraphs[0].text = "Protocol 88, confidential"
        edges, body = read_whole(saved(document.save), "a.docx").texts
        assert edges == "Protocol 88, confidential\nDrafted by Helga Storm"
        assert body == "# Opening\n\nThe chair opened the meeting."

    def test_word_keeps_its_tabs_hyphens_and_signs(self) -> None:
        document = docx.Document()
        document.sections[0].header.paragraphs[0].text = "R&D\tHelga Storm"
        marks = document.add_paragraph("Rent\t850 EUR").add_run()
        for mark in ("cr", "ptab", "noBreakHyphen"):
            marks._r.append(marks._r.makeelement(qn(f"w:{mark}"), {}))
            marks.add_text(mark)
        document.add_paragraph("\tBelow < 40, above > 3, by Brown & Whitmore, &lt; and <b> as written")
        document.add_table(rows=1, cols=1).cell(0, 0).text = "Nuts & bolts\tM4|M5"
        (body,) = read_whole(saved(document.save), "a.docx").texts
        assert body.startswith("R&D\tHelga Storm\n\nRent\t850 EUR cr\tptab-noBreakHyphen\n\nBelow < 40")
        assert "Below < 40, above > 3, by Brown & Whitmore, \\&lt; and \\<b> as written\n" in body
        assert "| Nuts & bolts M4\\|M5 |" in body

    def test_kreuzberg_still_drops_the_tabs_and_signs_of_word(self) -> None:
        """Else `openxml.written_out` is no longer needed."""
        config = ExtractionConfig(output_format="markdown", use_cache=False)
        kind = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
        found = extract_bytes_sync(word("Rent", "Rent\t850", "Nuts & bolts"), kind, config=config)
        assert found.content == "# Rent\n\nRent850\n\nNuts bolts\n"

    def test_a_word_file_that_is_damaged_inside_is_refused(self) -> None:
        data = word("Rent", "Rent\t850 EUR " * 200)
        at = data.index(b"word/document.xml") + 200
        with pytest.raises(Unreadable, match="it is damaged"):
            read_whole(data[:at] + bytes(100) + data[at + 100 :], "a.docx")

    def test_each_sheet_of_excel_is_a_section_with_a_table(self) -> None:
        whole = read_whole(excel(Stock=[("Article", "Count"), ("A-1", 5.5)], Prices=[("Article", "EUR"), ("A-1", 12)]))
        assert whole.sections == ["Stock", "Prices"]
        assert "| Article | Count |\n| --- | --- |\n| A-1 | 5.5 |" in whole.texts[0]

    def test_times_and_durations_of_excel_are_no_dates(self) -> None:
        times = [datetime.time(14, 30), datetime.time(8, 5, 9), datetime.timedelta(hours=36)]
        dates = [datetime.date(1900, 1, 5), datetime.datetime.fromisoformat("2025-03-01T09:05")]
        text = read_whole(excel(Plan=[["Start", "End", "Hours", "Born", "Sent"], [*times, *dates]]), "a.xlsx").text
        assert "| 14:30 | 08:05:09 | 36:00 | 1900-01-05 | 2025-03-01 09:05:00 |" in text

    def test_slides_are_pages_with_the_speakers_notes(self) -> None:
        deck = powerpoint(("Plan", "We move in May.", "Mention the lift."), ("Costs", "The move costs 900 euros.", ""))
        whole = read_whole(deck, "deck.pptx")
        assert whole.pages == [1, 2]
        assert whole.sections == ["Plan", "Costs"]
        assert "We move in May." in whole.texts[0]
        assert "Mention the lift." in whole.texts[0]

    def test_slides_that_were_moved_have_the_numbers_of_the_deck(self) -> None:
        deck = pptx.Presentation(
            io.BytesIO(powerpoint(*((f"Topic {at}", "Text", f"Say {at}.") for at in range(1, 12))))
        )
        listed = deck.slides._sldIdLst  # there is no public way to move a slide
        listed.append(listed[0])
        whole = read_whole(saved(deck.save), "deck.pptx")
        assert whole.pages == list(range(1, 12))
        assert whole.sections == [f"Topic {at}" for at in (*range(2, 12), 1)]
        assert [text.rpartition("Notes: ")[2] for text in whole.texts] == [f"Say {at}." for at in (*range(2, 12), 1)]
        assert [sheet.number for sheet in whole.sheets] == whole.pages

    def test_tabs_of_open_document_and_slides_are_read_as_tabs(self) -> None:
        paragraph = "<text:p>Rent<text:tab/>850 EUR</text:p>"
        assert read_whole(opendocument(paragraph), "a.odt").text == "Rent\t850 EUR"
        assert "Rent\t850 EUR" in read_whole(powerpoint(("Plan", "Rent\t850 EUR", "")), "a.pptx").text

    def test_a_web_page_is_read_with_its_title_and_tables_and_without_its_scripts(self) -> None:
        whole = read_whole(HTML, "a.html")
        assert "# Rates" in whole.text
        assert "A room costs 80." in whole.text
        assert "| Attic | 95" in whole.text
        assert "no()" not in whole.text

    @pytest.mark.parametrize("mark", ["\t", ";", ","])
    def test_a_text_of_cells_is_a_table_whatever_its_name(self, mark: str) -> None:
        rows = [["station", "level", "day"], *([f"Weir {number}", "2.31", "Mon"] for number in range(200))]
        whole = read_whole("\n".join(map(mark.join, rows)), "readings")
        assert len(whole.texts) > 1
        assert all(text.startswith("| station | level | day |\n| --- |") for text in whole.texts)

    @pytest.mark.parametrize(
        "text", ["Eggs, milk, rye\nSalt, yeast, oil\nJam, tea, figs\n", "a;b;c\n", "One\nTwo\nThree\n"]
    )
    def test_lines_with_commas_are_no_table(self, text: str) -> None:
        assert "|" not in read_whole(text, "list.txt").text

    def test_a_title_in_the_first_row_of_a_sheet_is_above_its_table(self) -> None:
        data = excel(Cars=[["Cars in March", None], [None, None], ["Car", "Place"], ["Van 4", "Kassel"], ["a|b", None]])
        table = "| Car | Place |\n| --- | --- |\n| Van 4 | Kassel |\n| a\\|b |  |"
        assert read_whole(data, "a.xlsx").text == f"## Cars\n\nCars in March\n\n{table}"

    def test_the_first_cell_of_a_header_may_be_empty(self) -> None:
        assert (
            "|  | Mon | Tue |\n| --- |"
            in read_whole(excel(Hours=[[None, "Mon", "Tue"], ["Pool", 7, 9]]), "a.xlsx").text
        )
        placed = [(72, 700, "Pool"), (72, 680, "Sauna"), (172, 720, "Mon"), (252, 720, "Tue")]
        hours = [(172, 700, "7"), (252, 700, "9"), (172, 680, "8"), (252, 680, "10")]
        assert read_whole(pdf([*placed, *hours])).text.startswith("|  | Mon | Tue |\n| --- |")

    def test_a_text_of_prices_with_accents_is_read_in_the_encoding_of_windows(self) -> None:
        text = "Nom;Prix\nCrème brûlée;8 €\nPâté;6 €\n"
        assert "| Crème brûlée | 8 € |" in read_whole(text.encode("cp1252"), "a.csv").text

    def test_lines_of_csv_are_the_rows_of_a_table(self) -> None:
        assert read_whole('Article;Count\nA-1;4\n"A; 2";5\n', "a.csv").text.split("\n") == [
            "| Article | Count |",
            "| --- | --- |",
            "| A-1 | 4 |",
            "| A; 2 | 5 |",
        ]

    def test_a_book_is_read_by_chapters(self) -> None:
        whole = read_whole(epub(), "boats.epub")
        assert "Ferries" in whole.sections
        assert "The ferry carries 40 cars." in whole.text

    def test_a_book_is_read_with_its_title_and_author(self) -> None:
        assert read_whole(epub(), "a.epub").texts[0] == "Boats\nMaud Ellery"

    @pytest.mark.parametrize("name", ["chapter 1 & ü.xhtml", "chapter%201%20%26%20%C3%BC.xhtml"])
    def test_a_chapter_of_a_book_is_found_whether_its_name_is_encoded_or_not(self, name: str) -> None:
        book = epub(name, href="chapter%201%20%26%20%C3%BC.xhtml")
        assert "The ferry carries 40 cars." in read_whole(book, "a.epub").text

    def test_rich_text_and_notebooks_are_read(self) -> None:
        assert "The keys are" in read_whole(r"{\rtf1\ansi The keys are {\b blue}.\par}", "a.rtf").text
        cell = {"cell_type": "markdown", "source": ["# Keys\n", "They are blue."], "metadata": {}}
        notebook = {"cells": [cell], "nbformat": 4, "nbformat_minor": 5, "metadata": {}}
        assert read_whole(json.dumps(notebook), "a.ipynb").sections == ["Keys"]

    def test_content_decides_what_a_file_is_and_not_its_name(self) -> None:
        assert "Everyone may travel." in read_whole(word("Allowances", "Everyone may travel."), "travel.pdf").text
        assert read_whole(pdf([(72, 700, "The ferry is late.")]), "notes.txt").pages == [1]
        assert read_whole("The ferry is late.", "report.pdf").text == "The ferry is late."

    def test_a_text_that_begins_like_a_picture_is_a_text(self) -> None:
        assert read_whole("BMW makes cars.", "a.txt").text == "BMW makes cars."
        with pytest.raises(Unreadable, match="it is a picture"):
            read_whole(b"BM\x46\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0", "a.bmp")

    def test_an_archive_that_would_fill_the_memory_is_refused_unopened(self, monkeypatch: pytest.MonkeyPatch) -> None:
        target = io.BytesIO()
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("word/document.xml", b"0" * 3_000_000)
        monkeypatch.setattr(content, "MAX_UNPACKED_BYTES", 2 * 1024 * 1024)
        with pytest.raises(Unreadable, match="it unpacks to more than 2 MB"):
            read_whole(target.getvalue(), "letter.docx")

    def test_an_archive_of_other_files_is_refused_with_what_to_do(self) -> None:
        target = io.BytesIO()
        with zipfile.ZipFile(target, "w") as archive:
            archive.writestr("notes.txt", "text")
        with pytest.raises(Unreadable, match="it is an archive; unpack it"):
            read_whole(target.getvalue(), "notes.zip")


class TestMail:
    @pytest.mark.parametrize("name", ["keys.eml", "keys.txt"])
    def test_a_mail_is_read_with_its_headers(self, name: str) -> None:
        text = read_whole(MAIL, name).text
        assert "The keys" in text
        assert "ann@example.org" in text
        assert "They are in the blue box." in text

    def test_the_version_of_a_mail_that_is_shown_is_read(self) -> None:
        sent = mail("Please use a program that shows HTML.\n")
        sent.add_alternative("<h1>Sale</h1><p>The bicycle costs 799 euros.</p>", subtype="html")
        whole = read_whole(sent.as_bytes(), "news.eml")
        assert whole.sections == ["", "Sale"]
        assert "The bicycle costs 799 euros." in whole.text
        assert "Please use" not in whole.text

    def test_the_plain_version_of_a_mail_that_is_a_picture_is_read(self) -> None:
        sent = mail("The bicycle costs 799 euros. Helmets are on sale, too.\n")
        sent.add_alternative('<p>Sale</p><img src="cid:poster">', subtype="html")
        assert "The bicycle costs 799 euros." in read_whole(sent.as_bytes(), "news.eml").text

    def test_a_signature_makes_no_heading_of_the_line_above(self) -> None:
        whole = read_whole(mail("The keys are blue.\n-- \nAnn\n").as_bytes(), "keys.eml")
        assert whole.sections == [""]
        assert "The keys are blue." in whole.text

    def test_attachments_are_read_as_the_files_that_they_are_below_their_names(self) -> None:
        sent = mail("See attached.\n")
        attached = [("rent.docx", word("Rates", "Rent\t850 & more")), ("übersicht.csv", b"a;b;c\n1;2;3\n4;5;6\n")]
        attached += [("plan.pdf", pdf([(72, 700, "First.")], [(72, 700, "Second.")])), ("logo.png", b"\x89PNG\r\n")]
        for name, data in [*attached, ("old.zip", b"PK\3\4 no archive")]:
            sent.add_attachment(data, maintype="application", subtype="octet-stream", filename=name)
        whole = read_whole(sent.as_bytes(), "a.eml")
        assert whole.sections == ["", "Rates", "übersicht.csv", "plan.pdf"]
        assert "## rent.docx\n\n### Rates\n\nRent\t850 & more" in whole.text
        assert "| a | b | c |\n| --- | --- | --- |\n| 1 | 2 | 3 |" in whole.text
        assert "## plan.pdf\n\nFirst.\n\nSecond." in whole.text
        assert whole.pages == [None] * 4
        assert [note.partition(":")[0] for note in whole.notes] == ["old.zip in it was left out"]

    def test_a_mail_in_a_mail_is_read_once(self) -> None:
        inner, sent = mail("The code is 4711.\n"), mail("As you asked.\n")
        inner.replace_header("Subject", "Your code")
        sent.add_attachment(inner)
        whole = read_whole(sent.as_bytes(), "a.eml")
        assert whole.sections == ["", "Your code"]
        assert whole.text.count("The code is 4711.") == 1

    @pytest.mark.parametrize("charset", ["x-unknown", "us-ascii", "utf-8"])
    def test_a_mail_in_another_encoding_than_it_says_is_read(self, charset: str) -> None:
        sent = f"Subject: Schlüssel\nFrom: Jörg\nContent-Type: text/plain; charset={charset}\n\nGrüße aus Köln.\n"
        for encoding in ("utf-8", "cp1252"):
            text = read_whole(sent.encode(encoding), "a.eml").text
            assert "Schlüssel" in text
            assert "Grüße aus Köln." in text

    def test_a_mail_cut_anywhere_is_read_as_far_as_it_goes(self) -> None:
        sent = mail("The keys are blue.\n")
        sent.add_alternative("<p>The keys are blue.</p>", subtype="html")
        sent.add_attachment(word("Rates", "Rent"), maintype="application", subtype="x", filename="a.docx")
        data = sent.as_bytes()
        for end in range(data.index(b"The keys are") + 12, len(data), 97):
            assert "The keys are" in read_whole(data[:end], "a.eml").text

    def test_parts_that_are_nested_without_end_are_refused(self) -> None:
        parts = "".join(f"Content-Type: multipart/mixed; boundary=b{at}\n\n--b{at}\n" for at in range(5000))
        with pytest.raises(Unreadable, match="it is nested too deeply"):
            read_whole(f"From: ann@example.org\n{parts}", "a.eml")


class TestPdf:
    def test_lines_of_a_paragraph_are_joined_and_divided_words_made_whole(self) -> None:
        placed = [(72, 700, "The river rose in the morn-"), (72, 688, "ing and fell again"), (72, 676, "by noon.")]
        assert read_whole(pdf(placed)).text == "The river rose in the morning and fell again by noon."

    def test_two_columns_of_prose_are_read_one_after_the_other(self) -> None:
        left = [(72.0, 700.0 - 12 * line, f"Left line number {line} of the text") for line in range(4)]
        right = [(320.0, 700.0 - 12 * line, f"Right line number {line} of the text") for line in range(4)]
        text = read_whole(pdf([*left, *right])).text
        assert "|" not in text
        assert text.index("Left line number 3") < text.index("Right line number 0")

    @pytest.mark.parametrize(
        ("page", "rows"),
        [
            (
                4,
                "| Product line | 2025 | 2024 | Change | Share of 2025 |\n| --- |",
            ),
            (5, "| Accuracy | 2 mm | 5 mm |\n| Battery life | 5 years | 2 years |"),
            (8, "| Scope 2: electricity bought | 118 | 247 | -52.2 % |"),
            (8, "| Measure | 2025 | 2024 |\n| --- | --- | --- |\n| Energy used (MWh) | 3,140 | 3,290 |"),
            (9, "Table 13. Main risks\n\n| Risk | Likelihood | Impact | Response |"),
            (9, "| Medium | High | Second supplier qualified in October; stock for five months |"),
            (
                12,
                "|\n| RG-5 gauge with flow measurement | Second quarter | EUR 1.9 million |",
            ),
        ],
    )
    def test_a_table_that_was_cut_into_columns_is_put_together_again(
        self, report: ReadWhole, page: int, rows: str
    ) -> None:
        assert rows in "\n\n".join(text for text, on in zip(report.texts, report.pages, strict=True) if on == page)

    @pytest.mark.parametrize(
        ("rows", "after"),
        [
            (CODES, ""),
            (CODES, "Whoever resets the boiler three times within an hour calls the technician of the company."),
            ([row[:2] for row in CODES], ""),
        ],
        ids=["narrow header", "text below", "two columns"],
    )
    def test_a_table_without_lines_is_a_table(self, rows: list[tuple[str, ...]], after: str) -> None:
        text = read_whole(printed(rows, after)).text
        table = "\n".join(f"| {' | '.join(row)} |" for row in (rows[0], ("---",) * len(rows[0]), *rows[1:]))
        assert text == "\n\n".join(filter(None, ["Reset the boiler.", table, after]))

    def test_lines_of_two_cells_that_were_taken_for_a_paragraph_are_a_table(self) -> None:
        rows = [("1 Introduction", "3"), ("2 The harbour and its history", "7"), ("3 Fees and how they are set", "12")]
        table = "| 1 Introduction | 3 |\n| --- | --- |\n| 2 The harbour and its history | 7 |"
        assert table in read_whole(printed(rows, "The office keeps a list of all berths. " * 6)).text

    def test_a_cell_of_several_lines_is_one_cell(self) -> None:
        placed = [
            (x, 700 - 24 * y, text) for y, row in enumerate(CODES) for x, text in zip((72, 110, 210), row, strict=True)
        ]
        text = read_whole(pdf([*placed, (210, 640, "with two keys"), (210, 616, "or to 1.6 bar")])).text
        assert "| E07 | Flue blocked | Call technician with two keys |" in text
        assert "| E11 | Low water pressure | Refill to 1.5 bar or to 1.6 bar |" in text

    def test_pages_keep_their_numbers_when_one_between_them_is_empty(self) -> None:
        whole = read_whole(pdf([(72, 700, "Text.")], [], [(72, 700, "More text.")]))
        assert whole.pages == [1, 3]
        assert [sheet.number for sheet in whole.sheets] == [1, 3]

    @pytest.mark.parametrize(
        ("data", "reason"),
        [
            (b"%PDF-1.7 and nothing else", "it is damaged or not a PDF file"),
            (pdf([(1, 1, "x")])[:200], "it is damaged or not a PDF file"),
            (pdf([(72, 700, "Secret.")], encrypted=True), "it is encrypted; save a copy without a password"),
            (pdf([], []), "none of its pages has text"),
        ],
        ids=["nothing", "cut", "encrypted", "without text"],
    )
    def test_a_file_that_cannot_be_read_is_refused_with_the_reason(self, data: bytes, reason: str) -> None:
        with pytest.raises(Unreadable, match=reason):
            read_whole(data)

    def test_no_more_pages_are_read_than_the_limit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("chat_sessions.server.documents.reading.formats.pdf.MAX_PAGES", 2)
        whole = read_whole(pdf(*([(72, 700, f"Page {number}.")] for number in range(4))))
        assert whole.pages == [1, 2]
        assert whole.notes == ["only the first 2 of its 4 pages were read"]
