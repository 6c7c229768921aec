"""PDF pages in a row: what their edges repeat is left out, and nothing else; tables keep their header over pages."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from reportlab.lib.pagesizes import A4  # type: ignore[import-untyped]
from reportlab.platypus import SimpleDocTemplate, Table, TableStyle  # type: ignore[import-untyped]

from chat_sessions.server.documents.reading.blocks import Block, blocks_of, cells
from tests.server.documents.made import Placed, ReadWhole, pdf, read_whole

HEAD = ("Part", "Name", "Price", "Lead time")
BODY = ("North pier, all lamps sealed.", "South gate with bolts.", "East wall, none left.", "West stairs repainted.")


def page(number: int, *lines: Placed) -> Sequence[Placed]:
    return [(60, 600, BODY[number % len(BODY)]), (60, 570, f"Reported by inspector {'abcdefgh'[number]}."), *lines]


def texts(*pages: Sequence[Placed]) -> list[str]:
    return read_whole(pdf(*pages), "a.pdf").texts


class TestLines:
    def test_lines_near_the_edge_that_differ_in_their_numbers_are_read(self) -> None:
        sums = ("812.50", "99.10", "1,204.00", "55.00")
        found = texts(
            *(
                page(number, (60, 790, f"Invoice {4711 + number}"), (60, 60, f"Total due: {due} EUR"))
                for number, due in enumerate(sums)
            )
        )
        for number, due in enumerate(sums):
            assert f"Invoice {4711 + number}" in found[number]
            assert f"Total due: {due} EUR" in found[number]

    def test_a_line_of_every_page_is_read_once_and_the_numbers_of_pages_are_not(self) -> None:
        found = texts(
            *(
                page(number, (60, 815, "Harbour Lights Ltd"), (280, 25, f"Page {number + 1} of 4"))
                for number in range(4)
            )
        )
        assert [text.count("Harbour Lights Ltd") for text in found] == [1, 0, 0, 0]
        assert "Page" not in "".join(found)

    def test_numbers_of_pages_that_do_not_begin_with_one_are_left_out(self) -> None:
        found = texts(*(page(number, (290, 25, str(117 + number))) for number in range(4)))
        assert not any("11" in text for text in found)

    def test_the_lines_of_left_and_right_pages_are_told_apart(self) -> None:
        lines = ("The Salt Road", "Second Chapter")
        found = texts(*(page(number, (60, 815, lines[number % 2])) for number in range(4)))
        assert [sum(line in text for line in lines) for text in found] == [1, 1, 0, 0]

    def test_pages_with_lines_of_every_page_alone_have_no_text(self) -> None:
        lines = [(60, 815, "Made with a scanner")]
        whole = read_whole(pdf(page(0, *lines), lines, lines), "a.pdf")
        assert [sheet.number for sheet in whole.sheets] == [1]

    def test_lines_are_compared_over_parts_of_a_long_file(self) -> None:
        found = texts(*(page(number % 8, (60, 815, "Harbour Lights Ltd")) for number in range(43)))
        assert len(found) == 43
        assert sum("Harbour Lights Ltd" in text for text in found) == 1


def running(canvas: Any, document: Any) -> None:
    canvas.drawString(72, 810, "Arden Water Board")
    canvas.drawRightString(523, 30, str(document.page))


def framed(rows: Sequence[Sequence[str]], repeated: int = 0) -> bytes:
    target = io.BytesIO()
    table = Table(rows, repeatRows=repeated, style=TableStyle([("GRID", (0, 0), (-1, -1), 0.5, "black")]))
    SimpleDocTemplate(target, pagesize=A4).build([table], onFirstPage=running, onLaterPages=running)
    return target.getvalue()


def tables(whole: ReadWhole) -> list[Block]:
    return [block for text in whole.texts for block in blocks_of(text) if block.is_table]


class TestTables:
    def test_each_row_of_a_table_over_pages_is_read_below_its_header(self) -> None:
        names = ("Gasket", "Flange", "Valve stem", "Rotor", "Drive belt")
        rows = [(f"PX-{1000 + at}", f"{names[at % 5]} {at}", f"{at}.50", f"{at % 40} days") for at in range(1, 91)]
        whole = read_whole(framed([HEAD, *rows]), "a.pdf")
        assert max(number or 0 for number in whole.pages) >= 3
        found: list[list[str]] = []
        for block in tables(whole):
            head, *rest = cells(block)
            assert tuple(head) == HEAD
            found += [row for row in rest if row[0] != "…"]
        assert [tuple(row) for row in found] == rows

    def test_words_that_stand_close_together_are_in_the_cells_where_they_stand(self) -> None:
        rows = [(f"W{at}", str(30 + at), f"{at * 3} l/s") for at in range(1, 70)]
        whole = read_whole(framed([("Well", "Depth (m)", "Yield"), *rows], repeated=1), "a.pdf")
        found = [row for block in tables(whole) for row in cells(block)]
        assert [tuple(row) for row in found if row[0] not in ("Well", "\u2026")] == rows

    def test_the_rest_of_a_table_begins_with_a_sign_for_the_rows_before(self) -> None:
        rows = [(f"PX-{1000 + at}", "Flange", f"{at}.50", f"{at} days") for at in range(1, 50)]
        whole = read_whole(framed([HEAD, *rows]), "a.pdf")
        first, *others = [text for text, number in zip(whole.texts, whole.pages, strict=True) if number == 2]
        assert others == []
        assert first.split("\n")[2] == "| … | … | … | … |"

    def test_a_table_without_numbers_goes_on_in_the_same_place(self) -> None:
        rows = [("alphabetical"[at % 7 :], "keeper of the northern harbour"[at % 11 :]) for at in range(50)]
        whole = read_whole(framed([("Name", "Duty"), *rows]), "a.pdf")
        assert whole.texts[-1].startswith("| Name | Duty |")

    def test_a_table_with_a_header_of_its_own_keeps_it(self) -> None:
        first = [("Item", "Count"), *((f"Lamp {at}", str(at)) for at in range(1, 38))]
        second = [("Town", "Share"), *((f"Leeds {at}", f"{at} %") for at in range(1, 9))]
        whole = read_whole(framed([*first, *[("", "")] * 2, *second]), "a.pdf")
        assert len([number for number in whole.pages if number == 2]) == 1
        assert "Item" not in whole.texts[-1]
