"""The page for everybody: any width, light and dark, any direction, keyboard alone."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

from chat_sessions import Text, TextDelta, ToolCall, ToolResult
from tests.server.scripted import Gate, ScriptedAgent
from tests.web.conftest import Opening, ask

LONG = "a" * 300
HEADINGS = "### Heading\n\n###### Deep\n\n# Again\n\n#### And deeper"
ANSWER = f"{HEADINGS}\n\nThis is [a link](https://example.com).\n\n| a | b |\n|---|---|\n| {LONG} | 2 |\n\n`code`"
AGENT = ScriptedAgent(
    ToolCall(call_id="1", name="look", arguments={"where": LONG}),
    ToolResult(call_id="1", name="look", result=[{"text": LONG, "file_name": f"{LONG}.pdf", "page": 1, "score": 1}]),
    Text(content=ANSWER),
)


def violations(page: Page) -> list[str]:
    """What axe-core objects to. It comes by the debugger: the page's own policy lets no other script in."""
    script = resources.files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8")
    page.context.new_cdp_session(page).send("Runtime.evaluate", {"expression": script})
    found = page.evaluate("axe.run()")["violations"]
    return [f"{one['id']}: {one['nodes'][0]['html']}" for one in found]


def overflow(page: Page) -> int:
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


@pytest.mark.parametrize("width", [390, 1280, 2000])
def test_nothing_is_wider_than_the_window(site: Opening, width: int) -> None:
    opened = site(AGENT)
    session = opened.client.session(index_ids=["idx-docs"])
    session.ask(f"{LONG} and more")
    tab = opened.tab(f"/sessions/{session.id}", viewport={"width": width, "height": 800}, color_scheme="dark")
    for summary in tab.locator("summary").all():
        summary.click()
    assert overflow(tab) == 0
    for path in ("/", "/sessions/new", f"/sessions/{session.id}/turns/0"):
        tab.goto(opened.origin + path)
        assert overflow(tab) == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_violation(site: Opening, scheme: str) -> None:
    opened = site(AGENT)
    session = opened.client.session(index_ids=["idx-docs"])
    session.ask("Look")
    tab = opened.tab(f"/sessions/{session.id}", color_scheme=scheme)
    # The page that is not there.
    opened.seen[-1].expected.add(404)
    for path in (f"/sessions/{session.id}", f"/sessions/{session.id}/turns/0", "/", "/sessions/new", "/nowhere"):
        tab.goto(opened.origin + path)
        for summary in tab.locator("summary").all():
            summary.click()
        if tab.get_by_role("button", name="Delete").count():
            tab.get_by_role("button", name="Delete").first.click()
        assert violations(tab) == []


def test_axe_finds_no_violation_in_an_exported_file(site: Opening, tmp_path: Path) -> None:
    opened = site(AGENT)
    session = opened.client.session(index_ids=["idx-docs"])
    session.ask("Look")
    tab = opened.tab(f"/sessions/{session.id}")
    tab.get_by_role("button", name="Export").click()
    with tab.expect_download() as download:
        tab.get_by_role("link", name="HTML").click()
    download.value.save_as(tmp_path / "session.html")
    exported = tab.context.new_page()
    exported.goto((tmp_path / "session.html").as_uri())
    for summary in exported.locator("summary").all():
        summary.click()
    expect(exported.get_by_role("article").get_by_role("heading", level=4)).to_have_text(["Deep", "And deeper"])
    assert violations(exported) == []


def test_a_session_is_begun_and_read_with_the_keyboard_alone(site: Opening) -> None:
    tab = site(ScriptedAgent(Text(content="Yes."))).tab()
    for _ in range(3):
        tab.keyboard.press("Tab")
    tab.keyboard.press("Enter")
    # Before the page has loaded, Enter begins a new line.
    tab.wait_for_url("**/sessions/new")
    expect(tab.get_by_role("textbox", name="Message")).to_be_focused()
    tab.keyboard.type("Line one")
    tab.keyboard.press("Shift+Enter")
    tab.keyboard.type("line two")
    tab.keyboard.press("Enter")
    expect(tab.get_by_role("article")).to_contain_text("Yes.")
    expect(tab.get_by_role("heading", level=2)).to_have_text("Line one\nline two")
    expect(tab.get_by_role("textbox", name="Message")).to_be_focused()


def test_who_stops_a_turn_with_the_keyboard_is_back_in_the_box(site: Opening) -> None:
    gate = Gate()
    tab = site(ScriptedAgent(TextDelta(content="It goes on"), gate)).tab("/sessions/new")
    tab.keyboard.type("Hello")
    tab.keyboard.press("Enter")
    expect(tab.get_by_role("article")).to_contain_text("It goes on")
    # The words are in the page before its script has run.
    expect(tab.get_by_role("textbox", name="Message")).to_be_focused()
    tab.keyboard.press("Tab")
    tab.keyboard.press("Tab")
    expect(tab.get_by_role("button", name="Stop")).to_be_focused()
    tab.keyboard.press("Enter")
    expect(tab.get_by_role("article")).to_contain_text("You stopped this turn")
    expect(tab.get_by_role("textbox", name="Message")).to_be_focused()
    gate.open()


def test_the_focus_stays_where_a_user_moved_it_before_the_script_had_loaded(site: Opening) -> None:
    tab = site(ScriptedAgent(Text(content="Yes."))).tab("/sessions/new")
    held: list[Route] = []
    tab.route("**/page.js*", lambda route: held.append(route))
    tab.get_by_role("textbox", name="Message").fill("Hello")
    tab.get_by_role("button", name="Send").click(no_wait_after=True)
    rename = tab.get_by_role("button", name="Rename")
    rename.focus()
    held[0].continue_()
    tab.wait_for_load_state()
    expect(rename).to_be_focused()


def test_each_block_has_the_direction_of_its_own_text(site: Opening) -> None:
    tab = site(ScriptedAgent(Text(content="שלום\n\nHello\n\n- שלום\n\n- Hello"))).tab("/sessions/new")
    ask(tab, "שלום")
    expect(tab.locator("#status")).to_have_text("Ready")
    directions = "all => all.map(one => getComputedStyle(one).direction)"
    assert tab.locator(".words p").evaluate_all(directions) == ["rtl", "ltr", "rtl", "rtl"]
    assert tab.locator(".words ul").evaluate("one => getComputedStyle(one).paddingRight") == "40px"
    assert tab.get_by_role("heading", level=2).evaluate("one => getComputedStyle(one).direction") == "rtl"


def test_nothing_moves_for_who_asks_for_that(site: Opening) -> None:
    tab = site(ScriptedAgent(Text(content="Yes."))).tab("/sessions/new", reduced_motion="reduce")
    ask(tab, "Hello")
    expect(tab.get_by_role("article")).to_contain_text("Yes.")
    assert tab.evaluate("document.getAnimations().length") == 0
