"""One browser for a module, and a service whose agent the test steers."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import ExitStack
from typing import Protocol

import pytest
from playwright.sync_api import Browser, Page, expect

from chat_sessions import LlamaCloudChat, LocalServer, Timeouts
from tests.server.scripted import ScriptedAgent
from tests.web.browser import Served, Watched, chromium, page_server, watch

expect.set_options(timeout=30_000)


class Site:
    """The page over a service, and a browser's tab that is open on it."""

    def __init__(self, client: LlamaCloudChat, served: Served, browser: Browser) -> None:
        self.client = client
        self.listener = served.listener
        self.loop = served.loop
        self.browser = browser
        self.seen: list[Watched] = []

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.listener.port}"

    def tab(self, path: str = "/", **settings: object) -> Page:
        """Open the page in a new browser profile."""
        page = self.browser.new_context(**settings).new_page()  # type: ignore[arg-type]
        self.seen.append(watch(page, self.listener))
        page.goto(f"{self.origin}{path}{'&' if '?' in path else '?'}token={self.listener.token}")
        return page


def ask(page: Page, prompt: str) -> None:
    """Send a message from the page that is open, once its script has run."""
    page.wait_for_load_state()
    page.get_by_role("textbox", name="Message").fill(prompt)
    page.get_by_role("button", name="Send").click()


class Opening(Protocol):
    """Opens a site whose service has this agent."""

    def __call__(self, agent: ScriptedAgent | None = None, **settings: object) -> Site: ...


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture
def site(browser: Browser) -> Generator[Opening]:
    with ExitStack() as stack:
        opened: list[Site] = []

        def start(agent: ScriptedAgent | None = None, **settings: object) -> Site:
            timeouts = Timeouts(recovery=10)
            server = stack.enter_context(LocalServer(indexes={"idx-docs": "examples/documents"}, agent=agent))
            client = stack.enter_context(server.client(timeouts=timeouts, max_retries=0))
            served = stack.enter_context(
                page_server(client.aio, **{"indexes": {"idx-docs": "examples/documents"}, "look_every": 0.1} | settings)
            )
            opened.append(Site(client, served, browser))
            return opened[-1]

        yield start
        for context in browser.contexts:
            context.close()
        for one in opened:
            assert [error for seen in one.seen for error in seen.errors] == []
            assert [url for seen in one.seen for url in seen.elsewhere] == []
