"""Answers and notes each go to their output, and lines break between words."""

from __future__ import annotations

import re

import pytest

from chat_sessions.cli.show.terminal import Terminal
from tests.cli.show.screen import left_on_screen


def test_in_a_pipe_the_answer_stays_as_it_came(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal()
    terminal.answer("a\tb " + "x" * 300)
    terminal.note("about it")
    terminal.answer("y\n")
    out, err = capsys.readouterr()
    assert out == "a\tb " + "x" * 300 + "y\n"
    assert err == "about it\n"


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal of 20 columns without colours."""
    for name, value in {"FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": "20", "NO_COLOR": "1"}.items():
        monkeypatch.setenv(name, value)


def written(text: str) -> str:
    return left_on_screen(re.sub("\x1b\\[[0-9;]*m", "", text))


@pytest.mark.usefixtures("narrow")
def test_on_a_terminal_lines_break_between_words_and_words_stay_whole(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal(merged=True)
    for piece in ("The ", "quick ", "brown ", "fox ", "jumps over"):
        terminal.aside(piece)
    terminal.note("done")
    assert written(capsys.readouterr().out) == "The quick brown fox\njumps over\ndone"


@pytest.mark.usefixtures("narrow")
def test_an_answer_on_a_terminal_is_rendered_between_the_notes(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal(merged=True)
    terminal.note("a tool")
    for piece in ("The **quick** ", "brown fox jumps"):
        terminal.answer(piece)
    terminal.note("another")
    terminal.answer("It `ran`")
    terminal.end_line()
    assert written(capsys.readouterr().out) == "a tool\n\nThe quick brown fox\njumps\nanother\n\nIt ran"


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("how", ["plain", "dumb"])
def test_an_answer_on_a_terminal_stays_as_it_came_if_asked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    if how == "dumb":
        monkeypatch.setenv("TERM", "dumb")
    terminal = Terminal(merged=True, plain=how == "plain")
    terminal.answer("The **quick** brown fox jumps\n")
    terminal.end_line()
    assert written(capsys.readouterr().out) == "The **quick** brown fox jumps"


@pytest.mark.usefixtures("narrow")
def test_an_error_with_a_command_in_it_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal(merged=True)
    terminal.error("list them with: chat-sessions sessions list --base-url http://127.0.0.1:8765")
    terminal.warn("answer it with: chat-sessions sessions confirm ses-0123456789abcdef")
    assert written(capsys.readouterr().out).count("\n") == 1


@pytest.mark.usefixtures("narrow")
def test_an_address_longer_than_the_line_is_left_to_the_terminal_to_break(capsys: pytest.CaptureFixture[str]) -> None:
    address = "http://127.0.0.1:8766/?token=0123456789abcdef"
    terminal = Terminal(merged=True)
    terminal.line(address)
    terminal.note(f"The page is at {address} for you")
    shown = written(capsys.readouterr().out).splitlines()
    assert shown == [address, "The page is at", address + " for you"]


def test_remarks_and_answer_each_begin_a_line_of_their_own(
    capsys: pytest.CaptureFixture[str],
) -> None:
    terminal = Terminal(merged=True)
    terminal.aside("a thought")
    terminal.note("a tool")
    terminal.answer("an answer")
    terminal.end_line()
    assert capsys.readouterr().out == "a thought\na tool\n\nan answer\n"
