"""A real browser, and the page in a thread beside it."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, sync_playwright

from chat_sessions.session.backend import AsyncBackend
from chat_sessions.web import create_app
from chat_sessions.web.hosting import Listener, serve

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_REQUIRED = "CHAT_SESSIONS_REQUIRE_CHROMIUM"


@dataclass
class Served:
    """A page that is served, and the event loop that does it."""

    listener: Listener
    loop: asyncio.AbstractEventLoop


@contextmanager
def page_server(backend: AsyncBackend, **settings: Any) -> Generator[Served]:
    """Serve the page in a thread."""
    listener = Listener()
    loop = asyncio.new_event_loop()
    app = create_app(backend, token=listener.token, hosts=listener.hosts, **settings)
    listening = threading.Event()
    task = loop.create_task(serve(app, listener, on_listening=listening.set))

    def run() -> None:
        asyncio.set_event_loop(loop)
        # Its end cancels the requests that outlast the server's patience, as `asyncio.run` does.
        with asyncio.Runner(loop_factory=lambda: loop) as runner, suppress(asyncio.CancelledError):
            runner.get_loop().run_until_complete(task)

    thread = threading.Thread(target=run, name="page")
    thread.start()
    try:
        assert listening.wait(20)
        yield Served(listener, loop)
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join(20)


@contextmanager
def chromium() -> Generator[Browser]:
    """Start the browser; one for a module is enough. Skips the test where there is none, unless there has to be one."""
    if CHROMIUM is None:
        if os.environ.get(_REQUIRED):
            raise pytest.UsageError(f"{_REQUIRED} is set, and chromium is not installed")
        pytest.skip("needs Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()


@dataclass
class Watched:
    """What a page did that it must not: errors on its console, requests to other hosts.

    The browser and htmx write a line for an answer that refuses; those of an `expected` status are `refused`.
    """

    expected: set[int] = field(default_factory=set[int])
    refused: list[str] = field(default_factory=list[str])
    errors: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)


def watch(page: Page, listener: Listener) -> Watched:
    """Watch a page."""
    seen = Watched()

    def on_console(message: ConsoleMessage) -> None:
        is_refused = any(re.search(rf"\bstatus (of )?{status}\b", message.text) for status in seen.expected)
        if message.type in ("error", "warning"):
            (seen.refused if is_refused else seen.errors).append(message.text)

    def on_request(request: Request) -> None:
        if not request.url.startswith((f"http://127.0.0.1:{listener.port}/", "data:")):
            seen.elsewhere.append(request.url)

    page.on("console", on_console)
    page.on("pageerror", lambda error: seen.errors.append(str(error)))
    page.on("request", on_request)
    return seen
