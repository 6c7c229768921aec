"""Render the Markdown of an answer on a terminal while it arrives.

A complete block is printed once; the last one is redrawn as it grows. What a user may copy stays whole: a block whose
words, code or URLs the layout would break is printed as it came.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from markdown_it import MarkdownIt
from markdown_it.token import Token
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.live import Live
from rich.markdown import Markdown, MarkdownElement, TextElement
from rich.segment import Segment, SegmentLines
from rich.text import Text

__all__ = ["MarkdownStream"]

_PARSER = MarkdownIt().enable("strikethrough").enable("table")
# Redraws per second, at most.
_FRAMES = 10


class MarkdownStream:
    """Prints the pieces of an answer as Markdown."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._text = ""
        self._is_first = True
        self._live: Live | None = None

    @property
    def is_open(self) -> bool:
        """Whether a block is not complete yet."""
        return bool(self._text)

    def feed(self, text: str) -> None:
        """Show a piece of the answer at once."""
        self._text += text if self._text else text.lstrip("\n")
        if "\n" in text:
            *done, self._text = _blocks(self._text)
            if done:
                self._print(done)
        if self._text and self._live is None:
            self._live = Live(
                get_renderable=self._tail,
                console=self._console,
                transient=True,
                refresh_per_second=_FRAMES,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start(refresh=True)

    def finish(self) -> None:
        """Print what is left, and begin a new text."""
        self._print([self._text])
        self._text = ""
        self._is_first = True

    def _print(self, blocks: list[str]) -> None:
        if self._live is not None:
            # Erases it.
            self._live.stop()
            self._live = None
        for block in filter(str.strip, blocks):
            if not self._is_first:
                self._console.print()
            self._is_first = False
            lines = _rendered(block, self._console)
            text = "\n".join("".join(segment.text for segment in line) for line in lines)
            if all(words in text for words in _to_copy(_PARSER.parse(block))):
                self._console.print(SegmentLines(lines, new_lines=True), end="", crop=False)
            else:
                self._console.print(Text(block.strip("\n")), soft_wrap=True)

    def _tail(self) -> Group:
        rows = max(self._console.height - 3, 1)
        # The cursor waits on an extra line, which is erased with the rest: the terminal echoes keys there, such as ^C.
        return Group(*([] if self._is_first else [""]), _LastRows(_Answer(self._text), rows), "")


class _LastRows:
    """The last rows, as many as fit on the screen."""

    def __init__(self, content: Markdown, rows: int) -> None:
        self._content = content
        self._rows = rows

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for line in console.render_lines(self._content, options, pad=False)[-self._rows :]:
            yield from line
            yield Segment.line()


class _Heading(TextElement):
    """A heading at the left, without a box."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        self.text.stylize("bold")
        yield self.text


class _Code(TextElement):
    """Code without a margin: its lines can be copied."""

    style_name = "none"

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(str(self.text).rstrip("\n"), style="cyan", no_wrap=True, overflow="ignore")


class _Answer(Markdown):
    elements: ClassVar[dict[str, type[MarkdownElement]]] = {
        **Markdown.elements,
        "heading_open": _Heading,
        "fence": _Code,
        "code_block": _Code,
    }

    def __init__(self, text: str) -> None:
        # An address is shown as it is: a link could hide another behind its words.
        super().__init__(text.strip("\n"), hyperlinks=False)


def _blocks(text: str) -> list[str]:
    """Split the text into blocks; the last may be incomplete."""
    lines = text.split("\n")
    starts = [token.map[0] for token in _PARSER.parse(text) if token.level == 0 and token.map and token.nesting >= 0]
    ends = [*starts[1:], len(lines)]
    return (
        ["\n".join(lines[start:end]) for start, end in zip([0, *starts[1:]], ends, strict=True)] if starts else [text]
    )


def _rendered(block: str, console: Console) -> list[list[Segment]]:
    """Render a block without the blank lines around it, such as a table's."""
    lines = list(Segment.split_lines(console.render(_Answer(block))))
    filled = [number for number, line in enumerate(lines) if any(segment.text.strip() for segment in line)]
    return lines[filled[0] : filled[-1] + 1] if filled else []


def _to_copy(tokens: list[Token]) -> Iterator[str]:
    """List what must not be broken: words, lines of code, addresses."""
    for token in tokens:
        if token.type == "inline":
            yield from _to_copy(token.children or [])
        elif token.type in ("fence", "code_block", "code_inline"):
            yield from (line for line in token.content.splitlines() if line.strip())
        else:
            yield from (word for word in token.content.split() if cell_len(word) == len(word))
            yield from (str(address) for address in [token.attrGet("href")] if address)
