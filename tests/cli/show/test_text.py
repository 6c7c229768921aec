"""Text from anywhere is safe to print."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat_sessions.cli.show.text import clean, one_line, program

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


@pytest.mark.parametrize(
    ("typed", "is_on_the_path", "shown"),
    [
        ("/a b/bin/chat-sessions", True, "chat-sessions"),
        ("/a b/bin/chat-sessions", False, "'/a b/bin/chat-sessions'"),
        (".venv/bin/chat-sessions", False, ".venv/bin/chat-sessions"),
        ("/x/chat_sessions/__main__.py", False, "chat-sessions"),
    ],
)
def test_the_program_is_named_as_it_can_be_called_again(
    typed: str, is_on_the_path: bool, shown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.argv", [typed])
    if is_on_the_path:
        (tmp_path / "chat-sessions").touch(mode=0o755)
    assert (shutil.which("chat-sessions") is not None) is is_on_the_path
    assert program() == shown
