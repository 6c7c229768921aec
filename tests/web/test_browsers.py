"""Tabs and browsers that come and go, and those that were never let in."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, Route, expect

from chat_sessions import Text, TextDelta, ToolCall, ToolResult
from tests.server.scripted import Gate, ScriptedAgent
from tests.web.browser import watch
from tests.web.conftest import Opening, ask
from tests.web.test_looks import overflow, violations

FEED = "**/feed?*"


def test_a_turn_goes_on_when_the_browser_is_closed_and_another_shows_it(site: Opening) -> None:
    gate = Gate()
    agent = ScriptedAgent(
        ToolCall(call_id="1", name="look", arguments={}),
        TextDelta(content="It is"),
        gate,
        ToolResult(call_id="1", name="look", result="seen"),
        TextDelta(content=" done."),
    )
    opened = site(agent)
    first = opened.tab("/sessions/new")
    ask(first, "Do it")
    expect(first.get_by_role("article")).to_contain_text("It is")
    path = first.url.removeprefix(opened.origin)
    first.context.close()
    second = opened.tab(path)
    expect(second.get_by_role("article")).to_contain_text("It is")
    expect(second.locator("details.run")).to_contain_text("look running")
    expect(second.get_by_role("button", name="Stop")).to_be_enabled()
    assert not gate.left.is_set()
    gate.open()
    expect(second.get_by_role("article")).to_contain_text("It is done.")
    expect(second.locator("details.run")).to_contain_text("look completed")
    assert len(agent.turns) == 1


def test_a_second_tab_needs_no_token_and_a_browser_without_it_sees_nothing(site: Opening) -> None:
    opened = site(ScriptedAgent(Text(content="A secret.")))
    first = opened.tab("/sessions/new")
    ask(first, "Tell me")
    expect(first.get_by_role("article")).to_contain_text("A secret.")
    assert "token" not in first.url
    second = first.context.new_page()
    second.goto(first.url)
    expect(second.get_by_role("article")).to_contain_text("A secret.")
    stranger = opened.browser.new_context().new_page()
    for url in (first.url, f"{opened.origin}/", f"{opened.origin}/?token=wrong", f"{first.url}/export/json"):
        response = stranger.goto(url)
        assert response is not None
        assert response.status == 401
        expect(stranger.locator("body")).to_have_text(re.compile("needs its token"))


def test_a_message_is_sent_once_however_often_its_button_is_pressed(site: Opening) -> None:
    agent = ScriptedAgent(Text(content="Yes."))
    tab = site(agent).tab("/sessions/new")
    ask(tab, "First")
    expect(tab.locator("#status")).to_have_text("Ready")
    tab.wait_for_load_state()
    tab.get_by_role("textbox", name="Message").fill("Once")
    tab.evaluate(
        """() => {
            const send = document.querySelector(".composer .primary");
            send.click();
            document.getElementById("message").value += ", and more";
            send.click();
        }"""
    )
    # What was typed meanwhile is the next message.
    expect(tab.get_by_role("textbox", name="Message")).to_have_value(", and more")
    expect(tab.get_by_role("article").nth(1)).to_contain_text("Yes.")
    expect(tab.locator("#status")).to_have_text("Ready")
    assert [turn.prompt for turn in agent.turns] == ["First", "Once"]


def test_what_another_browser_deletes_stays_to_be_read_where_it_is_open_and_is_said_to_be_gone(site: Opening) -> None:
    gate = Gate()
    opened = site(ScriptedAgent(TextDelta(content="Read me."), gate))
    reader = opened.tab("/sessions/new")
    ask(reader, "Hello")
    expect(reader.get_by_role("article")).to_contain_text("Read me.")
    other = opened.tab(reader.url.removeprefix(opened.origin))
    for seen in opened.seen:
        seen.expected.add(404)
    other.get_by_role("button", name="Delete").click()
    other.get_by_role("button", name="Delete it").click()
    expect(other.get_by_role("heading", level=1)).to_have_text("Sessions")
    expect(reader.locator("#status")).to_contain_text("It may have been deleted.")
    expect(reader.get_by_role("article")).to_contain_text("Read me.")
    expect(reader.get_by_role("article")).to_contain_text("You stopped this turn")
    ask(reader, "And now?")
    expect(reader.locator("#status")).to_contain_text("It may have been deleted.")
    expect(reader.get_by_role("textbox", name="Message")).to_have_value("And now?")
    gate.open()


def test_a_message_to_a_session_that_another_program_has_deleted_stays_in_its_box(site: Opening) -> None:
    opened = site(ScriptedAgent(Text(content="Seen.")))
    session = opened.client.session(index_ids=["idx-docs"])
    session.ask("Hello")
    tab = opened.tab(f"/sessions/{session.id}")
    opened.seen[-1].expected.add(404)
    assert session.id is not None
    opened.client.delete(session.id)
    expect(tab.locator("#status")).to_contain_text("It may have been deleted.")
    ask(tab, "And now?")
    expect(tab.locator("#status")).to_contain_text("It may have been deleted.")
    expect(tab.get_by_role("textbox", name="Message")).to_have_value("And now?")
    expect(tab.get_by_role("article")).to_have_count(1)


def test_the_title_of_the_tab_follows_that_of_the_session(site: Opening) -> None:
    tab = site(ScriptedAgent(Text(content="Yes."))).tab("/sessions/new")
    ask(tab, "What grew?")
    expect(tab.locator("#title")).to_have_text("What grew?")
    expect(tab).to_have_title("What grew? · chat-sessions")


def is_hidden(tab: Page, value: bool) -> None:
    """Let a tab believe that it is in the background; the headless browser shows all of them."""
    tab.evaluate(
        """hidden => {
            Object.defineProperty(document, "hidden", {value: hidden, configurable: true});
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        value,
    )


def test_more_tabs_can_be_opened_in_the_background_than_a_browser_has_connections(site: Opening) -> None:
    opened = site(ScriptedAgent(Text(content="Seen.")))
    session = opened.client.session(index_ids=["idx-docs"])
    session.ask("Hello")
    first = opened.tab()
    first.context.add_init_script(
        'Object.defineProperty(document, "hidden", { value: location.hash === "#hidden", configurable: true });'
    )
    address = f"{opened.origin}/sessions/{session.id}"
    others = []
    for _ in range(8):
        others.append(first.context.new_page())
        others[-1].goto(f"{address}#hidden")
    first.goto(address)
    expect(first.get_by_role("article")).to_have_count(1)
    session.ask("And now?")
    expect(first.get_by_role("article")).to_have_count(2)
    expect(others[-1].get_by_role("article")).to_have_count(1)
    is_hidden(others[-1], False)
    expect(others[-1].get_by_role("article")).to_have_count(2)


def test_more_tabs_can_be_open_than_a_browser_has_connections_and_each_catches_up_when_it_is_shown(
    site: Opening,
) -> None:
    opened = site(ScriptedAgent(Text(content="Seen.")))
    session = opened.client.session(index_ids=["idx-docs"])
    session.ask("Hello")
    first = opened.tab(f"/sessions/{session.id}")
    for _ in range(8):
        is_hidden(first, True)
        another = first.context.new_page()
        another.goto(first.url)
        expect(another.get_by_role("article")).to_have_count(1)
        is_hidden(another, True)
    session.ask("And now?")
    is_hidden(first, False)
    expect(first.get_by_role("article")).to_have_count(2)


def test_a_tab_that_was_opened_with_an_older_token_says_what_to_do(site: Opening) -> None:
    opened = site(ScriptedAgent(Text(content="Yes.")))
    tab = opened.tab("/sessions/new")
    with tab.expect_response(FEED):
        ask(tab, "Hello")
    expect(tab.locator("#status")).to_have_text("Ready")
    opened.seen[-1].expected.add(401)
    tab.context.clear_cookies()
    ask(tab, "Again")
    expect(tab.locator("#status")).to_contain_text("This page needs its token")
    expect(tab.get_by_role("textbox", name="Message")).to_have_value("Again")
    is_hidden(tab, True)
    is_hidden(tab, False)
    expect(tab.locator("#status")).to_contain_text("Open the address that was printed then.")


@pytest.mark.parametrize("fails", [lambda route: route.abort(), lambda route: route.fulfill(status=503)])
@pytest.mark.parametrize("was_connected", [False, True])
def test_a_tab_that_cannot_connect_says_so_until_it_can_and_then_shows_what_came(
    site: Opening, was_connected: bool, fails: Callable[[Route], None]
) -> None:
    opened = site(ScriptedAgent(Text(content="Seen.")))
    session = opened.client.session(index_ids=["idx-docs"])
    session.ask("Hello")
    tab = opened.tab()
    if was_connected:
        with tab.expect_response(FEED):
            tab.goto(f"{opened.origin}/sessions/{session.id}")
        is_hidden(tab, True)
        tab.context.route(FEED, fails)
        is_hidden(tab, False)
    else:
        tab.context.route(FEED, fails)
        tab.goto(f"{opened.origin}/sessions/{session.id}")
    expect(tab.locator("#status")).to_contain_text("lost its connection")
    tab.context.unroute(FEED)
    expect(tab.locator("#status")).to_be_empty()
    session.ask("And now?")
    expect(tab.get_by_role("article")).to_have_count(2)
    # The browser writes a line for each connection that fails.
    assert opened.seen[-1].errors != []
    opened.seen[-1].errors.clear()


def test_a_form_of_another_site_is_refused_and_its_links_arrive_without_the_cookie(site: Opening) -> None:
    opened = site(ScriptedAgent(Text(content="Yes.")))
    mine = opened.tab("/sessions/new")
    ask(mine, "Mine")
    expect(mine.get_by_role("article")).to_contain_text("Yes.")
    foreign = mine.context.new_page()
    # The same machine under another name, as a page of another site is to a browser.
    foreign.route("http://evil.test/", lambda route: route.fulfill(content_type="text/html", body=FOREIGN))
    for control, status in (("Delete", 403), ("Ask", 403), ("Look", 401)):
        foreign.goto("http://evil.test/")
        foreign.evaluate("url => document.querySelectorAll('[data-to]').forEach(one => point(one, url))", mine.url)
        with foreign.expect_navigation() as navigation:
            foreign.get_by_text(control).click()
        assert navigation.value is not None
        assert navigation.value.status == status, control
    assert len(list(opened.client.list())) == 1
    mine.reload()
    expect(mine.get_by_role("article")).to_have_count(1)


FOREIGN = """<!doctype html>
<script>function point(one, url) { one[one.dataset.as] = url + one.dataset.to; }</script>
<form method="post" data-as="action" data-to="/delete"><button>Delete</button></form>
<form method="post" data-as="action" data-to="/turns"><input name="message" value="x"><button>Ask</button></form>
<a data-as="href" data-to="">Look</a>"""


def test_the_image_of_a_page_opens_large(site: Opening) -> None:
    opened = site()
    tab = opened.tab("/sessions/new")
    ask(tab, "What is the revenue by product line?")
    source = tab.get_by_role("complementary").locator("li", has=tab.locator("img")).first
    source.locator("summary").click()
    tab.context.on("page", lambda popup: opened.seen.append(watch(popup, opened.listener)))
    with tab.context.expect_page() as popup:
        source.get_by_role("link").click()
    large = popup.value
    image = large.get_by_role("img", name="Image of annual-report-2025.pdf p. 4")
    image.evaluate("image => image.decode()")
    assert image.evaluate("image => image.clientHeight") > 1000
    expect(large.get_by_role("region", name="Cited from this page")).to_contain_text("River gauges")
    assert overflow(large) == 0
    assert violations(large) == []
