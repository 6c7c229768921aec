"""The page on the command line says what the program says."""

from __future__ import annotations

from importlib.metadata import version

import pytest

from chat_sessions.cli.errors import ExitCode
from tests.cli.help_page import PAGE, help_of, rewritten, written_with


def test_the_page_has_the_help_as_it_is() -> None:
    page = PAGE.read_text(encoding="utf-8")
    if written_with(page) != version("typer"):
        pytest.skip(f"the page was written with typer {written_with(page)}")
    assert page == rewritten(page), "out of date: run `python -m tests.cli.help_page`"


def test_every_command_is_on_the_page() -> None:
    page = PAGE.read_text(encoding="utf-8")
    commands = [
        line.split()[0]
        for line in help_of("").partition("Commands:")[2].partition("Exit codes:")[0].splitlines()
        if line.strip() and not line.startswith("   ")
    ]
    assert set(commands) >= {"ask", "chat", "demo", "doctor", "serve", "sessions"}
    for command in commands:
        assert f"<!-- help: {command}" in page


def test_every_exit_code_is_on_the_page_and_in_the_help() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for code in ExitCode:
        assert f"| {code.value} |" in page
    for code in set(ExitCode) - {ExitCode.BUG, ExitCode.READER_GONE}:
        assert f"\n    {code.value:<5}" in help_of("")
