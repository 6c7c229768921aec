"""Where a passage is on its page: as it is drawn, as it is kept, and not at all where that is not known."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, cast

import pytest
from PIL import Image, ImageDraw
from reportlab.lib import colors  # type: ignore[import-untyped]
from reportlab.platypus import SimpleDocTemplate, Table  # type: ignore[import-untyped]

from chat_sessions.server.documents.indexes import open_index
from chat_sessions.server.documents.reading.blocks import Box
from chat_sessions.server.documents.reading.documents import read
from chat_sessions.server.documents.reading.formats.pdf import draw_page
from chat_sessions.server.documents.reading.passages import Passage, Sheet
from tests.server.documents.made import pdf, powerpoint, saved

REPORT = Path(__file__).parents[3] / "examples" / "documents" / "annual-report-2025.pdf"
FERRY = "The ferry to Port Asher sails at nine in the morning."
DOGS = "Dogs travel free of charge on every ferry of the line."
# Of a cell, its words have a place, and not its colour.
PADDING = 24, 6
FOOT = 790.0


def pages(data: bytes) -> tuple[list[Passage], list[Sheet]]:
    parts = list(read(data, "a.pdf"))
    return [passage for part in parts for passage, _ in part.passages], [
        sheet for part in parts for sheet in part.sheets
    ]


def drawn(data: bytes, sheet: Sheet) -> Image.Image:
    with Image.open(io.BytesIO(draw_page(data, sheet.number, max(sheet.width, sheet.height)))) as image:
        return image.convert("L")


def blank(image: Image.Image, sheet: Sheet, box: Box, beside: float, above: float) -> None:
    """Take what is printed in and around a box off the picture."""
    x, y, width, height = box
    scale = image.width / sheet.width
    area = (x - beside, y - above, x + width + beside, y + height + above)
    ImageDraw.Draw(image).rectangle([value * scale for value in area], fill=255)


def darkest(image: Image.Image) -> int:
    return int(cast("tuple[int, int]", image.getextrema())[0])


@pytest.mark.parametrize(
    "turned", ["", "/CropBox [50 200 400 750]", "/Rotate 180", "/UserUnit 2", "/CropBox [50 200 400 750] /Rotate 180"]
)
def test_what_is_drawn_of_a_passage_is_inside_its_boxes(turned: str) -> None:
    data = pdf([(72, 700, FERRY), (72, 300, DOGS)]).replace(b"842]", f"842] {turned}".encode())
    (passage,), (sheet,) = pages(data)
    assert len(passage.boxes) == 2
    image = drawn(data, sheet)
    for box in passage.boxes:
        assert darkest(image) < 100
        blank(image, sheet, box, 2, 2)
    assert darkest(image) > 200


def test_the_boxes_of_a_report_hold_everything_that_is_printed_but_the_foot_of_the_page() -> None:
    data = REPORT.read_bytes()
    passages, sheets = pages(data)
    for sheet in sheets[1:]:
        image = drawn(data, sheet)
        blank(image, sheet, (0, FOOT, sheet.width, sheet.height), 0, 0)
        for passage in passages:
            for box in passage.boxes if passage.page == sheet.number else ():
                assert darkest(image.crop(_area(box, image.width / sheet.width))) < 150, passage.text
                blank(image, sheet, box, *PADDING)
        assert darkest(image) > 200, sheet.number


def test_a_passage_whose_words_are_in_two_columns_has_two_boxes() -> None:
    passages, _ = pages(REPORT.read_bytes())
    for passage in passages:
        for box, following in zip(passage.boxes, passage.boxes[1:], strict=False):
            is_below = following[1] >= box[1] + box[3]
            assert is_below or following[0] >= box[0] + box[2]


def test_a_part_of_a_long_table_is_where_its_own_rows_are() -> None:
    rows = [
        ["Port", "Passenger", "Fare"],
        *([f"Harbour {n} on the coast", f"Bicycle {n}", f"{n}.50"] for n in range(45)),
    ]
    table = Table(rows, rowHeights=14, style=[("GRID", (0, 0), (-1, -1), 0.5, colors.black)])
    data = saved(lambda target: SimpleDocTemplate(target).build([table]))
    passages, (sheet,) = pages(data)
    assert [passage.text.count("| Port |") for passage in passages] == [1] * len(passages)
    image = drawn(data, sheet)
    lowest = 0.0
    for passage in passages:
        ((_, top, _, height),) = passage.boxes
        assert top >= lowest
        lowest = top + height
        assert height == pytest.approx(14 * (passage.text.count("| Harbour ") + (passage is passages[0])), abs=1)
        blank(image, sheet, passage.boxes[0], 2, 1)
    assert len(passages) > 1
    assert darkest(image) > 200


def test_text_across_a_turned_page_has_no_place() -> None:
    data = pdf([(72, 700, FERRY)]).replace(b"842]", b"842] /Rotate 90")
    (passage,), _ = pages(data)
    assert passage.boxes == ()


def test_slides_have_no_place_and_say_so_by_leaving_it_out(tmp_path: Path) -> None:
    (tmp_path / "deck.pptx").write_bytes(powerpoint(("Plan", "We move in May.", "")))
    (hit,) = open_index("idx-docs", tmp_path).search("move")
    fields = cast("dict[str, Any]", hit.as_result()["static_fields"])
    assert fields["page_range_start"] == 1
    assert not {"bounding_boxes", "page_dimensions"} & fields.keys()


def test_a_second_start_reads_the_places_from_what_was_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, kept = tmp_path / "files", tmp_path / "kept"
    folder.mkdir()
    (folder / "ferry.pdf").write_bytes(pdf([(72, 700, FERRY)]))
    first = open_index("idx-docs", folder, index_store=kept).search("ferry")
    monkeypatch.setattr("chat_sessions.server.documents.readers.Reader.read", None)
    second = open_index("idx-docs", folder, index_store=kept).search("ferry")
    assert [hit.as_result() for hit in second] == [hit.as_result() for hit in first]
    assert second[0].passage.boxes
    assert second[0].size == (595, 842)


def _area(box: Box, scale: float) -> tuple[int, int, int, int]:
    x, y, width, height = box
    return round(x * scale), round(y * scale), round((x + width) * scale), round((y + height) * scale)
