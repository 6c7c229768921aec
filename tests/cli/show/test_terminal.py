"""Answers and notes each go to their output, and lines break between words."""

from __future__ import annotations

import re

import pytest

from chat_sessions.cli.show.terminal import Terminal


def test_in_a_pipe_the_answer_stays_as_it_came(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal()
    terminal.answer("a\tb " + "x" * 300)
    terminal.note("about it")
    terminal.answer("y\n")
    out, err = capsys.readouterr()
    assert out == "a\tb " + "x" * 300 + "y\n"
    assert err == "about it\n"


def test_on_a_terminal_lines_break_between_words_and_words_stay_whole(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": "20", "NO_COLOR": "1"}.items():
        monkeypatch.setenv(name, value)
    terminal = Terminal(merged=True)
    for piece in ("The ", "quick ", "brown ", "fox ", "jumps over"):
        terminal.answer(piece)
    terminal.note("done")
    out = re.sub("\x1b\\[[0-9;]*m", "", capsys.readouterr().out)
    assert out == "The quick brown fox \njumps over\ndone\n"


def test_remarks_and_answer_each_begin_a_line_of_their_own(
    capsys: pytest.CaptureFixture[str],
) -> None:
    terminal = Terminal(merged=True)
    terminal.aside("a thought")
    terminal.note("a tool")
    terminal.answer("an answer")
    terminal.end_line()
    assert capsys.readouterr().out == "a thought\na tool\n\nan answer\n"
