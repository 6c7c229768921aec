"""Tables that are too large for one passage: every cell is found, with its header, and what is left out is marked."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

import openpyxl  # type: ignore[import-untyped]
import pytest

from chat_sessions.server.documents.reading.blocks import Block, blocks_of, cells
from tests.server.documents.made import read_whole

ROWS = [
    ["Site", *(f"Mean of sensor {number} of the northern line" for number in range(1, 41))],
    *([f"Pier {row}", *(f"{row}.{column:02}" for column in range(1, 41))] for row in range(1, 31)),
]


def csv(rows: Sequence[Sequence[str]]) -> tuple[str, bytes]:
    return "a.csv", "\n".join(";".join(row) for row in rows).encode()


def html(rows: Sequence[Sequence[str]]) -> tuple[str, bytes]:
    made = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return "a.html", f"<html><body><p>Sensors</p><table>{made}</table></body></html>".encode()


def excel(rows: Sequence[Sequence[str]]) -> tuple[str, bytes]:
    book = openpyxl.Workbook()
    sheet = book.create_sheet("Sensors", 0)
    for row in rows:
        sheet.append(tuple(row))
    data = io.BytesIO()
    book.save(data)
    return "a.xlsx", data.getvalue()


def tables(name: str, data: bytes) -> list[Block]:
    return [block for text in read_whole(data, name).texts for block in blocks_of(text) if block.is_table]


@pytest.mark.parametrize("made", [csv, html, excel], ids=["csv", "html", "xlsx"])
def test_each_cell_of_a_wide_table_is_below_its_header_and_beside_the_name_of_its_row(
    made: Callable[[Sequence[Sequence[str]]], tuple[str, bytes]],
) -> None:
    found: dict[tuple[str, str], str] = {}
    for table in tables(*made(ROWS)):
        head, *rows = cells(table)
        assert all(len(row) == len(head) for row in rows)
        found |= {(row[0], title): cell for row in rows for title, cell in zip(head[1:], row[1:], strict=True)}
    for row in ROWS[1:]:
        for title, cell in zip(ROWS[0][1:], row[1:], strict=True):
            assert found[row[0], title] == cell


def test_columns_that_are_left_out_are_marked_in_each_row() -> None:
    for table in tables(*csv(ROWS)):
        head, *rows = cells(table)
        assert head[0] == "Site"
        assert "…" in head
        assert all(row[at] == "…" for at, title in enumerate(head) if title == "…" for row in rows)


def test_rows_that_are_left_out_are_marked_before_and_after_those_of_a_passage() -> None:
    rows = "".join(f"| Item {number} | {'x' * 50} |\n" for number in range(100))
    found = tables("a.md", f"| Name | Mark |\n|---|---|\n{rows}".encode())
    assert len(found) > 2
    sign = "| … | … |"
    assert [table.rows[0] == sign for table in found] == [False] + [True] * (len(found) - 1)
    assert [table.rows[-1] == sign for table in found] == [True] * (len(found) - 1) + [False]


@pytest.mark.parametrize("position", [0, 1], ids=["in the header", "in a row"])
def test_a_long_cell_becomes_several_rows_and_loses_no_word(position: int) -> None:
    words = [f"word{number}" for number in range(2000)]
    rows = [["Case", "Report", "State"], ["C-1", "Short.", "open"], ["C-2", "None.", "closed"]]
    rows[position][1] = " ".join(words)
    found = tables(*csv(rows))
    assert len(found) > 3
    listed = [row for table in found for row in cells(table)]
    # Each part repeats the header.
    assert list(dict.fromkeys(word for row in listed for word in row[1].split() if word.startswith("word"))) == words
    assert all(row[0] in (rows[position][0], "Case", "C-1", "C-2", "…") for row in listed)
    assert all(len(text) < 4000 for text in read_whole(csv(rows)[1], "a.csv").texts)


def test_a_table_that_fits_is_kept_as_it_is_written() -> None:
    table = "| Item | Price |\n|:--|--:|\n| Rope \\| line | 4 |"
    assert read_whole(table).texts == [table]


PLANNED = [["Item", "Planned", "Spent"], ["Food", "12000", "4100"], ["Toys", "1500", "320"]]
GIVEN = [["Donor", "Amount", "Date"], ["Bakery Lund", "500", "3 March"], ["Family Okoye", "150", "9 April"]]


@pytest.mark.parametrize("made", [csv, html, excel], ids=["csv", "html", "xlsx"])
@pytest.mark.parametrize(
    "second",
    [
        GIVEN,
        # Words alone, below numbers.
        [["Child", "Allergy", "Picked up by"], ["Mila", "nuts", "grandmother"], ["Jonas", "none", "father"]],
        # The same kind of table, with years in its header.
        [["Item", "2023", "2024"], ["Food", "11000", "11500"]],
        # Names that only look like numbers.
        [["", "Q1", "Q2"], ["North", "12", "13"], ["South", "9", "8"]],
    ],
    ids=["numbers", "words", "years", "no label"],
)
def test_a_table_below_another_and_an_empty_row_has_a_header_of_its_own(
    made: Callable[[Sequence[Sequence[str]]], tuple[str, bytes]], second: list[list[str]]
) -> None:
    empty = ["", "", ""]
    assert [cells(table) for table in tables(*made([*PLANNED, empty, *second]))] == [PLANNED, second]
    name, data = made([*PLANNED, empty, ["Of the year", "", ""], empty, *second])
    found = read_whole(data, name)
    assert "Of the year" in found.text
    assert [cells(table) for text in found.texts for table in blocks_of(text) if table.is_table] == [PLANNED, second]


def test_a_blank_line_of_a_csv_file_is_an_empty_row_and_one_within_a_cell_is_not() -> None:
    text = 'Item,Planned,Spent\nFood,12000,4100\n\n\nDonor,Amount\n"Bakery\n\nLund",500\n\n'
    assert [cells(table) for table in tables("a.csv", text.encode())] == [
        [["Item", "Planned", "Spent"], ["Food", "12000", "4100"]],
        [["Donor", "Amount"], ["Bakery Lund", "500"]],
    ]


@pytest.mark.parametrize("made", [csv, html, excel], ids=["csv", "html", "xlsx"])
@pytest.mark.parametrize(
    "more",
    [
        [["Garden", "2500", "2610"], ["Paint", "300", "0"]],
        [["Total", "13500", "4420"]],
        [["Paint", "new", "100"], ["Piano", "4200", "0"]],
        [["Notes", "", ""]],
    ],
    ids=["rows", "total", "a word", "a note"],
)
def test_rows_that_go_on_below_an_empty_row_keep_their_header(
    made: Callable[[Sequence[Sequence[str]]], tuple[str, bytes]], more: list[list[str]]
) -> None:
    assert [cells(table) for table in tables(*made([*PLANNED, ["", "", ""], *more]))] == [[*PLANNED, *more]]


def test_a_table_beside_where_the_one_above_it_was_has_no_empty_columns() -> None:
    rows = [*PLANNED, ["", "", ""], *(["", "", "", *row] for row in GIVEN)]
    assert [cells(table) for table in tables(*excel(rows))] == [PLANNED, GIVEN]
