"""Images of pages, prompts and results: the page fetches nothing but images, and shows none of other hosts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from chat_sessions import (
    APIConnectionError,
    Event,
    LlamaCloudChat,
    ProtocolError,
    Stop,
    Text,
    ToolCall,
    ToolResult,
    Usage,
    UserInput,
)
from chat_sessions.core.events import dump_event
from chat_sessions.web import images
from chat_sessions.web.images import fetch_image, media_type_of
from tests.web.browser import page_server
from tests.web.conftest import Site
from tests.web.test_looks import violations
from tests.wire_server import WireServer

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 100


@pytest.fixture
def server() -> Iterator[WireServer]:
    with WireServer() as started:
        yield started


@pytest.mark.parametrize(
    ("content", "media_type"),
    [
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"GIF89a", "image/gif"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
    ],
)
async def test_an_image_is_known_by_its_first_bytes(server: WireServer, content: bytes, media_type: str) -> None:
    server.on("GET", "/page", lambda _request, connection: connection.respond(200, content))
    assert media_type_of(await fetch_image(f"{server.url}/page")) == media_type


@pytest.mark.parametrize("content", [b"<svg xmlns='http://www.w3.org/2000/svg' onload='x()'/>", b"<html>", b""])
async def test_what_is_no_image_is_refused(server: WireServer, content: bytes) -> None:
    server.on("GET", "/page", lambda _request, connection: connection.respond(200, content))
    with pytest.raises(ProtocolError, match="not a PNG"):
        await fetch_image(f"{server.url}/page")


async def test_an_image_that_is_too_large_is_refused(server: WireServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "_LARGEST", 50)
    server.on("GET", "/page", lambda _request, connection: connection.respond(200, PNG))
    with pytest.raises(ProtocolError, match="larger than 50 bytes"):
        await fetch_image(f"{server.url}/page")


async def test_an_error_does_not_quote_the_link_which_works_without_a_key(server: WireServer) -> None:
    server.on("GET", "/page", lambda _request, connection: connection.respond(403, {}))
    for url in (f"{server.url}/page?signature=secret", f"{server.url}/gone?signature=secret", "http://[?secret"):
        with pytest.raises(APIConnectionError) as caught:
            await fetch_image(url)
        assert "secret" not in str(caught.value)


async def test_no_proxy_of_the_environment_is_asked_for_this_machine(
    server: WireServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    server.on("GET", "/page", lambda _request, connection: connection.respond(200, PNG))
    assert await fetch_image(f"{server.url}/page") == PNG


# One dot, as small as a PNG is.
DOT = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJg"
    "gg=="
)
ELSEWHERE = "https://pictures.example/chart.png"
SCRIPT = "data:image/svg+xml;base64,PHN2ZyBvbmxvYWQ9ImFsZXJ0KDEpIi8+"
PICTURED: list[Event] = [
    UserInput(content="", image_urls=(DOT, ELSEWHERE, SCRIPT, "javascript:alert(1)")),
    ToolCall(call_id="1", name="view", arguments={}),
    ToolResult(call_id="1", name="view", result="seen", image_urls=(DOT,)),
    Text(content="A dot."),
    Stop(usage=Usage(cost=0.0123), is_error=False),
]


def check_pictures(page: Page) -> None:
    expect(page.get_by_role("heading", level=2)).to_have_text("(an image without words)")
    page.get_by_text("view completed").click()
    shown = page.locator("main img")
    assert shown.evaluate_all("all => all.map(one => [one.alt, one.naturalWidth])") == [
        ["Image 1 of message 1", 1],
        ["Image 1 from view", 1],
    ]
    expect(page.get_by_role("link", name="Image elsewhere")).to_have_attribute("href", ELSEWHERE)
    expect(page.get_by_role("article")).to_contain_text("$0.0123")
    assert violations(page) == []


def test_images_of_a_prompt_and_of_a_result_are_shown_and_exported(
    server: WireServer, browser: Browser, tmp_path: Path
) -> None:
    session = {"session_id": "ses-1", "last_updated_at": "2026-01-02T03:04:05Z", "index_ids": ["idx-1"]}
    events = [dump_event(event) for event in PICTURED]
    server.on("GET", "/chat/ses-1", lambda _request, connection: connection.respond(200, {**session, "events": events}))
    with (
        LlamaCloudChat(base_url=server.url, api_key="k", index_ids=["idx-1"]) as client,
        page_server(client.aio) as served,
    ):
        opened = Site(client, served, browser)
        tab = opened.tab("/sessions/ses-1")
        check_pictures(tab)
        exports: dict[str, Path] = {}
        for name in ("HTML", "JSON", "Markdown"):
            tab.get_by_role("button", name="Export").click()
            with tab.expect_download() as download:
                tab.get_by_role("link", name=name).click()
            exports[name] = tmp_path / download.value.suggested_filename
            download.value.save_as(exports[name])
            tab.keyboard.press("Escape")
        tab.goto(f"{opened.origin}/sessions/ses-1/turns/0")
        expect(tab.get_by_text("(an image without words)")).to_be_visible()
        kept = tab.context.new_page()
        kept.goto(exports["HTML"].as_uri())
        check_pictures(kept)
        assert DOT in exports["JSON"].read_text("utf-8")
        markdown = exports["Markdown"].read_text("utf-8")
        assert f"Image: <{ELSEWHERE}>" in markdown
        assert len(re.findall("Images, which the exports as HTML and JSON hold: 1", markdown)) == 2
        assert (opened.seen[0].errors, opened.seen[0].elsewhere) == ([], [])
        tab.context.close()
