"""What is left on a terminal after everything that was written to it."""

from __future__ import annotations

import re
import sys

_PIECES = re.compile(r"\x1b\[([0-9?;]*)([A-Za-z])|([\r\n])|([^\x1b\r\n]+)")


def left_on_screen(written: str, width: int = sys.maxsize) -> str:
    """The lines of an endless screen. Knows moves upwards and erased lines, which is all that is used.

    A line that is full goes on in the next one.
    """
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
        else:
            while text:
                if column == width:
                    row, column = row + 1, 0
                    lines += [""] * (row + 1 - len(lines))
                piece, text = text[: width - column], text[width - column :]
                lines[row] = lines[row].ljust(column)[:column] + piece + lines[row][column + len(piece) :]
                column += len(piece)
    return "\n".join(line.rstrip() for line in lines).strip("\n")
