"""What is left on a terminal after everything that was written to it."""

from __future__ import annotations

import re

_PIECES = re.compile(r"\x1b\[([0-9?;]*)([A-Za-z])|([\r\n])|([^\x1b\r\n]+)")


def left_on_screen(written: str) -> str:
    """The lines of an endless screen. Knows moves upwards and erased lines, which is all that is used."""
    lines, row, column = [""], 0, 0
    for count, action, control, text in _PIECES.findall(written):
        if action == "A":
            row = max(row - int(count or 1), 0)
        elif action == "K":
            assert count == "2", count
            lines[row] = ""
        elif control == "\r":
            column = 0
        elif control:
            row, column = row + 1, 0
            lines += [""] * (row + 1 - len(lines))
        elif text:
            lines[row] = lines[row].ljust(column)[:column] + text + lines[row][column + len(text) :]
            column += len(text)
    return "\n".join(line.rstrip() for line in lines).strip("\n")
