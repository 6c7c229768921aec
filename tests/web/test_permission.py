"""Actions that an agent may take only with permission, on the page."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future

from playwright.sync_api import Locator, Page, expect

from chat_sessions import Session, Text
from chat_sessions.openhands import ConfirmAction
from chat_sessions.web.live.sessions import Confirmations
from tests.server.scripted import ScriptedAgent
from tests.web.conftest import Opening, Site, ask

REMOVE = ConfirmAction("1", "terminal", {"command": "rm -r build"}, "Remove the build", "HIGH")
LIST = ConfirmAction("2", "terminal", {"command": "ls"})


class Agent:
    """An agent that asks for permission in the session that a tab has begun."""

    def __init__(self, site: Opening) -> None:
        self._confirmations = Confirmations()
        self.opened: Site = site(ScriptedAgent(Text(content="Done.")), confirmations=self._confirmations)
        self.tab = self.opened.tab("/sessions/new")
        ask(self.tab, "Do it")
        expect(self.tab.get_by_role("article")).to_contain_text("Done.")
        expect(self.tab.locator("#status")).to_have_text("Ready")
        self.session_id = self.tab.url.rpartition("/")[2]

    def asks(self, action: ConfirmAction) -> Future[bool | str]:
        """Ask, and go on."""
        asking = self._confirmations.ask(self.session_id, [action])
        return asyncio.run_coroutine_threadsafe(asking, self.opened.loop)


def test_an_action_of_an_agent_waits_until_a_page_allows_or_rejects_it(site: Opening) -> None:
    agent = Agent(site)
    waiting = asking(agent.tab)
    first = agent.asks(REMOVE)
    expect(waiting).to_contain_text('"command": "rm -r build"')
    expect(waiting.get_by_role("button", name="Approve")).to_be_in_viewport()
    expect(waiting).to_contain_text("Remove the build Risk: HIGH.")
    waiting.get_by_role("button", name="Approve").click()
    expect(waiting).to_have_count(0)
    second = agent.asks(REMOVE)
    waiting.get_by_label("Reason").fill("Not today")
    waiting.get_by_role("button", name="Reject").click()
    expect(waiting).to_have_count(0)
    assert (first.result(20), second.result(20)) == (True, "Not today")


def test_enter_in_the_reason_of_a_refusal_refuses(site: Opening) -> None:
    agent = Agent(site)
    answer = agent.asks(REMOVE)
    asking(agent.tab).get_by_label("Reason").fill("too dangerous")
    asking(agent.tab).get_by_label("Reason").press("Enter")
    assert answer.result(20) == "too dangerous"


def test_an_answer_to_what_a_page_showed_before_is_not_given_to_what_is_asked_now(site: Opening) -> None:
    agent = Agent(site)
    first = agent.asks(LIST)
    expect(asking(agent.tab)).to_contain_text("ls")
    plain = agent.opened.tab(f"/sessions/{agent.session_id}", java_script_enabled=False)
    expect(asking(plain)).to_contain_text("ls")
    asking(agent.tab).get_by_role("button", name="Reject").click()
    assert first.result(20) is False
    second = agent.asks(REMOVE)
    expect(asking(agent.tab)).to_contain_text("rm -r build")
    asking(plain).get_by_role("button", name="Approve").click()
    expect(plain.get_by_text("The agent no longer waited for that answer")).to_be_visible()
    expect(asking(plain)).to_contain_text("rm -r build")
    assert not second.done()
    asking(plain).get_by_role("button", name="Reject").click()
    assert second.result(20) is False


def test_a_session_that_waits_for_permission_is_asked_for_it_whoever_sent_its_turn(site: Opening) -> None:
    waits, answers = [True], list[tuple[str, bool | str]]()

    def pending(stored: Session) -> list[ConfirmAction]:
        return [REMOVE] if waits and stored.events else []

    async def respond(session_id: str, answer: bool | str) -> None:
        answers.append((session_id, answer))
        waits.clear()

    opened = site(ScriptedAgent(Text(content="Done.")), pending=pending, respond=respond)
    session = opened.client.session(index_ids=["idx-docs"])
    session.ask("Do it")
    tab = opened.tab(f"/sessions/{session.id}")
    expect(tab.locator("#status")).to_have_text("The agent waits for your permission.")
    expect(asking(tab)).to_contain_text("rm -r build")
    opened.seen[-1].expected.add(409)
    ask(tab, "And now?")
    expect(tab.locator("#status")).to_contain_text("approve or reject its actions first")
    expect(tab.get_by_role("textbox", name="Message")).to_have_value("And now?")
    asking(tab).get_by_role("button", name="Approve").dblclick()
    expect(asking(tab)).to_have_count(0)
    assert answers == [(session.id, True)]
    tab.get_by_role("button", name="Send").click()
    expect(tab.get_by_role("article")).to_have_count(2)


def asking(tab: Page) -> Locator:
    """What asks for permission in a tab."""
    return tab.get_by_role("group", name="Actions that wait for permission")
