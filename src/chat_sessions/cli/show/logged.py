"""Show at the terminal what the package logs."""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager

from chat_sessions.cli.show.terminal import Terminal

__all__ = ["logged"]


@contextmanager
def logged(name: str, terminal: Terminal, level: int = logging.WARNING) -> Generator[None]:
    """Show each record of this logger during the block, from this level on, as a line without traceback."""
    logger, handler = logging.getLogger(name), _Handler(terminal)
    usual = logger.level
    logger.addHandler(handler)
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.setLevel(usual)
        logger.removeHandler(handler)


class _Handler(logging.Handler):
    def __init__(self, terminal: Terminal) -> None:
        super().__init__()
        self._terminal = terminal

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        reason = f": {type(error).__name__}: {error}" if error else ""
        text = " ".join(f"{record.getMessage()}{reason}".split())
        if record.levelno < logging.WARNING:
            self._terminal.note(f"{text[:1].upper()}{text[1:]}")
        else:
            self._terminal.warn(text)
