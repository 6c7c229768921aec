"""What the package logs, shown at the terminal."""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager

from chat_sessions.cli.show.terminal import Terminal

__all__ = ["logged"]


@contextmanager
def logged(name: str, terminal: Terminal) -> Generator[None]:
    """Show the warnings of this logger meanwhile, a line each, without tracebacks."""
    logger, handler = logging.getLogger(name), _Handler(terminal)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


class _Handler(logging.Handler):
    def __init__(self, terminal: Terminal) -> None:
        super().__init__(logging.WARNING)
        self._terminal = terminal

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        reason = f": {type(error).__name__}: {error}" if error else ""
        self._terminal.warn(" ".join(f"{record.getMessage()}{reason}".split()))
