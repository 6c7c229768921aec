"""Writes the help of every command into docs/cli.md: `python -m tests.cli.help_page`."""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path

from typer.testing import CliRunner

from chat_sessions.cli.app import app

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"
# typer words some of the help; the page has that of this version.
_WRITER = re.compile(r"<!-- the help texts are as typer (\S+) prints them -->")
_BLOCK = re.compile(r"(<!-- help: ?(.*?) -->\n)```text\n.*?```\n", re.DOTALL)


def help_of(command: str) -> str:
    """What `chat-sessions COMMAND --help` prints on a terminal of 80 columns."""
    result = CliRunner(env={"COLUMNS": "80"}).invoke(app, [*command.split(), "--help"], prog_name="chat-sessions")
    assert result.exit_code == 0, result.output
    return result.stdout


def written_with(page: str) -> str:
    """The typer version that the page was written with."""
    found = _WRITER.search(page)
    assert found is not None, "the page does not say which typer it was written with"
    return found[1]


def rewritten(page: str) -> str:
    """The page with the help as it is now."""
    page = _WRITER.sub(lambda found: found[0].replace(found[1], version("typer")), page)
    return _BLOCK.sub(lambda found: f"{found[1]}```text\n{help_of(found[2]).rstrip()}\n```\n", page)


if __name__ == "__main__":
    PAGE.write_text(rewritten(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
