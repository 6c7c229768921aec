"""`chat-sessions --backend openhands` against real agent servers, in a pipe and at a terminal."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.cli.conftest import Commands, Program
from tests.cli.pseudo_terminal import PseudoTerminal
from tests.openhands.servers.agent_server import API_KEY, AgentServer
from tests.openhands.servers.model_server import TITLE, ModelServer
from tests.web.browser import chromium
from tests.web.conftest import ask

pytestmark = pytest.mark.openhands

_SHELL = ("--tool", '{"name": "terminal", "params": {"terminal_type": "subprocess"}}')
_CONFIRMED = ("--conversation", '{"autotitle": false, "confirmation_policy": {"kind": "AlwaysConfirm"}}')
_ID = re.compile(r"session ([0-9a-f-]{36})")


@pytest.fixture
def environment(server: AgentServer, tmp_path: Path) -> dict[str, str]:
    return {
        "CHAT_SESSIONS_DATA": str(tmp_path / "data"),
        "CHAT_SESSIONS_BACKEND": "openhands",
        "OPENHANDS_BASE_URL": server.url,
        "OPENHANDS_API_KEY": API_KEY,
        "LLM_MODEL": "openai/scripted",
        "LLM_API_KEY": "sk-none",
        "LLM_BASE_URL": server.model_url,
    }


@pytest.fixture
def command(environment: dict[str, str], tmp_path: Path) -> Commands:
    return Commands(environment, tmp_path)


def session_in(said: str) -> str:
    found = _ID.search(said)
    assert found is not None, said
    return found[1]


def test_a_session_is_asked_listed_shown_titled_and_deleted(
    command: Commands, server: AgentServer, tmp_path: Path
) -> None:
    result = command("ask", "TOOL please", "--workspace", str(tmp_path))
    assert result.code == 0
    assert result.out == "I will think.\n\nThe tool has answered.\n"
    assert f"OpenHands Agent Server at {server.url}" in result.err
    assert "→ think(thought='one')\n← think: 'Your thought has been logged.'" in result.err
    assert "200 tokens in · 40 tokens out" in result.err
    session_id = session_in(result.err)
    again = command("ask", "TEXT please", "-s", session_id, "--json").json
    assert (again["session_id"], again["text"], again["error"]) == (session_id, "Plain answer in pieces.", None)
    assert session_id in command("sessions", "list").out
    titled = command("sessions", "title", session_id, "--max-length", "7")
    assert titled.out.startswith(TITLE[:4])
    assert len(titled.out.strip()) <= 7
    titles = ("by itself", "had already") if server.is_new else ("by the server",)
    assert any(words in titled.err for words in titles)
    shown = command("sessions", "show", session_id).out
    assert "you> TOOL please" in shown
    assert "Plain answer in pieces." in shown
    assert command("sessions", "delete", session_id, "--yes").code == 0
    gone = command("sessions", "show", session_id)
    assert gone.code == 4
    assert "sessions list --backend openhands" in gone.err


def test_an_action_that_waits_is_answered_by_a_command_where_nobody_can_be_asked(command: Commands) -> None:
    result = command("ask", "SHELL", *_SHELL, *_CONFIRMED)
    assert result.code == 1
    session_id = session_in(result.err)
    answer = f"sessions confirm {session_id} --backend openhands"
    assert f"the agent waits for permission; answer it with: chat-sessions {answer}" in result.err
    # Another question would let the action run.
    asked = command("ask", "TEXT", "-s", session_id)
    assert asked.code == 5
    assert answer in asked.err
    assert "there is no terminal to ask at" in command("sessions", "confirm", session_id).err
    assert command("sessions", "confirm", session_id, "--refuse", "not today").code == 0
    assert command("ask", "TEXT", "-s", session_id).out == "Plain answer in pieces.\n"
    assert "← terminal: failed: 'rejected: not today'" in command("sessions", "show", session_id).err
    assert "does not wait" in command("sessions", "confirm", session_id, "--yes").err


def test_an_action_that_waits_is_allowed_by_a_command(command: Commands) -> None:
    session_id = session_in(command("ask", "SHELL", *_SHELL, *_CONFIRMED).err)
    assert command("sessions", "confirm", session_id, "--yes").code == 0
    assert command("ask", "TEXT", "-s", session_id).code == 0
    assert "← terminal: 'from-the-shell'" in command("sessions", "show", session_id).err


def test_interrupting_refuses_what_waits(command: Commands) -> None:
    session_id = session_in(command("ask", "SHELL", *_SHELL, *_CONFIRMED).err)
    result = command("sessions", "interrupt", session_id)
    assert result.code == 0
    assert "Interrupted" in result.err
    assert command("ask", "TEXT", "-s", session_id).out == "Plain answer in pieces.\n"
    assert "rejected: the run was interrupted" in command("sessions", "show", session_id).err


def test_a_failing_model_is_a_failed_turn_and_a_wrong_key_is_refused(command: Commands) -> None:
    failed = command("ask", "FAIL401")
    assert failed.code == 1
    assert "AuthenticationError" in failed.err
    assert command("ask", "TEXT", "--api-key", "wrong").code == 3


def test_doctor_asks_one_question_in_a_session_that_is_deleted_again(command: Commands, server: AgentServer) -> None:
    before = command("sessions", "list", "--limit", "3").out
    result = command("doctor", "--tool", "no_such_tool") if server.is_new else command("doctor")
    assert f"OpenHands Agent Server {server.version}" in result.out
    if server.is_new:
        assert "it has no tool no_such_tool" in result.out
        assert "terminal" in result.out
        result = command("doctor")
    assert result.code == 0
    assert "ok    first event" in result.out
    assert command("sessions", "list", "--limit", "3").out == before
    without = command("doctor", env={"LLM_MODEL": ""})
    assert (without.code, "give --llm or --agent" in " ".join(without.out.split())) == (0, True)
    assert command("doctor", "--api-key", "wrong").code == 3


@pytest.fixture
def at_a_terminal(environment: dict[str, str], tmp_path: Path) -> Iterator[PseudoTerminal]:
    program = Program(tmp_path / "data", tmp_path)
    program.env |= environment
    terminal = PseudoTerminal(program)
    yield terminal
    terminal.close()


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are POSIX")
def test_a_list_at_a_terminal_shows_tags(at_a_terminal: PseudoTerminal, server: AgentServer) -> None:
    with server.client() as chat:
        chat.set_tags(chat.create().session_id, {"team": "docs"})
    at_a_terminal.start("sessions", "list", "--limit", "1")
    at_a_terminal.wait_for("team=docs")
    assert at_a_terminal.end() == 0


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are POSIX")
def test_someone_at_a_terminal_allows_and_refuses_actions_and_ctrl_c_ends_the_run(
    at_a_terminal: PseudoTerminal, server: AgentServer, model: ModelServer
) -> None:
    model.hold()
    at_a_terminal.start("chat", "--confirm", *_SHELL)
    for typed, shown in (
        ("y", "← terminal: 'from-the-shell'"),
        ("not today", "← terminal: failed: 'rejected: not today'"),
    ):
        at_a_terminal.wait_for("you> ")
        at_a_terminal.type("SHELL\n")
        at_a_terminal.wait_for("The agent wants to use terminal:")
        at_a_terminal.wait_for("command: echo from-the-shell")
        at_a_terminal.wait_for("Allow it?")
        at_a_terminal.type(f"{typed}\n")
        at_a_terminal.wait_for(shown)
        at_a_terminal.wait_for("The tool has answered.")
    at_a_terminal.wait_for("you> ")
    at_a_terminal.type("HELD\n")
    at_a_terminal.wait_for("Half of ")
    if not server.is_new:
        # The old server can pause the run only when the model has answered.
        model.release()
    at_a_terminal.interrupt("Interrupted: this turn ends here.")
    session_id = session_in(at_a_terminal.seen)
    with server.client() as chat:
        summary = chat.get_summary(session_id)
        assert (summary.model_extra or {})["execution_status"] != "running"
    at_a_terminal.wait_for("you> ")
    at_a_terminal.type("TEXT\n")
    at_a_terminal.wait_for("Plain answer in pieces.")
    at_a_terminal.wait_for("you> ")
    at_a_terminal.type("/quit\n")
    at_a_terminal.wait_for("--backend openhands")
    assert at_a_terminal.end() == 0
    model.release()


@contextmanager
def page_of(environment: dict[str, str], *arguments: str) -> Iterator[Page]:
    """A browser on the page that this command opens."""
    process = subprocess.Popen(
        [sys.executable, "-m", "chat_sessions", "ui", "--port", "0", "--no-open", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )
    with process, chromium() as browser:
        assert process.stdout is not None
        page = browser.new_page()
        page.goto(process.stdout.readline().strip())
        try:
            yield page
        finally:
            process.send_signal(signal.SIGINT)
    assert process.returncode == 0


def test_the_page_asks_for_permission_and_stops_a_run(
    environment: dict[str, str], model: ModelServer, tmp_path: Path
) -> None:
    with page_of(environment, "--confirm", "--workspace", str(tmp_path), *_SHELL) as page:
        page.get_by_role("link", name="New").click()
        ask(page, "SHELL")
        waiting = page.get_by_role("group", name="Actions that wait for permission")
        expect(waiting).to_contain_text("echo from-the-shell", timeout=60_000)
        expect(page.locator("#status")).to_have_text("The agent waits for your permission.")
        waiting.get_by_role("button", name="Approve").click()
        answers = page.get_by_role("article")
        expect(answers).to_contain_text("The tool has answered.", timeout=60_000)
        expect(answers.locator("details.run", has_text="terminal")).to_contain_text("completed")
        ask(page, "SHELL again")
        waiting.get_by_label("Reason").fill("Not today")
        waiting.get_by_role("button", name="Reject").click()
        expect(answers.last).to_contain_text("Not today", timeout=60_000)
        expect(page.locator("#status")).to_have_text("Ready", timeout=60_000)
        model.hold()
        ask(page, "HELD")
        expect(answers.last).to_contain_text("Half of", timeout=60_000)
        page.get_by_role("button", name="Stop").click()
        expect(answers.last).to_contain_text("You stopped this turn", timeout=60_000)
        model.release()
        ask(page, "TEXT")
        expect(answers.last).to_contain_text("Plain answer in pieces.", timeout=60_000)


def test_the_page_asks_for_a_permission_that_another_program_s_turn_waits_for(
    environment: dict[str, str], command: Commands, tmp_path: Path
) -> None:
    asked = command("ask", "SHELL", "--workspace", str(tmp_path), *_SHELL, *_CONFIRMED)
    assert asked.code == 1
    with page_of(environment) as page:
        page.goto(f"{page.url.partition('?')[0]}sessions/{session_in(asked.err)}")
        waiting = page.get_by_role("group", name="Actions that wait for permission")
        expect(waiting).to_contain_text("echo from-the-shell", timeout=60_000)
        expect(page.get_by_role("article")).to_contain_text("The agent waits for permission.")
        expect(page.get_by_role("alert")).to_have_count(0)
        waiting.get_by_role("button", name="Approve").click()
        expect(page.get_by_role("article")).to_contain_text("The tool has answered.", timeout=60_000)
        expect(page.locator("#status")).to_have_text("", timeout=60_000)
        expect(waiting).to_have_count(0)
