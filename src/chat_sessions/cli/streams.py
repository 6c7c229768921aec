"""The standard streams of the process, where one is closed or cannot be written."""

from __future__ import annotations

import os
import sys
from typing import TextIO

__all__ = ["discard", "open_missing", "unwritable"]


def open_missing() -> None:
    """Open the null device in place of each standard stream that the caller closed.

    Python makes such a stream None, and the next file that is opened, even a socket, would be in its place.
    """
    for name, mode in ("stdin", "r"), ("stdout", "w"), ("stderr", "w"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115 (for as long as the process lives)


def unwritable() -> dict[str, TextIO]:
    """Return those of stdout and stderr, by name, whose output cannot be written, as when their disk is full."""
    found: dict[str, TextIO] = {}
    for name, stream in ("stdout", sys.stdout), ("stderr", sys.stderr):
        try:
            stream.flush()
        except OSError:
            found[name] = stream
    return found


def discard(stream: TextIO) -> None:
    """Drop what this stream still holds and all that follows: Python flushes it once more at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
