"""Errors and exit codes: one code for each kind of end, the same for every command."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from enum import IntEnum
from typing import ParamSpec

import typer

from chat_sessions.cli.show.terminal import Terminal
from chat_sessions.cli.streams import discard, unwritable
from chat_sessions.core.errors import (
    APIError,
    AuthenticationError,
    ChatSessionsError,
    ConfigurationError,
    NotFoundError,
    PermissionDeniedError,
    ProtocolError,
    TurnError,
    TurnOutcomeUnknown,
    UnprocessableEntityError,
)

__all__ = ["HELP", "ExitCode", "UnknownName", "exit_code", "handle_errors", "report"]

_Parameters = ParamSpec("_Parameters")


class ExitCode(IntEnum):
    """How a command ended. Scripts may rely on the numbers."""

    OK = 0
    TURN_FAILED = 1
    USAGE = 2
    NO_ACCESS = 3
    NOT_FOUND = 4
    SERVICE = 5
    OUTCOME_UNKNOWN = 6
    BUG = 70
    INTERRUPTED = 130
    READER_GONE = 141


HELP = """\
Exit codes:
  0    it worked
  1    the turn failed, was cut off, or stalled
  2    wrong usage or configuration, or bad documents
  3    the API key was refused or lacks permission
  4    no such session, index, folder or file
  5    the service failed or cannot be reached
  6    unknown whether the question arrived
  130  interrupted with Ctrl-C
"""


class UnknownName(ConfigurationError):
    """The folder, file, index or session that was named does not exist."""


_CODES: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], ExitCode], ...] = (
    (KeyboardInterrupt, ExitCode.INTERRUPTED),
    (BrokenPipeError, ExitCode.READER_GONE),
    (TurnOutcomeUnknown, ExitCode.OUTCOME_UNKNOWN),
    (TurnError, ExitCode.TURN_FAILED),
    ((AuthenticationError, PermissionDeniedError), ExitCode.NO_ACCESS),
    ((NotFoundError, UnknownName), ExitCode.NOT_FOUND),
    ((UnprocessableEntityError, ConfigurationError, OSError), ExitCode.USAGE),
    ((APIError, ProtocolError), ExitCode.SERVICE),
)


def exit_code(error: BaseException) -> ExitCode:
    """Choose the code for a command that ended with this error."""
    return next((code for kinds, code in _CODES if isinstance(error, kinds)), ExitCode.BUG)


def handle_errors(command: Callable[_Parameters, ExitCode | None]) -> Callable[_Parameters, None]:
    """Wrap a command so that it ends with an exit code, and an error is one line on stderr, never a traceback."""

    @functools.wraps(command)
    def run(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> None:
        try:
            code = command(*args, **kwargs) or ExitCode.OK
            sys.stdout.flush()
        except typer.Exit:
            raise
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 (any error is reported to the user)
            code = exit_code(error)
            report(error)
        raise typer.Exit(code)

    return run


def report(error: BaseException) -> None:
    """Say in a line on stderr why the program ends."""
    if isinstance(error, BrokenPipeError):
        discard(sys.stdout)
        return
    full = unwritable()
    for stream in full.values():
        discard(stream)
    terminal = Terminal()
    if isinstance(error, KeyboardInterrupt):
        terminal.note(str(error) or "Interrupted", "yellow")
    elif isinstance(error, ChatSessionsError):
        terminal.error(str(error))
    elif isinstance(error, OSError):
        what = "".join(f"{name} cannot be written: " for name in full)
        terminal.error(f"{what}{error.strerror or error}" + (f": {error.filename}" if error.filename else ""))
    elif os.environ.get("CHAT_SESSIONS_DEBUG"):
        raise error
    else:
        terminal.error(
            f"{type(error).__name__}: {error}. This is a fault of chat-sessions; CHAT_SESSIONS_DEBUG=1 shows where"
        )
