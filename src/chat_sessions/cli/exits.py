"""Exit codes: one for each kind of end, the same for every command."""

from __future__ import annotations

from enum import IntEnum

from chat_sessions.core.errors import (
    APIError,
    AuthenticationError,
    ConfigurationError,
    NotFoundError,
    PermissionDeniedError,
    ProtocolError,
    TurnError,
    TurnOutcomeUnknown,
    UnprocessableEntityError,
)

__all__ = ["HELP", "ExitCode", "UnknownName", "exit_code"]


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
