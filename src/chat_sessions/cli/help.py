"""The help of a command: its options in groups, and examples below them."""

from __future__ import annotations

import re
import shutil
from typing import Any

from typer.core import TyperCommand, TyperGroup

__all__ = ["CommandGroup", "GroupedCommand", "examples", "narrow_settings"]


# click breaks no line before this column, however narrow the terminal is.
_NARROW = 52


def narrow_settings() -> dict[str, int]:
    """Return the settings of a command that fit its help on the terminal, if that is narrower than click expects."""
    columns = shutil.get_terminal_size().columns
    return {"terminal_width": columns - 2} if 20 <= columns < _NARROW else {}


def _column(formatter: Any) -> int:
    return 24 if formatter.width > _NARROW else 14


class GroupedCommand(TyperCommand):
    """A command whose help groups its options by `rich_help_panel`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments, and reword errors about what the user typed."""
        try:
            parsed: list[str] = super().parse_args(ctx, args)
        except Exception as error:
            message = getattr(error, "message", None)
            if isinstance(message, str):
                error.message = self._plainly(message)  # type: ignore[attr-defined]
            raise
        return parsed

    def _plainly(self, message: str) -> str:
        if "unexpected extra argument" in message and any(known.name == "question" for known in self.params):
            return f"{message}; put the question in quotes"
        message = re.sub(
            r"Input should be a valid (\w+), unable to parse string as an? \w+", r"it must be a \1", message
        )
        return message.replace("Input should be", "it must be")

    # `Any`: depending on its version, typer uses click's classes or copies of them.
    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments, then options by group."""
        groups: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                name, about = record
                # Newer versions of typer add the type of an argument, in Python's words.
                record = re.sub(r" <\w+(\[\w+\])?>$", "", name), about
                usual = "Arguments" if parameter.param_type_name == "argument" else "Options"
                groups.setdefault(getattr(parameter, "rich_help_panel", None) or usual, []).append(record)
        for heading, records in groups.items():
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records, col_max=_column(formatter))


class CommandGroup(TyperGroup):
    """A group whose help does not shorten what its commands do."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write each command with the first sentence of its help."""
        found = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        # Without a limit, click would cut it to fit on one line.
        records = [(name, command.get_short_help_str(limit=500)) for name, command in found if command is not None]
        with formatter.section("Commands"):
            formatter.write_dl(records, col_max=_column(formatter))


def examples(*commands: str) -> str:
    """Write an epilog with example commands, one on each line."""
    # \b keeps the lines as they are.
    return "\b\nExamples:\n" + "\n".join(f"  chat-sessions {command}" for command in commands)
