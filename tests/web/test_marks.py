"""Passages that are marked on the images of their pages: where they are printed, and nowhere else."""

from __future__ import annotations

import io
from typing import Any

import pytest
from PIL import Image, ImageChops
from playwright.sync_api import Locator, Page, expect
from pydantic import JsonValue

from chat_sessions import Text, ToolCall, ToolResult
from chat_sessions.core.models import ImageAttachment
from chat_sessions.core.sources import Source
from chat_sessions.web.render.marks import Box, Marks, marks_of
from tests.server.scripted import ScriptedAgent
from tests.web.browser import watch
from tests.web.conftest import Opening, Site, ask
from tests.web.test_looks import overflow, violations

IMAGE = ImageAttachment(attachment_name="page_1.jpg", source_id="f")
PAGE: dict[str, Any] = {"width": 600, "height": 800}
PLACED = "(...both) => both.map(one => one.getBoundingClientRect()).map(b => [b.x, b.y, b.width, b.height])"


def cited(tab: Page, number: int) -> Locator:
    """A source with a page image, opened."""
    source = tab.get_by_role("complementary").locator("li", has=tab.locator("img")).nth(number)
    source.locator("summary").click()
    source.get_by_role("img").evaluate("image => image.decode()")
    return source


def opened_large(opened: Site, source: Locator) -> Page:
    context = source.page.context
    context.on("page", lambda popup: opened.seen.append(watch(popup, opened.listener)))
    with context.expect_page() as popup:
        source.get_by_role("link").click()
    popup.value.get_by_role("img", name="Image of").evaluate("image => image.decode()")
    return popup.value


def shares(mark: Locator, image: Locator) -> tuple[float, float, float, float]:
    """Where a mark is on an image as the browser shows both: left, top, right, bottom, as shares of the image."""
    (x, y, width, height), (left, top, across, down) = mark.evaluate(PLACED, image.element_handle())
    return (x - left) / across, (y - top) / down, (x + width - left) / across, (y + height - top) / down


def printed(picture: Image.Image, area: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    """Where there is print in a part of a picture; both as shares of the picture."""
    width, height = picture.size
    left, top = round(area[0] * width), round(area[1] * height)
    part = picture.crop((left, top, round(area[2] * width), round(area[3] * height))).convert("L")
    box = ImageChops.invert(part).point([255 * (value > 60) for value in range(256)]).getbbox()
    assert box is not None
    return (box[0] + left) / width, (box[1] + top) / height, (box[2] + left) / width, (box[3] + top) / height


@pytest.mark.parametrize("width", [390, 1280, 2000])
def test_a_cited_passage_is_marked_where_it_is_printed(site: Opening, width: int) -> None:
    opened = site()
    session = opened.client.session(index_ids=["idx-docs"])
    session.ask("How long is the payback of the recall of weather masts, and who is hurt?")
    tab = opened.tab(f"/sessions/{session.id}", viewport={"width": width, "height": 900})
    source = tab.get_by_role("complementary").locator("li", has_text="212 weather masts").first
    source.locator("summary").click()
    thumbnail = source.get_by_role("img")
    thumbnail.evaluate("image => image.decode()")
    small = shares(source.locator("rect"), thumbnail)
    large = opened_large(opened, source)
    mark = large.locator("g:target rect")
    image = large.get_by_role("img", name="Image of annual-report-2025.pdf p. 5")
    area = shares(mark, image)
    assert area == pytest.approx(small, abs=0.01)
    expect(mark).to_be_in_viewport()
    fetched = tab.context.request.get(f"{opened.origin}{image.get_attribute('src')}")
    with Image.open(io.BytesIO(fetched.body())) as picture:
        # "Recall" and the paragraph below it are all that is printed around there.
        around = (0, area[1] - 0.01, 1, area[3] + 0.05)
        assert printed(picture, around) == pytest.approx(area, abs=0.01)
    expect(large.get_by_role("region", name="Cited from this page")).to_contain_text("One recall took place")
    assert overflow(large) == 0
    assert violations(large) == []


def test_marks_have_numbers_from_the_top_of_the_page_that_lead_from_the_words_to_their_place(site: Opening) -> None:
    opened = site()
    tab = opened.tab("/sessions/new")
    ask(tab, "What is the revenue by product line?")
    large = opened_large(opened, cited(tab, 0))
    large.set_viewport_size({"width": 390, "height": 800})
    assert overflow(large) == 0
    marks = large.locator(".marks g")
    expect(marks).to_have_count(2)
    tops = [one["y"] for mark in marks.all() if (one := mark.locator("rect").first.bounding_box())]
    assert tops == sorted(tops)
    assert [mark.locator("text").text_content() for mark in marks.all()] == ["1", "2"]
    second = large.get_by_role("listitem").filter(has_text="Public bodies").filter(has=large.get_by_role("link"))
    second.get_by_role("link", name="Mark 2").click()
    expect(large.locator("g:target text")).to_have_text("2")
    large.go_back()
    expect(large.locator("g:target text")).to_have_text("1")


def test_a_passage_whose_place_is_not_known_is_shown_without_a_mark_and_the_page_says_so(site: Opening) -> None:
    report: dict[str, JsonValue] = {"attachment_name": "screenshots/page_3.jpg", "type": "screenshot"}
    opened = site()
    file_id = next(
        source.file_id
        for source in opened.client.session(index_ids=["idx-docs"]).ask("What is the revenue by product line?").sources
        if source.image is not None
    )
    fields: dict[str, JsonValue] = {"attachments": [{**report, "source_id": file_id}], "page_range_start": 3}
    passage: dict[str, JsonValue] = {
        "content": "Without a place",
        "file_name": "annual-report-2025.pdf",
        "static_fields": fields,
    }
    agent = ScriptedAgent(
        ToolCall(call_id="1", name="retrieve", arguments={}),
        ToolResult(call_id="1", name="retrieve", result={"results": [passage]}),
        Text(content="Done."),
    )
    opened = site(agent)
    tab = opened.tab("/sessions/new")
    ask(tab, "Look")
    expect(tab.locator("#status")).to_have_text("Ready")
    source = cited(tab, 0)
    expect(source.locator("svg")).to_have_count(0)
    large = opened_large(opened, source)
    expect(large.locator("svg")).to_have_count(0)
    expect(large.locator("li:target")).to_contain_text("Not marked: the service does not say where it is on the page.")


def source(**metadata: Any) -> Source:
    return Source("words", image=IMAGE, metadata=metadata)


def test_a_mark_leaves_the_letters_some_room_and_stays_on_the_page() -> None:
    boxes = [{"x": 60, "y": 80, "w": 480, "h": 40}, {"x": -5, "y": 780, "w": 700, "h": 100}]
    assert marks_of(source(page_dimensions=PAGE, bounding_boxes=boxes)) == Marks(
        600, 800, (Box(56, 76, 488, 48), Box(0, 776, 600, 24))
    )


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"bounding_boxes": [{"x": 1, "y": 1, "w": 1, "h": 1}]},
        {"page_dimensions": PAGE},
        {"page_dimensions": PAGE, "bounding_boxes": []},
        {"page_dimensions": PAGE, "bounding_boxes": "all of it"},
        {"page_dimensions": PAGE, "bounding_boxes": [None, [1, 2, 3, 4], {"x": 1}]},
        {"page_dimensions": PAGE, "bounding_boxes": [{"x": "1'/><script>", "y": 1, "w": 1, "h": 1}]},
        {"page_dimensions": PAGE, "bounding_boxes": [{"x": float("nan"), "y": 1, "w": 1, "h": 1}]},
        {"page_dimensions": PAGE, "bounding_boxes": [{"x": True, "y": 1, "w": 1, "h": 1}]},
        {"page_dimensions": PAGE, "bounding_boxes": [{"x": 700, "y": 1, "w": 1, "h": 1}]},
        {"page_dimensions": PAGE, "bounding_boxes": [{"x": 10, "y": 10, "w": 0, "h": 5}]},
        {"page_dimensions": {"width": 0, "height": 5}, "bounding_boxes": [{"x": 1, "y": 1, "w": 1, "h": 1}]},
        {"page_dimensions": [600, 800], "bounding_boxes": [{"x": 1, "y": 1, "w": 1, "h": 1}]},
    ],
)
def test_what_is_no_place_on_a_page_is_no_mark(metadata: dict[str, Any]) -> None:
    assert marks_of(source(**metadata)) is None


def test_a_page_is_not_covered_with_marks_without_end() -> None:
    boxes = [{"x": 1, "y": 1, "w": 1, "h": 1}] * 1000
    marks = marks_of(source(page_dimensions=PAGE, bounding_boxes=boxes))
    assert marks is not None
    assert len(marks.boxes) == 50
