"""An agent's Markdown as safe HTML: no script, no image from elsewhere, no attribute that the page itself uses."""

from __future__ import annotations

import re
from collections.abc import Iterable

import nh3
from markdown_it import MarkdownIt
from markdown_it.token import Token

__all__ = ["open_headings", "render_markdown", "stable_end"]

# An image in an answer would be fetched from wherever the answer says.
_parser = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"]).disable("image")
_TAGS = {
    "a",
    "blockquote",
    "br",
    "code",
    "del",
    "em",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "hr",
    "li",
    "ol",
    "p",
    "pre",
    "s",
    "strong",
    "table",
    "tbody",
    "td",
    "th",
    "thead",
    "tr",
    "ul",
}
# Levels 1 and 2 are the page's title and the message above an answer.
_PAGE_LEVELS = 2
# Each block follows the direction of its text. A list has one direction, so that its marks are on one side.
_DIRECTED = ("p", "ul", "ol", "h1", "h2", "h3", "h4", "h5", "h6", "blockquote")
_CELLS = ("td", "th")
# As in the parser: a line with other white space is not blank, and form feeds and Unicode separators do not end one.
_LINE = re.compile(r"([^\r\n]*)(\r\n|\r|\n)?")
_BLANKS = " \t"
# Backticks after the fence make it code within a paragraph.
_FENCE = re.compile(r"`{3,}(?=[^`]*\Z)|~{3,}")
_cleaner = nh3.Cleaner(
    tags=_TAGS,
    attributes={
        **{tag: {"dir"} for tag in _DIRECTED},
        "a": {"href", "title"},
        "ol": {"start", "dir"},
        **{tag: {"align", "dir"} for tag in _CELLS},
    },
    url_schemes={"http", "https", "mailto"},
    link_rel="noopener noreferrer nofollow",
    set_tag_attribute_values={
        "a": {"target": "_blank"},
        # So that the keyboard can reach what may scroll.
        "pre": {"tabindex": "0"},
        "table": {"tabindex": "0"},
    },
)


def render_markdown(text: str, *, is_quoted: bool = False, above: tuple[int, ...] = ()) -> str:
    """Return the text as HTML.

    Its headings are nested below those of the page and skip no level, whatever levels the text uses; `above` are the
    levels open where the text begins. The headings of a quoted text become bold text.
    """
    tokens = _parser.parse(text)
    _nest(tokens, above, is_quoted=is_quoted)
    for token in tokens:
        # Only outermost blocks: `auto` ignores text within an element that has its own `dir`.
        if token.nesting == 1 and ((token.tag in _DIRECTED and token.level == 0) or token.tag in _CELLS):
            token.attrSet("dir", "auto")
    return _cleaner.clean(_parser.renderer.render(tokens, _parser.options, {}))


def open_headings(text: str, above: tuple[int, ...] = ()) -> tuple[int, ...]:
    """Return the levels of the headings that are open at the end of the text."""
    return _nest(_parser.parse(text), above)


def _nest(tokens: Iterable[Token], above: tuple[int, ...], *, is_quoted: bool = False) -> tuple[int, ...]:
    for token in tokens:
        if token.type == "heading_open":
            level = int(token.tag[1])
            above = (*(one for one in above if one < level), level)
        if token.type in ("heading_open", "heading_close"):
            token.tag = "strong" if is_quoted else f"h{min(6, len(above) + _PAGE_LEVELS)}"
    return above


def stable_end(text: str, start: int = 0) -> int:
    """Return the end of the blocks that more text cannot change, searching from `start`, itself such an end.

    A block ends at a blank line outside a code fence, before a line that begins at the margin. A list that continues
    after a blank line is shown as two until the turn has ended and is rendered as a whole.
    """
    end, fence, was_blank = start, "", False
    for match in _LINE.finditer(text, start):
        line, ending = match.groups()
        bare = line.strip(_BLANKS)
        if was_blank and not fence and bare and line[0] not in _BLANKS:
            end = match.start()
        if not ending:
            break
        if fence:
            fence = "" if bare.startswith(fence) and not bare.strip(fence[0]) else fence
        elif opening := _FENCE.match(bare):
            fence = opening[0]
        was_blank = not bare
    return end
