"""Write the answer to stdout and everything about it to stderr, without control sequences.

Text from documents and services may contain anything. `clean` removes what a terminal would act on, and
nothing is ever read as rich markup.
"""

from __future__ import annotations

import io
import re
import sys
import textwrap
from collections.abc import Callable, Generator
from contextlib import contextmanager

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from chat_sessions.cli.show.markdown import MarkdownStream
from chat_sessions.cli.show.text import clean

__all__ = ["Terminal"]

_PIECES = re.compile(r"\n|[^\S\n]+|\S+")


class _Cursor:
    """The column an output has reached, and the console that wrote the unfinished line."""

    def __init__(self) -> None:
        self.column = 0
        self.console: Console | None = None
        self.markdown: MarkdownStream | None = None

    def end_line(self) -> None:
        """Finish the line, or the Markdown, if one has begun."""
        if self.markdown is not None and self.markdown.is_open:
            self.markdown.finish()
        if self.column and self.console is not None:
            self.console.print()
        self.column = 0


class Terminal:
    """The two outputs of a command: stdout for the answer, stderr for everything about it.

    On a terminal, an answer is rendered as Markdown; with `plain`, and in a pipe or a file, it stays as it came.
    `quiet` drops everything about the answer except warnings and errors, and `silent` warnings about documents as well;
    `merged` writes it to stdout.
    """

    def __init__(self, *, quiet: bool = False, silent: bool = False, merged: bool = False, plain: bool = False) -> None:
        for stream in (sys.stdin, sys.stdout, sys.stderr):
            # An answer may contain characters that the terminal's encoding lacks. Once is enough: it writes what is
            # buffered, and input that has been read from allows no other setting.
            if isinstance(stream, io.TextIOWrapper) and stream.errors != "replace":
                stream.reconfigure(errors="replace")
        self.quiet = quiet
        self._silent = silent
        self._out = _console(stderr=False)
        self._err = self._out if merged else _console(stderr=True)
        self._shares_line = merged or (self._out.is_terminal and self._err.is_terminal)
        self._out_cursor = _Cursor()
        self._err_cursor = self._out_cursor if self._shares_line else _Cursor()
        self._gap_due = False
        if self._out.is_terminal and not plain and not self._out.is_dumb_terminal:
            self._out_cursor.markdown = MarkdownStream(self._out)

    @property
    def is_interactive(self) -> bool:
        """Whether there is a user to ask."""
        return sys.stdin.isatty() and self._err.is_terminal

    @property
    def is_terminal(self) -> bool:
        """Whether stdout is a terminal, not a pipe or a file."""
        return self._out.is_terminal

    @property
    def line_length(self) -> int:
        """The longest line that fits on stderr; 120 characters if that is not a terminal."""
        return self._err.width - 1 if self._err.is_terminal else 120

    def symbol(self, character: str, plain: str) -> str:
        """Return the character, or `plain` if the terminal's encoding lacks it."""
        try:
            character.encode(self._err.encoding)
        except UnicodeEncodeError:
            return plain
        return character

    def answer(self, text: str) -> None:
        """Show a piece of the answer at once, set off from the notes before it."""
        if self._gap_due:
            self.line()
            text = text.lstrip("\n")
        elif not self._out_cursor.column:
            # A thought has ended the line.
            text = text.removeprefix("\n")
        cursor = self._out_cursor
        if cursor.markdown is None:
            self._stream(self._out, cursor, clean(text), "", wrap=False)
            return
        if cursor.column:
            cursor.end_line()
        cursor.markdown.feed(clean(text))

    def aside(self, text: str) -> None:
        """Show a piece of the agent's thinking at once, dimmed."""
        if not self.quiet:
            self._stream(self._err, self._err_cursor, clean(text), "dim italic")
            self._gap_due = self._shares_line

    def line(self, text: str = "", style: str = "", *, wrap: bool = True) -> None:
        """Print a line of the result. What is to be copied must not be wrapped."""
        self._gap_due = False
        self._line(self._out, self._out_cursor, text, style, wrap=wrap)

    def labelled(self, label: str, style: str, text: str, *, wrap: bool = True) -> None:
        """Print a line of the result after a coloured label; a long text continues below its own start."""
        text = clean(text)
        if self._out.is_terminal and wrap:
            room = max(20, self._out.width - len(label) - 1)
            text = ("\n" + " " * len(label)).join(textwrap.wrap(text, room, break_on_hyphens=False))
        self._gap_due = False
        self._out.print(Text.assemble((label, style), text), soft_wrap=True)

    def note(self, text: str, style: str = "dim", *, wrap: bool = True) -> None:
        """Print a line about the result."""
        if not self.quiet:
            self._line(self._err, self._err_cursor, text, style, wrap=wrap)
            self._gap_due = self._shares_line

    def warn(self, text: str) -> None:
        """Print a warning."""
        self.notice(f"Warning: {text}")

    def warn_of_document(self, text: str) -> None:
        """Print a warning about a document, which comes again with each command over its folder."""
        if not self._silent:
            self.warn(text)

    def notice(self, text: str) -> None:
        """Print a line that the user must see, `quiet` or not."""
        # It may hold a command to copy, as an error does.
        self._line(self._err, self._err_cursor, text, "yellow", wrap=False)

    def error(self, text: str) -> None:
        """Print why the command failed."""
        self._line(self._err, self._err_cursor, f"Error: {text}", "red", wrap=False)

    @contextmanager
    def working(self, text: str) -> Generator[Callable[[str], None]]:
        """Show on a terminal that something takes a while. Yields what shows another text in its place."""
        if self.quiet or not self._err.is_terminal:
            yield lambda _: None
            return
        self.end_line()
        with self._err.status(Text(clean(text), style="dim")) as status:
            yield lambda other: status.update(Text(clean(other), style="dim"))

    def ask(self, question: str) -> str:
        """Ask a question and return the answer, stripped; empty at the end of input."""
        self._err.print(Text(f"{clean(question)} "), end="")
        try:
            return sys.stdin.readline().strip()
        except KeyboardInterrupt:
            self._err.print()
            raise

    def json(self, text: str) -> None:
        """Print JSON as it is."""
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    def end_line(self) -> None:
        """Finish the current line if one has begun."""
        self._out_cursor.end_line()
        self._err_cursor.end_line()

    def _line(self, console: Console, cursor: _Cursor, text: str, style: str, *, wrap: bool = True) -> None:
        cursor.end_line()
        text = clean(text)
        if console.is_terminal and wrap:
            text = _wrapped(text, _Cursor(), console.width)
        _print(console, text, style, end="\n")

    def _stream(self, console: Console, cursor: _Cursor, text: str, style: str, *, wrap: bool = True) -> None:
        if cursor.console is not console or (cursor.markdown is not None and cursor.markdown.is_open):
            cursor.end_line()
        cursor.console = console
        if console.is_terminal and wrap:
            text = _wrapped(text, cursor, console.width)
        elif text:
            cursor.column = 0 if text.endswith("\n") else 1
        _print(console, text, style, end="")


def _print(console: Console, text: str, style: str, *, end: str) -> None:
    if console.is_terminal:
        # rich would break an address that is longer than the line, and the terminal would no longer open it.
        console.print(Text(text, style=style), end=end, soft_wrap=True)
    else:
        # rich would turn tabs into spaces.
        console.file.write(text + end)
        console.file.flush()


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Let the command end as it does for any other error; rich would exit here."""
        raise BrokenPipeError


def _console(*, stderr: bool) -> Console:
    return _Console(stderr=stderr, markup=False, highlight=False, emoji=False)


def _wrapped(text: str, cursor: _Cursor, width: int) -> str:
    """Break the text between words where it would run over the edge, and move the cursor."""
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
            # The terminal itself breaks a word that is longer than the line.
            cursor.column = cursor.column + length if cursor.column + length <= width else length % width
    return "".join(shown)
