"""The program itself: how it is started, and its version."""

from __future__ import annotations

from importlib.metadata import entry_points, version

from chat_sessions.cli import main
from tests.cli.conftest import COMMAND, Program


def test_python_m_runs_the_command_line(program: Program) -> None:
    assert COMMAND[1:] == ("-m", "chat_sessions")
    result = program("--version")
    assert (result.code, result.out) == (0, f"chat-sessions {version('chat-sessions')}\n")


def test_the_installed_script_runs_the_same() -> None:
    (script,) = entry_points(group="console_scripts", name="chat-sessions")
    assert script.load() is main
