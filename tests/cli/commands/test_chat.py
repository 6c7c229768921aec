"""A conversation: in a pipe, and at a real terminal with real keys."""

from __future__ import annotations

import re
import sys

import pytest
from pydantic import JsonValue

from chat_sessions.core.events import Stop, TextDelta, ToolCall, ToolResult
from chat_sessions.core.models import Usage
from chat_sessions.server import Behaviour
from tests.cli.conftest import DOCUMENTS, Commands, Program, ScriptedAgent, Serving, at
from tests.cli.pseudo_terminal import PseudoTerminal

DONE = Stop(usage=Usage(), is_error=False)
MARGIN = "What was the operating margin in Q3 2025?"


def test_questions_from_a_pipe_are_one_conversation(program: Program) -> None:
    result = program("chat", "-i", str(DOCUMENTS), stdin=f"{MARGIN}\n\nAnd in Q4?\n/title\n/session\n")
    assert result.code == 0
    assert result.out.index("14.3 %") < result.out.index("11.8 %")
    assert result.out.endswith(f"{MARGIN}\n{result.session_id}\n")
    assert "you>" not in result.out
    assert f"chat-sessions chat --session {result.session_id}" in result.err


@pytest.mark.parametrize("word", ["/quit", "/exit"])
def test_quit_and_exit_end_it_before_the_input_does(command: Commands, word: str) -> None:
    result = command("chat", "-i", str(DOCUMENTS), stdin=f"{word}\n{MARGIN}\n")
    assert (result.code, result.out) == (0, "")


def test_sources_shows_the_passages_behind_the_last_answer(command: Commands) -> None:
    result = command("chat", "-i", str(DOCUMENTS), stdin=f"/sources\n{MARGIN}\n/sources\n")
    assert result.out.startswith("There are no sources yet.\n")
    assert "[1] annual-report-2025.pdf p. 3" in result.out
    assert "Results by quarter" in result.out.partition("[1]")[2]


def test_sources_of_a_session_taken_up_again_are_those_of_its_last_turn(command: Commands) -> None:
    first = command("ask", MARGIN, "-i", str(DOCUMENTS))
    again = command("chat", "-s", first.session_id, stdin="/sources\n/help\n/nonsense\n")
    assert "annual-report-2025.pdf  p. 3" in again.out
    assert "/quit" in again.out
    assert "there is no command '/nonsense'" in again.err


def test_sources_has_the_numbers_of_the_list_under_the_answer(command: Commands, serving: Serving) -> None:
    found = [("a.pdf", 1, "First."), ("b.pdf", 2, "Second."), ("a.pdf", 1, "Third."), ("a.pdf", 1, "First.")]
    passages: list[JsonValue] = [
        {"file_name": file, "page_range_start": page, "page_range_end": page, "content": text}
        for file, page, text in found
    ]
    call = ToolCall(call_id="c", name="retrieve", arguments={})
    agent = ScriptedAgent(
        [call, ToolResult(call_id="c", name="retrieve", result={"items": passages}), TextDelta(content="So."), DONE]
    )
    shown = command("chat", "-i", "idx-docs", *at(serving(agent)), stdin="hello\n/sources\n").out
    answer, _, after = shown.partition("\n[1] ")
    assert re.findall(r"^ +(\d)  (\S+)  p. (\d)", answer, re.MULTILINE)[:2] == [
        ("1", "a.pdf", "1"),
        ("2", "b.pdf", "2"),
    ]
    assert after == "a.pdf p. 1\nFirst.\n\nThird.\n\n[2] b.pdf p. 2\nSecond.\n"


def test_a_command_may_begin_with_white_space_and_a_question_with_a_path(command: Commands, serving: Serving) -> None:
    server = serving(ScriptedAgent([TextDelta(content="A file."), DONE]))
    result = command("chat", "-i", "idx-docs", *at(server), stdin="  /help\n\t/session\n /nonsense\n/\n")
    assert "/quit" in result.out
    assert "There is no session yet" in result.out
    assert "there is no command '/nonsense'" in result.err
    assert "there is no command '/'" in result.err
    assert "A file." not in result.out
    assert "A file." in command("chat", "-i", "idx-docs", *at(server), stdin="/etc/hosts is what?\n").out


def test_an_error_is_told_and_the_conversation_goes_on(command: Commands) -> None:
    result = command("chat", "-i", str(DOCUMENTS), stdin=f"{'x' * 1001}\n{MARGIN}\n")
    assert "Error: the question is 1,001 characters long" in result.err
    assert "14.3 %" in result.out
    assert result.code == 2


def test_another_command_may_use_the_same_sessions_meanwhile(program: Program) -> None:
    chat = program.start("chat", "-i", str(DOCUMENTS))
    assert chat.stdin is not None
    assert chat.stdout is not None
    chat.stdin.write(f"{MARGIN}\n/session\n")
    chat.stdin.flush()
    while not (line := chat.stdout.readline()).startswith("ses-"):
        assert line, "the chat ended"
    asked = program("ask", "And in Q2?", "-s", line.strip())
    assert "10.9 %" in asked.out
    result = program.finish(chat, "And in Q4?\n")
    assert result.code == 0
    assert "11.8 %" in result.out
    assert program("sessions", "list").out.count("\n") == 1


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are POSIX")
def test_ctrl_c_ends_the_running_turn_alone_and_ctrl_d_the_conversation(
    at_a_terminal: PseudoTerminal, serving: Serving
) -> None:
    agent = ScriptedAgent([TextDelta(content="First,"), TextDelta(content=" never."), DONE], held=1)
    server = serving(agent, Behaviour(on_disconnect="cancel", concurrent_turns="queue"))
    at_a_terminal.start("chat", "-i", "idx-docs", *at(server))
    at_a_terminal.wait_for("you> ")
    at_a_terminal.type("hello\n")
    at_a_terminal.wait_for("First,")
    at_a_terminal.interrupt("Stopped reading. The service may still be answering")
    at_a_terminal.wait_for("you> ")
    at_a_terminal.type("half a line")
    at_a_terminal.wait_for("half a line")
    at_a_terminal.interrupt("Ctrl-D or /quit ends the chat.")
    at_a_terminal.wait_for("you> ")
    at_a_terminal.type("\x04")
    at_a_terminal.wait_for("To continue: ")
    assert at_a_terminal.end() == 0
    assert agent.left.wait(timeout=30)


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are POSIX")
def test_a_terminal_gets_colours_of_the_program_and_none_of_the_service(
    at_a_terminal: PseudoTerminal, serving: Serving
) -> None:
    server = serving(ScriptedAgent([TextDelta(content="\x1b[31mred\x1b]0;title\x07 plain"), DONE]))
    at_a_terminal.start("ask", "hello", "-i", "idx-docs", *at(server))
    assert at_a_terminal.end() == 0
    shown = at_a_terminal.seen
    assert "[31mred]0;title plain" in re.sub("\x1b\\[[0-9;]*m", "", shown)
    assert not re.search("\x1b\\][^\x1b]*title|\x1b\\[31mred", shown)


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are POSIX")
def test_the_list_of_commands_continues_below_its_own_column(program: Program) -> None:
    terminal = PseudoTerminal(program, columns=40)
    try:
        terminal.start("chat", "-i", str(DOCUMENTS))
        terminal.wait_for("you> ")
        terminal.type("/help\n")
        terminal.wait_for("you> ")
        terminal.type("\x04")
        assert terminal.end() == 0
    finally:
        terminal.close()
    shown = re.sub("\x1b\\[[0-9;]*m", "", terminal.seen).replace("\r", "")
    assert "/sources  show the passages behind the\n          last answer\n/title" in shown


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are POSIX")
def test_a_question_may_have_several_lines(at_a_terminal: PseudoTerminal) -> None:
    at_a_terminal.start("chat", "-i", str(DOCUMENTS))
    at_a_terminal.wait_for("you> ")
    at_a_terminal.type("What was the operating margin \\\n")
    at_a_terminal.wait_for("...> ")
    at_a_terminal.type("in Q3 2025?\n")
    at_a_terminal.wait_for("14.3 %")
    at_a_terminal.wait_for("you> ")
    at_a_terminal.type("/title\n")
    at_a_terminal.wait_for(MARGIN)
    at_a_terminal.wait_for("you> ")
    at_a_terminal.type("\x04")
    assert at_a_terminal.end() == 0


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are POSIX")
def test_a_terminal_shows_that_the_service_is_waited_for(at_a_terminal: PseudoTerminal, serving: Serving) -> None:
    agent = ScriptedAgent([TextDelta(content="At last."), DONE], held=0)
    at_a_terminal.start("ask", "hello", "-i", "idx-docs", *at(serving(agent)))
    at_a_terminal.wait_for("Waiting for the service")
    agent.release()
    at_a_terminal.wait_for("At last.")
    assert at_a_terminal.end() == 0


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are POSIX")
def test_lines_that_are_pasted_are_one_question(at_a_terminal: PseudoTerminal) -> None:
    at_a_terminal.start("chat", "-i", str(DOCUMENTS))
    at_a_terminal.wait_for("you> ")
    # What a terminal sends for a paste, once the program has asked for the marks.
    at_a_terminal.type("\x1b[200~What was the operating margin\nin Q3 2025?\x1b[201~\n")
    at_a_terminal.wait_for("14.3 %")
    at_a_terminal.wait_for("you> ")
    at_a_terminal.type("/title\n")
    at_a_terminal.wait_for(MARGIN)
    at_a_terminal.wait_for("you> ")
    at_a_terminal.type("\x04")
    assert at_a_terminal.end() == 0
