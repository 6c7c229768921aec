"""The end of a command: its exit code, and on stderr what ended it, never a traceback."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import ParamSpec

import typer

from chat_sessions.cli.exits import ExitCode, exit_code
from chat_sessions.cli.terminal import Terminal
from chat_sessions.core.errors import ChatSessionsError

__all__ = ["ending"]

_Parameters = ParamSpec("_Parameters")


def ending(command: Callable[_Parameters, ExitCode | None]) -> Callable[_Parameters, None]:
    """The command, ended with its exit code and without a traceback."""

    @functools.wraps(command)
    def ended(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> None:
        try:
            code = command(*args, **kwargs) or ExitCode.OK
            sys.stdout.flush()
        except typer.Exit:
            raise
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 (whatever happens, a person reads it)
            code = _tell(error)
        raise typer.Exit(code)

    return ended


def _tell(error: BaseException) -> ExitCode:
    """Say on stderr what ended the command; gives its code."""
    code = exit_code(error)
    if isinstance(error, BrokenPipeError):
        # Python flushes stdout once more when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return code
    terminal = Terminal()
    if isinstance(error, KeyboardInterrupt):
        terminal.note("Interrupted", "yellow")
    elif isinstance(error, ChatSessionsError):
        terminal.error(str(error))
    elif isinstance(error, OSError):
        terminal.error(f"{error.strerror or error}" + (f": {error.filename}" if error.filename else ""))
        code = ExitCode.USAGE
    elif os.environ.get("CHAT_SESSIONS_DEBUG"):
        raise error
    else:
        terminal.error(
            f"{type(error).__name__}: {error}. This is a fault of chat-sessions; CHAT_SESSIONS_DEBUG=1 shows where"
        )
    return code
