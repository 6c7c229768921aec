"""A session is begun with its first message, or is not, and then nothing of the message is lost."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from chat_sessions import LlamaCloudChat, Text
from tests.server.scripted import ScriptedAgent
from tests.web.browser import page_server
from tests.web.conftest import Opening, Site, ask
from tests.wire_server import WireServer

LINES = "\nWhat is the margin?\nAnd how long is the warranty?"


def expect_refused(tab: Page, reason: str) -> None:
    expect(tab.get_by_role("alert")).to_contain_text(reason)
    expect(tab.get_by_role("textbox", name="Message")).to_have_value(LINES)


@pytest.fixture
def without_service(browser: Browser) -> Iterator[Site]:
    with WireServer() as server:
        url = server.url
    with (
        LlamaCloudChat(base_url=url, api_key="k", index_ids=["idx-1", "idx-2"], max_retries=0) as client,
        page_server(client.aio) as served,
    ):
        yield Site(client, served, browser)
        for context in browser.contexts:
            context.close()


def test_without_any_of_several_indexes_it_is_refused(site: Opening) -> None:
    opened = site(indexes={"idx-docs": "Documents", "idx-more": "More of them"})
    tab = opened.tab("/sessions/new")
    opened.seen[-1].expected.add(400)
    tab.get_by_role("checkbox", name="Documents").uncheck()
    ask(tab, LINES)
    expect_refused(tab, "Choose at least one index.")
    expect(tab.get_by_role("checkbox", checked=True)).to_have_count(0)
    assert list(opened.client.list()) == []
    tab.get_by_role("checkbox", name="More of them").check()
    tab.get_by_role("checkbox", name="Documents").check()
    tab.get_by_role("button", name="Send").click()
    expect(tab.get_by_role("article")).to_have_count(1)
    expect(tab.get_by_role("textbox", name="Message")).to_be_focused()


def test_without_any_of_the_client_s_indexes_in_the_box_for_ids_it_is_refused(without_service: Site) -> None:
    tab = without_service.tab("/sessions/new")
    expect(tab.get_by_role("textbox", name="Index id")).to_have_value("idx-1 idx-2")
    tab.get_by_role("textbox", name="Index id").fill(" ")
    ask(tab, LINES)
    expect_refused(tab, "Choose at least one index.")


def test_it_asks_the_only_index_whether_that_is_chosen_or_not(site: Opening) -> None:
    opened = site(ScriptedAgent(Text(content="Yes.")))
    tab = opened.tab("/sessions/new")
    tab.get_by_role("checkbox").uncheck()
    ask(tab, LINES)
    expect(tab.get_by_role("article")).to_contain_text("Yes.")
    assert [summary.index_ids for summary in opened.client.list()] == [["idx-docs"]]


def test_the_first_message_has_the_line_ends_that_were_typed_as_the_next_one_has(site: Opening) -> None:
    agent = ScriptedAgent(Text(content="Yes."))
    tab = site(agent).tab("/sessions/new")
    for count in (1, 2):
        ask(tab, LINES)
        expect(tab.get_by_role("article")).to_have_count(count)
        expect(tab.get_by_role("article").last).to_contain_text("Yes.")
    assert [turn.prompt for turn in agent.turns] == [LINES, LINES]


def test_a_message_of_the_longest_length_is_measured_as_it_was_typed(site: Opening) -> None:
    longest = "a\n" * 500
    agent = ScriptedAgent(Text(content="Yes."))
    tab = site(agent).tab("/sessions/new")
    ask(tab, longest)
    expect(tab.get_by_role("article")).to_contain_text("Yes.")
    assert len(agent.turns) == 1


def test_a_message_that_the_service_could_not_take_stays_and_the_address_leads_to_the_list(
    without_service: Site,
) -> None:
    tab = without_service.tab("/sessions/new")
    without_service.seen[-1].expected.add(502)
    ask(tab, LINES)
    expect_refused(tab, "Check that the service is running and reachable")
    assert tab.url == f"{without_service.origin}/sessions"
    expect(tab.get_by_role("textbox", name="Index id")).to_have_value("idx-1 idx-2")
    tab.goto(tab.url)
    assert tab.url == f"{without_service.origin}/"
