"""Text from documents and services, made safe to print."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from pathlib import Path

__all__ = ["clean", "one_line", "program"]

# C0 except tab and newline, DEL, C1; the marks that reorder text, so that a line reads differently from
# what it contains (Unicode UAX #9); and lone surrogates, which no encoding can write.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_LINE_ENDS = re.compile("\r\n|[\u2028\u2029]")


def clean(text: str) -> str:
    """Remove everything a terminal would act on, except newlines and tabs."""
    return _UNSAFE.sub("", _LINE_ENDS.sub("\n", text))


def one_line(text: str, limit: int = 200) -> str:
    """Clean the text and fit it on one line of at most `limit` characters."""
    line = " ".join(clean(text).split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


def program() -> str:
    """Return the command that runs this program again: the path that was typed if `PATH` lacks it, else its name."""
    typed = Path(sys.argv[0])
    is_found = typed.stem != "chat-sessions" or shutil.which("chat-sessions")
    return "chat-sessions" if is_found else shlex.quote(str(typed))
