"""`chat-sessions config`: show and change the config file."""

from __future__ import annotations

import getpass
import sys
from pathlib import Path
from typing import Annotated

import typer

from chat_sessions.cli import options
from chat_sessions.cli.errors import handle_errors
from chat_sessions.cli.help import CommandGroup, GroupedCommand, examples
from chat_sessions.cli.show.json import dump
from chat_sessions.cli.show.terminal import Terminal
from chat_sessions.cli.show.text import one_line
from chat_sessions.cli.where.config_file import NAMES, SECRETS, Config, config_path
from chat_sessions.core.errors import ConfigurationError
from chat_sessions.llama_cloud.settings import REGIONS

__all__ = ["app"]

app = typer.Typer(
    cls=CommandGroup,
    help="Show and change the config file.\n\nIt names the address, the backend and the indexes that commands use. "
    "Options and environment variables win.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_Name = Annotated[
    str, typer.Argument(metavar="NAME", autocompletion=lambda: list(NAMES), help=f"One of {', '.join(NAMES)}.")
]


def _values(ctx: typer.Context, incomplete: str) -> list[str]:
    """List the values that a name may have, for the shell's TAB key."""
    known = {"backend": ["llama-cloud", "openhands"], "region": list(REGIONS)}
    return [value for value in known.get(ctx.params.get("name") or "", []) if value.startswith(incomplete)]


@app.command(cls=GroupedCommand, epilog=examples("config show", "config show --json"))
@handle_errors
def show(as_json: options.AsJson = False) -> None:
    """Show what is set. Keys are masked."""
    terminal = Terminal()
    path = config_path()
    values = Config.read(path).values
    if as_json:
        terminal.json(dump(values))
        return
    for name, value in values.items():
        terminal.line(f"{name} = {one_line(value, 2000)}", wrap=False)
    if not values:
        terminal.note(f"Nothing is set in {path}", wrap=False)


@app.command(
    "set",
    cls=GroupedCommand,
    epilog=examples(
        "config set backend openhands",
        "config set index docs/",
        "config set region eu",
        "config set api-key --in-clear",
    ),
)
@handle_errors
def set_(
    name: _Name,
    value: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="VALUE", autocompletion=_values, help="The value; for index several: ids, folders or files."
        ),
    ] = None,
    in_clear: Annotated[
        bool,
        typer.Option("--in-clear", help="Allow a key in the file, which is not encrypted. The key is asked for."),
    ] = False,
) -> None:
    """Set a value."""
    terminal = Terminal()
    path = config_path()
    config = Config.read(path)
    _check_name(name)
    if name in SECRETS:
        given: object = _key(name, value, terminal, in_clear=in_clear)
    elif not value or (len(value) > 1 and name != "index"):
        raise ConfigurationError(f"{name} takes {'at least one value' if name == 'index' else 'one value'}")
    else:
        # So that it means the same folder wherever a command is run.
        given = [str(Path(item).resolve()) if Path(item).exists() else item for item in value]
        unknown = [item for item in value if not Path(item).exists() and not item.startswith("idx-")]
        if name == "index" and unknown:
            terminal.warn(f"there is no folder or file {one_line(unknown[0], 200)!r} here: it is kept as an index id")
        given = given if name == "index" else value[0]
    config.changed(name, given).write(path)
    terminal.note(f"Set {name} in {path}", wrap=False)


@app.command(cls=GroupedCommand, epilog=examples("config unset index"))
@handle_errors
def unset(name: _Name) -> None:
    """Remove a value."""
    terminal = Terminal()
    path = config_path()
    _check_name(name)
    config = Config.read(path)
    if name not in config.values:
        terminal.note(f"{name} is not set in {path}", wrap=False)
        return
    config.changed(name, None).write(path)
    terminal.note(f"Removed {name} from {path}", wrap=False)


@app.command(cls=GroupedCommand, epilog=examples("config path"))
@handle_errors
def path() -> None:
    """Print where the file is, whether it exists or not."""
    Terminal().line(str(config_path()), wrap=False)


def _check_name(name: str) -> None:
    if name not in NAMES:
        raise ConfigurationError(f"{one_line(name, 40)!r} is not known; the names are {', '.join(NAMES)}")


def _key(name: str, value: list[str] | None, terminal: Terminal, *, in_clear: bool) -> str:
    """Ask for a key, or read it from stdin. Raises `ConfigurationError`."""
    if not in_clear:
        raise ConfigurationError(
            f"the file is not encrypted: prefer the variable {'OPENHANDS' if 'openhands' in name else 'LLAMA_CLOUD'}"
            "_API_KEY, or add --in-clear"
        )
    if value:
        raise ConfigurationError(
            "other users of the machine can see a key on the command line: leave it out, and it is asked for"
        )
    key = getpass.getpass("Key: ") if terminal.is_interactive else sys.stdin.readline()
    return key.strip()
