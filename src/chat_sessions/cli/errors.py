"""Exit codes: one for each kind of end, the same for every command."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from enum import IntEnum
from typing import ParamSpec

import typer

from chat_sessions.cli.show.terminal import Terminal
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

__all__ = ["HELP", "ExitCode", "UnknownName", "exit_code", "handle_errors"]

_Parameters = ParamSpec("_Parameters")


class ExitCode(IntEnum):
    """What the process says of its end. Scripts may rely on the numbers."""

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
  1    the turn failed, was cut off, or stalled; what came of it was printed
  2    wrong usage or configuration, or documents that cannot be read
  3    the API key was refused, or may not do this
  4    no such session, index, folder or file
  5    the service failed or cannot be reached
  6    it is not known whether the question arrived; look at the session
  130  interrupted with Ctrl-C
"""


class UnknownName(ConfigurationError):
    """A folder, file, index or session that was named does not exist."""


_CODES: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], ExitCode], ...] = (
    (KeyboardInterrupt, ExitCode.INTERRUPTED),
    (BrokenPipeError, ExitCode.READER_GONE),
    (TurnOutcomeUnknown, ExitCode.OUTCOME_UNKNOWN),
    (TurnError, ExitCode.TURN_FAILED),
    ((AuthenticationError, PermissionDeniedError), ExitCode.NO_ACCESS),
    ((NotFoundError, UnknownName), ExitCode.NOT_FOUND),
    ((UnprocessableEntityError, ConfigurationError), ExitCode.USAGE),
    ((APIError, ProtocolError), ExitCode.SERVICE),
)


def exit_code(error: BaseException) -> ExitCode:
    """The code for a command that ended with this error."""
    return next((code for kinds, code in _CODES if isinstance(error, kinds)), ExitCode.BUG)


def handle_errors(command: Callable[_Parameters, ExitCode | None]) -> Callable[_Parameters, None]:
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
