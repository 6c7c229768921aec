"""An agent acts only if the user says so, and the user sees what it wants to do."""

from __future__ import annotations

import pytest

from chat_sessions.cli.show.actions import ask_permission
from tests.cli.conftest import Answering


@pytest.mark.parametrize(
    ("typed", "answer"),
    [("y", True), ("YES", True), ("", False), ("n", False), ("No", False), ("use git mv", "use git mv"), ("ye", "ye")],
)
def test_only_a_yes_allows_an_action(typed: str, answer: bool | str) -> None:
    assert ask_permission([("terminal", {"command": "rm -rf ."})], Answering(typed)) == answer


def test_an_action_is_shown_whole_and_without_control_characters() -> None:
    terminal = Answering("")
    ask_permission([("terminal", {"command": "echo " + "x" * 500 + "\x1b[2K\nrm -rf .", "timeout": 3})], terminal)
    shown = "\n".join(terminal.seen)
    assert "x" * 500 + "[2K\n    rm -rf ." in shown
    assert "timeout: 3" in shown
    assert "\x1b" not in shown
