"""A list of 1,000 sessions is read as far as it is looked at."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, expect

from chat_sessions import LlamaCloudChat
from tests.web.browser import page_server
from tests.web.conftest import Site
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


@pytest.fixture
def service() -> Iterator[WireServer]:
    with WireServer() as server:
        server.on("GET", "/chat", answer)
        yield server


@pytest.fixture
def site(browser: Browser, service: WireServer) -> Iterator[Site]:
    with LlamaCloudChat(base_url=service.url, api_key="k") as client, page_server(client.aio) as served:
        yield Site(client, served, browser)
        for context in browser.contexts:
            context.close()


def test_one_page_is_shown_at_a_time_and_back_goes_back(site: Site, service: WireServer) -> None:
    tab = site.tab()
    rows = tab.get_by_role("region", name="Sessions").get_by_role("listitem")
    expect(rows).to_have_count(50)
    assert len(service.requests) <= 2
    tab.get_by_role("link", name="Older").click()
    expect(rows.first).to_contain_text("Session number 50")
    tab.go_back()
    expect(rows.first).to_contain_text("Session number 0")
    tab.go_forward()
    expect(rows.first).to_contain_text("Session number 50")


def test_a_search_reaches_the_last_of_them_and_has_an_address(site: Site) -> None:
    tab = site.tab()
    tab.get_by_role("searchbox").fill("NUMBER 999")
    rows = tab.get_by_role("region", name="Sessions").get_by_role("listitem")
    expect(rows).to_have_count(1)
    expect(tab).to_have_url(f"{site.origin}/?q=NUMBER+999")
    tab.goto(f"{site.origin}/?q=number+99&number=1")
    expect(rows).to_have_count(11)
