"""The program: its commands, and how it starts."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable
from importlib.metadata import version
from typing import Annotated, Any, NoReturn

import typer

from chat_sessions.cli.commands import config, sessions
from chat_sessions.cli.commands.ask import ask
from chat_sessions.cli.commands.chat import chat
from chat_sessions.cli.commands.demo import demo
from chat_sessions.cli.commands.doctor import doctor
from chat_sessions.cli.commands.serve import serve
from chat_sessions.cli.commands.ui import ui
from chat_sessions.cli.errors import HELP, ExitCode, exit_code, report
from chat_sessions.cli.help import CommandGroup, GroupedCommand, examples, narrow_settings
from chat_sessions.cli.streams import open_missing

__all__ = ["app", "run"]

app = typer.Typer(
    name="chat-sessions",
    cls=CommandGroup,
    help="Chat with your documents in sessions of the LlamaCloud Chat API, or of the same API on this machine.\n\n"
    "With LLAMA_CLOUD_API_KEY set, or --api-key, questions go to LlamaCloud; without a key, to a local server over "
    "your own files, which needs no key and no network. With --backend openhands, sessions are the conversations of "
    "an OpenHands Agent Server.",
    epilog="\b\n" + HELP,
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_COMMANDS: dict[Callable[..., Any], str] = {
    demo: examples("demo", 'demo docs/ -q "How long is the warranty?"'),
    ask: examples(
        'ask "How long is the warranty?" -i docs/',
        'ask "And when refurbished?" -c',
        'ask "Which risks?" -i docs/ --json',
        "ask - -i docs/ < question.txt",
    ),
    chat: examples(
        "chat -i docs/", "chat -c", "chat -i docs/ --llm qwen3:4b \\\n    --llm-base-url http://127.0.0.1:11434/v1"
    ),
    ui: examples("ui docs/", "ui --backend openhands"),
    serve: examples("serve docs/", "serve reports=docs/ --port 9000", "serve docs/ --agent my_agents:graph"),
    doctor: examples("doctor", "doctor -i idx-abc123"),
}
for _command, _examples in _COMMANDS.items():
    app.command(cls=GroupedCommand, epilog=_examples)(_command)
app.add_typer(sessions.app, name="sessions")
app.add_typer(config.app, name="config")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"chat-sessions {version('chat-sessions')}")
        raise typer.Exit


@app.callback()
def program(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Take the options of the program itself."""


def run() -> NoReturn:
    """Run the program on `sys.argv` and exit."""
    # Libraries log for programs; Python would print it to the user.
    logging.getLogger().addHandler(logging.NullHandler())
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    open_missing()
    try:
        app(prog_name="chat-sessions", **narrow_settings())
    except KeyboardInterrupt:
        sys.exit(ExitCode.INTERRUPTED)
    except OSError as error:
        # Of the help, which no command prints.
        report(error)
        sys.exit(exit_code(error))
    sys.exit(ExitCode.OK)
