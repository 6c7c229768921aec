"""Text from anywhere reaches the terminal as text."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat_sessions.cli.show.terminal import Terminal, clean, one_line

CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


@given(st.text(alphabet=st.characters()))
def test_clean_text_holds_no_control_character_but_newline_and_tab(text: str) -> None:
    assert not CONTROL.search(clean(text))


@given(st.text(alphabet=st.characters(exclude_categories=["Cc", "Cf", "Cs", "Zl", "Zp"])))
def test_text_without_control_characters_stays_as_it_is(text: str) -> None:
    assert clean(text) == text


@given(st.text(alphabet=st.characters()), st.text(alphabet=st.characters()))
def test_text_cut_anywhere_is_as_clean_as_the_whole(first: str, second: str) -> None:
    assert not CONTROL.search(clean(first) + clean(second))


def test_an_escape_sequence_loses_what_makes_it_one() -> None:
    assert clean("\x1b[31mred\x1b[0m\x9b5n") == "[31mred[0m5n"


def test_line_ends_of_every_kind_become_newlines() -> None:
    assert clean("a\r\nb\u2028c\u2029d") == "a\nb\nc\nd"


def test_marks_that_reorder_a_line_are_taken_out() -> None:
    assert clean("exe.\u202egpj\u2066") == "exe.gpj"


def test_one_line_is_one_line_and_no_longer_than_asked() -> None:
    assert one_line("a\n  b\tc") == "a b c"
    assert one_line("word " * 100, 12) == "word word w…"


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
