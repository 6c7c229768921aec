"""What reaches the terminal: the answer on stdout, everything about it on stderr, and never a control sequence.

Text from documents and services may hold anything. `clean` takes out what a terminal would
act upon; nothing is ever read as rich markup.
"""

from __future__ import annotations

import io
import re
import sys
import textwrap
from contextlib import AbstractContextManager, nullcontext

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

__all__ = ["Terminal", "clean", "one_line"]

# C0 but for tab and newline, DEL, C1; the marks that reorder text, so that a line reads as another
# than it is (Unicode UAX #9); and lone surrogates, which no encoding can write.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_LINE_ENDS = re.compile("\r\n|[\u2028\u2029]")
_PIECES = re.compile(r"\n|[^\S\n]+|\S+")


def clean(text: str) -> str:
    """The text without anything that a terminal acts upon, but for newlines and tabs."""
    return _UNSAFE.sub("", _LINE_ENDS.sub("\n", text))


def one_line(text: str, limit: int = 200) -> str:
    """The text, clean, as one line of at most `limit` characters."""
    line = " ".join(clean(text).split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


class _Cursor:
    """How far a line has come, and on which console it stands."""

    def __init__(self) -> None:
        self.column = 0
        self.console: Console | None = None


class Terminal:
    """Writes the answer to stdout and what is said about it to stderr.

    On a terminal, lines break between words; in a pipe or a file the text stays as it came.
    `quiet` leaves out what is said about the answer, but not warnings; `merged` writes it to stdout too.
    """

    def __init__(self, *, quiet: bool = False, merged: bool = False) -> None:
        for stream in (sys.stdin, sys.stdout, sys.stderr):
            # An answer may hold characters that the terminal's encoding has not.
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")
        self.quiet = quiet
        self._out = _console(stderr=False)
        self._err = self._out if merged else _console(stderr=True)
        self._out_cursor = _Cursor()
        both = merged or (self._out.is_terminal and self._err.is_terminal)
        self._err_cursor = self._out_cursor if both else _Cursor()
        self._gap_due = False

    @property
    def is_interactive(self) -> bool:
        """Whether someone can be asked something."""
        return sys.stdin.isatty() and self._err.is_terminal

    @property
    def is_terminal(self) -> bool:
        """Whether stdout is one, and not a pipe or a file."""
        return self._out.is_terminal

    @property
    def line_length(self) -> int:
        """How long a line about the answer may be: what the terminal has, or 120 characters where there is none."""
        return self._err.width - 1 if self._err.is_terminal else 120

    def symbol(self, character: str, plain: str) -> str:
        """The character, or the plain one where the terminal's encoding has it not."""
        try:
            character.encode(self._err.encoding)
        except UnicodeEncodeError:
            return plain
        return character

    def answer(self, text: str) -> None:
        """A piece of the answer, shown at once, apart from what was said before it."""
        if self._gap_due:
            self.line()
        self._stream(self._out, self._out_cursor, clean(text), "")

    def aside(self, text: str) -> None:
        """A piece of a running remark, shown at once, dim."""
        if not self.quiet:
            self._stream(self._err, self._err_cursor, clean(text), "dim italic")
            self._gap_due = self._err_cursor is self._out_cursor

    def line(self, text: str = "", style: str = "") -> None:
        """A line of the result."""
        self._gap_due = False
        self._line(self._out, self._out_cursor, text, style)

    def labelled(self, label: str, style: str, text: str) -> None:
        """A line of the result after a coloured label; what is too long for a line goes on below itself."""
        text = clean(text)
        if self._out.is_terminal:
            room = max(20, self._out.width - len(label) - 1)
            text = ("\n" + " " * len(label)).join(textwrap.wrap(text, room, break_on_hyphens=False))
        self._gap_due = False
        self._out.print(Text.assemble((label, style), text), soft_wrap=True)

    def note(self, text: str, style: str = "dim") -> None:
        """A line about the result."""
        if not self.quiet:
            self._line(self._err, self._err_cursor, text, style)
            self._gap_due = self._err_cursor is self._out_cursor

    def warn(self, text: str) -> None:
        """A line that says what is not as it should be."""
        self._line(self._err, self._err_cursor, f"Warning: {text}", "yellow")

    def error(self, text: str) -> None:
        """Why the command ends."""
        self._line(self._err, self._err_cursor, f"Error: {text}", "red")

    def working(self, text: str) -> AbstractContextManager[object]:
        """Show, on a terminal, that something takes its time."""
        if self.quiet or not self._err.is_terminal:
            return nullcontext()
        self.end_line()
        return self._err.status(Text(clean(text), style="dim"))

    def confirm(self, question: str) -> bool:
        """Whether someone answers yes; no is the default."""
        return self.answer_to(f"{question} [y/N]").lower() in ("y", "yes")

    def ask_about(self, text: str) -> None:
        """A line that someone has to see before a question."""
        self._line(self._err, self._err_cursor, text, "yellow")

    def answer_to(self, question: str) -> str:
        """What someone types, without white space around it; nothing at the end of the input."""
        self._err.print(Text(f"{clean(question)} "), end="")
        try:
            return sys.stdin.readline().strip()
        except KeyboardInterrupt:
            self._err.print()
            raise

    def json(self, text: str) -> None:
        """A line of JSON, as it is."""
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    def end_line(self) -> None:
        """Begin a new line, where one is begun and not ended."""
        for cursor in (self._out_cursor, self._err_cursor):
            if cursor.column and cursor.console is not None:
                cursor.console.print()
                cursor.column = 0

    def _line(self, console: Console, cursor: _Cursor, text: str, style: str) -> None:
        if cursor.column and cursor.console is not None:
            cursor.console.print()
        cursor.column = 0
        _print(console, clean(text), style, end="\n")

    def _stream(self, console: Console, cursor: _Cursor, text: str, style: str) -> None:
        if cursor.console is not console and cursor.column and cursor.console is not None:
            cursor.console.print()
            cursor.column = 0
        cursor.console = console
        if console.is_terminal:
            text = _wrapped(text, cursor, console.width)
        elif text:
            cursor.column = 0 if text.endswith("\n") else 1
        _print(console, text, style, end="", wrap=False)


def _print(console: Console, text: str, style: str, *, end: str, wrap: bool = True) -> None:
    if console.is_terminal:
        console.print(Text(text, style=style), end=end, soft_wrap=not wrap)
    else:
        # As it is: rich would make spaces of tabs.
        console.file.write(text + end)
        console.file.flush()


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Let the command end as for any other error; rich would end the process here."""
        raise BrokenPipeError


def _console(*, stderr: bool) -> Console:
    return _Console(stderr=stderr, markup=False, highlight=False, emoji=False)


def _wrapped(text: str, cursor: _Cursor, width: int) -> str:
    """The text with line ends between words where it would run over the edge; moves the cursor."""
    shown: list[str] = []
    for piece in _PIECES.findall(text.expandtabs(4)):
        length = cell_len(piece)
        if piece == "\n":
            cursor.column = 0
        elif cursor.column and cursor.column + length > width:
            shown.append("\n")
            cursor.column = 0
            if piece.isspace():
                continue
        shown.append(piece)
        if piece != "\n":
            # A word longer than the line is broken by the terminal itself.
            cursor.column = cursor.column + length if cursor.column + length <= width else length % width
    return "".join(shown)
