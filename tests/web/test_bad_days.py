"""A service that breaks: the page says what is true, and what to do."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from chat_sessions import Event, LlamaCloudChat, Stop, Text, TextDelta, Timeouts, Usage, UserInput
from chat_sessions.core.events import dump_event
from tests.web.browser import page_server
from tests.web.conftest import Site, ask
from tests.wire_server import Connection, Request, WireServer

SUMMARY = {"session_id": "ses-1", "last_updated_at": "2026-01-02T03:04:05Z", "index_ids": ["idx-1"]}


class Service:
    """A service whose stream breaks after "The answer begins", once `shown`; then its session is `history`.

    It `takes` so many seconds for a new session, unless it is asked for another meanwhile.
    """

    takes = 0.0
    breaks_sending = False

    def __init__(self) -> None:
        self.shown = threading.Event()
        self.looked = threading.Event()
        self.history: list[Event] | None = []
        self.created = 0
        self.created_again = threading.Event()

    def create(self, _request: Request, connection: Connection) -> None:
        self.created += 1
        if self.created > 1:
            self.created_again.set()
        self.created_again.wait(self.takes)
        connection.respond(200, SUMMARY)

    def stream(self, _request: Request, connection: Connection) -> None:
        if self.breaks_sending:
            self.shown.set()
            connection.reset()
            return
        connection.start_stream()
        connection.events(TextDelta(content="The answer begins"))
        self.shown.wait(30)
        connection.reset()

    def summary(self, _request: Request, connection: Connection) -> None:
        if self.history is None:
            connection.reset()
        else:
            connection.respond(200, SUMMARY)

    def session(self, _request: Request, connection: Connection) -> None:
        if self.shown.is_set():
            self.looked.wait(30)
        if self.history is None:
            connection.reset()
        else:
            connection.respond(200, SUMMARY | {"events": [dump_event(event) for event in self.history]})


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def recovery() -> float:
    return 30


@pytest.fixture
def site(browser: Browser, service: Service, recovery: float) -> Iterator[Site]:
    with WireServer() as server:
        server.on("POST", "/messages/stream", service.stream)
        server.on("POST", "/chat", service.create)
        server.on("GET", "/summary", service.summary)
        server.on("GET", "/chat/ses-1", service.session)
        timeouts = Timeouts(recovery=recovery)
        with (
            LlamaCloudChat(
                base_url=server.url, api_key="k", index_ids=["idx-1"], timeouts=timeouts, max_retries=0
            ) as client,
            page_server(client.aio, look_every=0.1) as served,
        ):
            yield Site(client, served, browser)
            for context in browser.contexts:
                context.close()


def test_a_look_up_after_a_broken_stream_is_shown_as_such(site: Site, service: Service) -> None:
    tab = site.tab("/sessions/new")
    ask(tab, "hello")
    expect(tab.get_by_role("article")).to_contain_text("The answer begins")
    service.history = [
        UserInput(content="hello"),
        Text(content="The answer begins and ends."),
        Stop(usage=Usage(), is_error=False),
    ]
    service.shown.set()
    expect(tab.get_by_role("article")).to_contain_text("Looking up in the session")
    service.looked.set()
    expect(tab.get_by_role("article")).to_contain_text("The answer begins and ends.")
    expect(tab.get_by_role("alert")).to_have_count(0)


def test_a_look_up_of_a_message_whose_sending_broke_is_shown_as_such(site: Site, service: Service) -> None:
    tab = site.tab("/sessions/ses-1")
    service.breaks_sending = True
    ask(tab, "hello")
    expect(tab.get_by_role("article")).to_contain_text("Looking up in the session")
    service.history = [UserInput(content="hello"), Text(content="Yes."), Stop(usage=Usage(), is_error=False)]
    service.looked.set()
    expect(tab.get_by_role("article")).to_contain_text("Yes.")


def test_a_turn_that_runs_can_be_stopped_though_the_session_could_not_be_read_before(
    site: Site, service: Service
) -> None:
    tab = site.tab("/sessions/new")
    ask(tab, "hello")
    expect(tab.get_by_role("article")).to_contain_text("The answer begins")
    end = Stop(usage=Usage(), is_error=False)
    service.history = [UserInput(content="hello"), Text(content="The answer begins and ends."), end]
    service.looked.set()
    service.shown.set()
    expect(tab.locator("#status")).to_have_text("Ready")
    service.shown.clear()
    service.history = None
    expect(tab.locator("#status")).to_contain_text("The session cannot be read")
    ask(tab, "And now?")
    expect(tab.get_by_role("article").last).to_have_text(re.compile("The answer begins(?! and)"))
    expect(tab.locator("#status")).to_have_text("Answering…")
    tab.get_by_role("button", name="Stop").click()
    expect(tab.get_by_role("article").last).to_contain_text("You stopped this turn")
    service.shown.set()


@pytest.mark.parametrize("recovery", [0.5])
def test_a_page_that_is_open_says_what_became_of_a_turn_when_the_service_is_back(
    site: Site, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    tab = site.tab("/sessions/new")
    ask(tab, "hello")
    expect(tab.get_by_role("article")).to_contain_text("The answer begins")
    service.history = None
    service.looked.set()
    service.shown.set()
    expect(tab.get_by_role("alert")).to_contain_text("TurnInterrupted")
    monkeypatch.setitem(SUMMARY, "last_updated_at", "2026-01-02T03:05:00Z")
    end = Stop(usage=Usage(), is_error=False)
    service.history = [UserInput(content="hello"), Text(content="The answer begins and ends."), end]
    expect(tab.get_by_role("article")).to_contain_text("The answer begins and ends.")
    expect(tab.get_by_role("alert")).to_have_count(0)


@pytest.mark.parametrize("recovery", [0.5])
def test_a_service_that_dies_in_mid_answer_leaves_the_words_and_the_truth(site: Site, service: Service) -> None:
    tab = site.tab("/sessions/new")
    ask(tab, "hello")
    expect(tab.get_by_role("article")).to_contain_text("The answer begins")
    service.history = None
    service.looked.set()
    service.shown.set()
    alert = tab.get_by_role("article").get_by_role("alert")
    expect(alert).to_contain_text(re.compile("^TurnInterrupted .*could not be read"))
    expect(alert).to_contain_text("Reload the session in a while")
    expect(tab.get_by_role("article")).to_contain_text("The answer begins")
    tab.reload()
    expect(tab.get_by_role("heading", level=1)).to_have_text("The service did not answer as it should")
    expect(tab.get_by_text("reachable, then reload the page.")).to_be_visible()


def test_a_session_is_begun_once_however_often_the_button_is_pressed_while_the_service_takes_its_time(
    site: Site, service: Service
) -> None:
    service.takes = 2.0
    tab = site.tab("/sessions/new")
    tab.get_by_role("textbox", name="Message").fill("hello")
    tab.evaluate("() => void setInterval(() => document.querySelector('.composer .primary').click(), 50)")
    expect(tab.get_by_role("article")).to_contain_text("The answer begins")
    assert service.created == 1
    service.history = None
    service.looked.set()
    service.shown.set()


def test_a_page_that_is_open_says_when_the_session_cannot_be_read_and_when_it_can_again(
    site: Site, service: Service
) -> None:
    service.history = [UserInput(content="hello"), Text(content="Yes."), Stop(usage=Usage(), is_error=False)]
    tab = site.tab("/sessions/ses-1")
    expect(tab.get_by_role("article")).to_contain_text("Yes.")
    told, service.history = service.history, None
    expect(tab.locator("#status")).to_contain_text("The session cannot be read")
    expect(tab.get_by_role("article")).to_contain_text("Yes.")
    service.history = told
    expect(tab.locator("#status")).to_have_text("")
