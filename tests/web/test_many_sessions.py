"""A list of 1,000 sessions is read as far as it is looked at."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, expect

from chat_sessions import Event, LlamaCloudChat, Stop, Text, TextDelta, Usage, UserInput
from chat_sessions.core.events import dump_event
from tests.web.browser import page_server
from tests.web.conftest import Site, ask
from tests.wire_server import Connection, Request, WireServer

TITLES = [f"Session number {n}" for n in range(1000)]


def answer(request: Request, connection: Connection) -> None:
    query = parse_qs(urlsplit(request.target).query)
    start, size = int(query.get("page_token", ["0"])[0]), int(query["page_size"][0])
    items = [
        {"session_id": f"ses-{n}", "last_updated_at": "2026-01-02T03:04:05Z", "generated_title": TITLES[n]}
        for n in range(start, min(start + size, 1000))
    ]
    end = start + len(items)
    connection.respond(200, {"items": items, "next_page_token": str(end) if end < 1000 else None})


def one(request: Request, connection: Connection) -> None:
    number = int(request.target.rpartition("-")[2].partition("?")[0])
    stop = Stop(usage=Usage(), is_error=number == 1, error="no" if number == 1 else None)
    told: list[Event] = [UserInput(content="a"), Text(content="b"), *([] if number == 2 else [stop])]
    events = [dump_event(event) for event in told * (number == 0) + told]
    connection.respond(
        200, {"session_id": f"ses-{number}", "last_updated_at": "2026-01-02T03:04:05Z", "events": events}
    )


@pytest.fixture
def service() -> Iterator[WireServer]:
    with WireServer() as server:
        server.on("GET", "/chat", answer)
        for number in range(1000):
            server.on("GET", f"/ses-{number}", one)
        server.on("GET", "/ses-3", lambda _request, connection: connection.respond(500, {}))
        yield server


def asked(service: WireServer, words: str) -> list[str]:
    return [request.target for request in service.requests if words in request.target]


@pytest.fixture
def site(browser: Browser, service: WireServer) -> Iterator[Site]:
    with (
        LlamaCloudChat(base_url=service.url, api_key="k", index_ids=["idx-1"]) as client,
        page_server(client.aio) as served,
    ):
        yield Site(client, served, browser)
        for context in browser.contexts:
            context.close()


def test_one_page_is_shown_at_a_time_and_back_goes_back(site: Site, service: WireServer) -> None:
    tab = site.tab()
    rows = tab.get_by_role("region", name="Sessions").get_by_role("listitem")
    expect(rows).to_have_count(50)
    # The order is the service's; what each line shows is when the session was used last.
    expect(rows.first).to_contain_text("Updated 2026-01-0")
    assert len(asked(service, "page_size")) <= 2
    tab.get_by_role("link", name="Next").click()
    expect(rows.first).to_contain_text("Session number 50")
    tab.go_back()
    expect(rows.first).to_contain_text("Session number 0")
    tab.go_forward()
    expect(rows.first).to_contain_text("Session number 50")


def test_the_turns_and_the_last_state_are_read_of_the_sessions_that_are_in_view(
    site: Site, service: WireServer
) -> None:
    tab = site.tab(viewport={"width": 1280, "height": 700})
    rows = tab.get_by_role("region", name="Sessions").get_by_role("listitem")
    for number, words in {0: "2 turns", 1: "1 turn failed", 2: "1 turn not ended", 4: "1 turn"}.items():
        expect(rows.nth(number)).to_contain_text(words)
    expect(rows.nth(3)).not_to_contain_text("turn")
    expect(rows.last).not_to_contain_text("turn")
    assert len(service.requests) < 25
    rows.last.scroll_into_view_if_needed()
    expect(rows.last).to_contain_text("1 turn")
    before = asked(service, "/ses-0")
    tab.reload()
    expect(rows.first).to_contain_text("2 turns")
    assert asked(service, "/ses-0") == before
    assert site.seen[-1].errors == []


def test_a_page_past_the_end_is_the_last_one(site: Site) -> None:
    tab = site.tab("/?number=99")
    rows = tab.get_by_role("region", name="Sessions").get_by_role("listitem")
    expect(rows.last).to_contain_text("Session number 999")
    expect(rows).to_have_count(50)
    expect(tab.get_by_role("navigation", name="Pages")).to_contain_text("Page 20")
    expect(tab.get_by_role("link", name="Next")).to_have_count(0)
    tab.get_by_role("link", name="Previous").click()
    expect(rows.last).to_contain_text("Session number 949")
    tab.goto(f"{site.origin}/?q=number+99&number=9")
    expect(rows).to_have_count(11)


def test_a_deletion_returns_to_its_page_and_search(site: Site, service: WireServer) -> None:
    service.on("DELETE", "/ses-60", lambda _request, connection: connection.respond(204, None))
    for address, name in (("/?number=2", "Session number 60"), ("/?q=ses-&number=2", "Session number 60")):
        tab = site.tab(address)
        tab.get_by_role("button", name=f"Delete {name}").click()
        with tab.expect_navigation():
            tab.get_by_role("button", name="Delete it").click()
        assert tab.url == f"{site.origin}{address}"
    assert [request.target.rpartition("/")[2] for request in service.requests if request.method == "DELETE"] == [
        "ses-60",
        "ses-60",
    ]


def test_10_000_deltas_change_the_page_in_a_few_hundred_steps(site: Site, service: WireServer) -> None:
    def stream(_request: Request, connection: Connection) -> None:
        connection.start_stream()
        for number in range(10_000):
            end = "\n\n" if number % 50 == 49 else " "
            connection.events(TextDelta(content=f"word{number}{end}"))
        connection.events(Stop(usage=Usage(), is_error=False))

    service.on("POST", "/messages/stream", stream)
    tab = site.tab("/sessions/ses-0")
    tab.evaluate(
        """() => {
            window.steps = 0;
            new MutationObserver(() => { window.steps++; })
                .observe(document.getElementById("turns"), {childList: true, subtree: true, characterData: true});
        }"""
    )
    ask(tab, "Tell me")
    expect(tab.get_by_role("article").last).to_contain_text("word9999", timeout=60_000)
    assert 1 < tab.evaluate("window.steps") < 500
    assert len(set(re.findall(r"word\d+", tab.get_by_role("article").last.inner_text()))) == 10_000


def test_a_search_reaches_the_last_of_them_and_has_an_address(site: Site) -> None:
    tab = site.tab()
    tab.get_by_role("searchbox").fill("NUMBER 999")
    rows = tab.get_by_role("region", name="Sessions").get_by_role("listitem")
    expect(rows).to_have_count(1)
    expect(tab).to_have_url(f"{site.origin}/?q=NUMBER+999")
    tab.goto(f"{site.origin}/?q=number+99&number=1")
    expect(rows).to_have_count(11)
