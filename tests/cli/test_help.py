"""The page on the command line says what the program says."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import pytest
from typer.main import get_command

from chat_sessions.cli.app import app
from chat_sessions.cli.errors import ExitCode
from tests.cli.conftest import Commands
from tests.cli.help_page import PAGE, help_of, rewritten, written_with


def commands_in(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path of each command and group of commands."""
    yield path
    for name, below in getattr(command, "commands", {}).items():
        yield from commands_in(below, (*path, name))


COMMANDS = list(commands_in(get_command(app)))
GROUPS = [(), ("sessions",), ("config",)]


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_the_help_of_every_command_fits_60_columns(command: Commands, path: tuple[str, ...]) -> None:
    shown = command(*path, "--help", env={"COLUMNS": "60"}).out
    assert [line for line in shown.splitlines() if len(line) > 60] == []
    # A line that ends so was cut.
    assert re.findall(r"[a-z]\.\.\.$", shown, re.MULTILINE) == []
    assert shown == command(*path, "-h", env={"COLUMNS": "60"}).out


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_the_help_of_every_command_is_wrapped_on_a_terminal_of_40_columns(
    command: Commands, path: tuple[str, ...]
) -> None:
    shown = command(*path, "--help", env={"COLUMNS": "40"}).out
    # Lines to copy, and tables, are never wrapped.
    wrapped = re.split(r"^ *(?:Examples|Exit codes):", shown, flags=re.MULTILINE)[0]
    assert [line for line in wrapped.splitlines() if len(line) > 40] == []


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_arguments_are_without_types_in_pythons_words(path: tuple[str, ...]) -> None:
    assert re.findall(r"<\w+(?:\[\w+\])?>", help_of(" ".join(path))) == []


@pytest.mark.parametrize("path", [path for path in COMMANDS if path not in GROUPS], ids=" ".join)
def test_the_help_of_every_command_ends_with_examples_that_it_understands(
    command: Commands, path: tuple[str, ...]
) -> None:
    examples = command(*path, "--help").out.partition("Examples:\n")[2].replace("\\\n", "")
    lines = [shlex.split(line.partition(" < ")[0]) for line in examples.splitlines()]
    assert lines
    for words in lines:
        assert words[: len(path) + 1] == ["chat-sessions", *path]
        # Nothing is run, as the help comes first; but options that do not exist are an error.
        assert command(*words[1:], "--help").code == 0
        get_command(app).make_context("chat-sessions", words[1:], resilient_parsing=True)


def test_there_are_no_other_groups() -> None:
    assert len(COMMANDS) == 20
    assert set(GROUPS) < set(COMMANDS)


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
