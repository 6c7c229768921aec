"""`demo`: one session through both frameworks, on this machine."""

from __future__ import annotations

import re
import shlex
import shutil
import socket
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import pytest

import chat_sessions
from chat_sessions.cli.where.page import PAGE_PORT
from tests.cli.conftest import DOCUMENTS, Commands, Program
from tests.cli.pseudo_terminal import PseudoTerminal

QUESTIONS = ["What was the operating margin in Q3 2025?", "And in Q4?"]
DEMO = ["demo", str(DOCUMENTS), "-q", QUESTIONS[0], "-q", QUESTIONS[1]]


def test_it_asks_one_session_through_both_frameworks(program: Program) -> None:
    result = program(*DEMO)
    assert (result.code, result.err) == (0, "")
    first, second = result.out.split("2. LangChain: ")
    assert "1. LlamaIndex: SessionChatEngine.stream_chat" in first
    for part, margin in ((first, "14.3 %"), (second, "11.8 %")):
        assert "→ retrieve(" in part
        assert margin in part
        assert "annual-report-2025.pdf  p. 3" in part
        assert "tokens in" in part
    assert len(set(re.findall("ses-[0-9a-f]+", result.out))) == 1
    assert "title  What was the operating margin in Q3 2025?" in second
    assert "turns  2" in second


@pytest.mark.parametrize("question", ["", " ", "x" * 1001])
def test_a_question_that_cannot_be_asked_is_refused_before_anything_is_shown(command: Commands, question: str) -> None:
    result = command("demo", str(DOCUMENTS), "-q", QUESTIONS[0], "-q", question)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("Error: the question is ")


def test_its_session_can_be_gone_on_with(command: Commands) -> None:
    session_id = command(*DEMO).session_id
    assert "10.9 %" in command("ask", "And in Q2?", "-s", session_id).out


def test_it_ends_with_the_command_that_serves_the_page_and_the_address_that_its_session_has_there(
    program: Program,
) -> None:
    *_, command_line, _, session_address = program(*DEMO).out.splitlines()
    label, _, shown = command_line.partition(": ")
    assert label == "To see it on a page"
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/sessions/ses-[0-9a-f]+", session_address)
    process = program.start(*shlex.split(shown)[1:], "--no-open")
    assert process.stdout is not None
    with httpx.Client(follow_redirects=True, trust_env=False, timeout=60) as browser:
        browser.get(process.stdout.readline().strip())
        page = browser.get(session_address)
    assert page.status_code == 200
    assert page.text.count("<article") == 2
    program.interrupt(process)
    assert program.finish(process).code == 0


def test_it_names_a_free_port_if_the_usual_one_is_in_use(command: Commands) -> None:
    with ExitStack() as stack:
        with suppress(OSError):
            # Something else may have it already, which is as good.
            stack.enter_context(socket.create_server(("127.0.0.1", PAGE_PORT)))
        address = command(*DEMO).out.splitlines()[-1]
    assert f":{PAGE_PORT}/" not in address
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/sessions/ses-[0-9a-f]+", address)


def test_on_a_narrow_terminal_it_ends_with_commands_and_an_address_that_are_not_broken(program: Program) -> None:
    terminal = PseudoTerminal(program, columns=40)
    terminal.start(*DEMO)
    try:
        assert terminal.end() == 0
    finally:
        terminal.close()
    *_, goes_on, page, _, _, address = terminal.seen.splitlines()
    assert re.fullmatch(r"To continue it: chat-sessions chat --local --session ses-[0-9a-f]+", goes_on)
    assert re.fullmatch(r"To see it on a page: chat-sessions ui --local \S+ --port \d+", page)
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/sessions/ses-[0-9a-f]+", address)


@pytest.mark.skipif(
    not Path(chat_sessions.__file__).parents[2].joinpath("examples").is_dir(), reason="the package is not a checkout"
)
def test_in_a_checkout_the_example_documents_are_asked(command: Commands) -> None:
    result = command("demo")
    assert f"you> {QUESTIONS[0]}" in result.out
    assert f"you> {QUESTIONS[1]}" in result.out


def test_a_folder_of_ones_own_is_asked_ones_own_questions(command: Commands, tmp_path: Path) -> None:
    (tmp_path / "tea.md").write_text("# Tea\n\nGreen tea is brewed with water of 80 degrees.\n")
    result = command("demo", str(tmp_path), "-q", "How is green tea brewed?", "-q", "What is green tea brewed with?")
    assert result.code == 0
    assert result.out.count("80 degrees") == 2


def without(*modules: str) -> str:
    """A program that runs the demo where these modules are not installed."""
    return (
        f"import sys\nfor name in {modules!r}: sys.modules[name] = None\n"
        f"sys.argv = ['chat-sessions', *{DEMO!r}]\nfrom chat_sessions.cli import main; main()"
    )


def test_a_framework_that_is_not_installed_is_passed_over_with_a_line(program: Program) -> None:
    result = program.python(without("llama_index", "llama_index.core"))
    assert result.code == 0
    assert "pip install 'chat-sessions[llama-index]'" in result.out
    assert "2. LangChain: " in result.out


def test_without_the_extra_of_the_page_no_page_is_spoken_of(program: Program) -> None:
    result = program.python(without("nh3"))
    assert result.code == 0
    assert result.out.splitlines()[-1].startswith("To continue it: ")


def test_without_any_framework_it_says_what_to_install(program: Program) -> None:
    result = program.python(without("llama_index", "llama_index.core", "langchain_core"))
    assert result.code == 2
    assert "pip install 'chat-sessions[all]'" in result.err


def test_without_the_server_it_says_what_to_install(program: Program) -> None:
    result = program.python(without("uvicorn"))
    assert result.code == 2
    assert "pip install 'chat-sessions[server]'" in result.err


def demo_of_a_copy(package: Path) -> str:
    """A program that runs the demo of a copy of the package alone, as an installation is one."""
    shutil.copytree(Path(chat_sessions.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    return (
        f"import sys; sys.path.insert(0, {str(package.parent)!r})\n"
        "sys.argv = ['chat-sessions', 'demo']\nfrom chat_sessions.cli import main; main()"
    )


def test_an_installed_package_asks_its_own_example_documents(program: Program, tmp_path: Path) -> None:
    demo = demo_of_a_copy(tmp_path / "chat_sessions")
    shutil.copytree(DOCUMENTS, tmp_path / "chat_sessions" / "example_documents")
    result = program.python(demo)
    assert result.code == 0
    assert "14.3 %" in result.out
    assert "11.8 %" in result.out


def test_an_installation_without_example_documents_asks_for_a_folder(program: Program, tmp_path: Path) -> None:
    result = program.python(demo_of_a_copy(tmp_path / "chat_sessions"))
    assert result.code == 2
    assert "name a folder of your own: chat-sessions demo FOLDER --question TEXT" in result.err
