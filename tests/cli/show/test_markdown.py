"""Markdown is rendered while it comes, and what is to be copied stays whole."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence

import pytest
from rich.console import Console

from chat_sessions.cli.show.markdown import MarkdownStream
from tests.cli.show.screen import left_on_screen

ANSWER = """\
## Delivery

Freight takes **nine** days, see `freight.md`.

| route | days |
|---|---|
| north | 9 |
| south | 12 |

- by sea
- by rail

> The harbour closes at noon.

```python
for route in routes: print(route.name, route.days, route.harbour, route.closes_at)
```

1. Ask
2. Wait
"""
RENDERED = """\
Delivery

Freight takes nine days, see freight.md.

 route  days
 ━
 north  9
 south  12

 • by sea
 • by rail

▌ The harbour closes at noon.

for route in routes: print(route.name, route.days, route.harbour, route.closes_at)

 1 Ask
 2 Wait"""


def shown(pieces: Sequence[str], width: int = 60, height: int = 25) -> str:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=width, height=height, color_system=None)
    stream = MarkdownStream(console)
    for piece in pieces:
        stream.feed(piece)
    stream.finish()
    return left_on_screen(file.getvalue())


def tokens(text: str) -> list[str]:
    return re.findall(r"\s+|\S+?(?=\s|[|`*])|\S", text)


def test_every_kind_of_block_is_rendered() -> None:
    # Rich draws the line below a table's head in one way or the other, by its version.
    assert re.sub("[─━]+", "━", shown([ANSWER])) == RENDERED


@pytest.mark.parametrize("height", [4, 25])
def test_an_answer_that_comes_piece_by_piece_looks_in_the_end_as_if_it_had_come_at_once(height: int) -> None:
    assert "".join(tokens(ANSWER)) == ANSWER
    assert shown(tokens(ANSWER), height=height) == shown([ANSWER])
    assert shown(list(ANSWER), height=height) == shown([ANSWER])


def test_keys_that_the_terminal_echoes_meanwhile_leave_the_answer_whole() -> None:
    file = io.StringIO()
    stream = MarkdownStream(Console(file=file, force_terminal=True, width=60, color_system=None))
    stream.feed("The warranty lasts")
    file.write("^C")
    stream.finish()
    assert left_on_screen(file.getvalue(), width=60) == "The warranty lasts"


def test_text_shows_before_its_block_is_complete() -> None:
    file = io.StringIO()
    stream = MarkdownStream(Console(file=file, force_terminal=True, width=60, color_system=None))
    stream.feed("It takes **nine")
    assert "It takes **nine" in left_on_screen(file.getvalue())
    stream.finish()


@pytest.mark.parametrize(
    "whole",
    [
        "https://example.com/" + "a" * 60,
        "pip install 'chat-sessions[llama-index,langchain]' --index-url https://example.com/simple",
    ],
)
@pytest.mark.parametrize(
    "frame", ["Run `{}` now.", "- first\n- run `{}`", "> `{}`", "```\n{}\n```", "- a\n\n  ```\n  {}\n  ```"]
)
def test_code_and_addresses_that_do_not_fit_are_not_broken(whole: str, frame: str) -> None:
    assert whole in shown([frame.format(whole)], width=40)


def test_the_address_of_a_link_is_shown_whole() -> None:
    address = "https://example.com/" + "a" * 60
    assert address in shown([f"See [the page]({address})."], width=40)
    assert "the page (https://example.com)" in shown(["See [the page](https://example.com)."])


@pytest.mark.parametrize("text", ["List<T> is a type", "<b>bold</b>", "<div>\nkept\n</div>", "a\n\n<!-- note -->"])
def test_what_markdown_would_swallow_is_shown_as_it_came(text: str) -> None:
    assert shown([text]) == text


def test_a_word_that_is_wider_than_a_cell_leaves_its_table_as_it_came() -> None:
    table = "| key | value |\n|---|---|\n| " + "a" * 50 + " | " + "b" * 50 + " |"
    assert shown([table], width=40) == table


def test_the_words_of_a_paragraph_wrap() -> None:
    assert shown(["The quick brown fox jumps over the lazy dog"], width=20) == (
        "The quick brown fox\njumps over the lazy\ndog"
    )


def test_nothing_but_blank_lines_shows_nothing() -> None:
    assert shown(["\n", "\n\n"]) == ""
    assert shown(["\n\n", "a"]) == "a"
