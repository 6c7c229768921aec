"""What the templates show of a turn, ready to print."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup
from pydantic import BaseModel, JsonValue

from chat_sessions.core.errors import TurnFailed
from chat_sessions.core.images import inline_image
from chat_sessions.core.models import ImageAttachment, Usage
from chat_sessions.core.sources import Source, page_range
from chat_sessions.core.turn import Turn
from chat_sessions.web.render.blocks import Block, Blocks, Words
from chat_sessions.web.render.markdown import open_headings, render_markdown, stable_end
from chat_sessions.web.render.marks import Marks, marks_of
from chat_sessions.web.render.remedies import remedy_for, remedy_for_failed

__all__ = [
    "BlockView",
    "SourceView",
    "TurnView",
    "attachments_of",
    "block_view",
    "duration_text",
    "image_key",
    "image_parts",
    "prompt_words",
    "source_views",
    "usage_text",
]

# A browser would stutter over a megabyte; the export has all of it.
_LONGEST_RESULT = 20_000
_NOTHING = Markup()
# What every browser shows, and runs nothing of.
_PICTURE = re.compile(r"data:image/(png|jpeg|gif|webp);base64,")
_FORMATTED = re.compile(r"\A#{1,6} |^\|[ :|-]+\|$", re.MULTILINE)


@dataclass(frozen=True)
class BlockView:
    """A block of an answer: words (`kind` "text" or "thinking"), or a tool run ("run").

    Words of a running turn are `stable` blocks, which stay, and a `tail`, which more text may change. `pictures` are a
    result's images whose address contains them; `links` are those on other hosts, which the page does not load.
    """

    id: str
    kind: str
    stable: Markup = _NOTHING
    tail: Markup = _NOTHING
    name: str = ""
    arguments: str = ""
    result: str = ""
    status: str = ""
    duration: str = ""
    image: str | None = None
    pictures: tuple[str, ...] = ()
    links: tuple[str, ...] = ()


@dataclass(frozen=True)
class SourceView:
    """A passage: where it is from, its score, its text, the key of its page's image, and its marks there.

    `key` is the same for the same text.
    """

    place: str
    score: str
    text: Markup
    image: str | None
    marks: Marks | None
    key: str


@dataclass(frozen=True)
class TurnView:
    """A turn. `state` is "" for one that has ended well."""

    number: int
    words: str
    blocks: list[BlockView]
    sources: list[SourceView]
    usage: str
    state: str = ""
    error: str | None = None
    error_name: str = ""
    remedy: str = ""
    skipped: tuple[str, ...] = field(default=())
    pictures: tuple[str, ...] = ()
    links: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        number: int,
        turn: Turn,
        *,
        blocks: Blocks | None = None,
        state: str = "",
        error: BaseException | None = None,
    ) -> TurnView:
        """Return the view of a turn; `blocks`, `state` and `error` are for one that runs or was sent from here."""
        is_running = state in ("waiting", "running", "looking up")
        items = (blocks or Blocks.of(turn)).items
        # The remedy has the advice that the text of a `TurnFailed` gives.
        message = turn.error if error is None or isinstance(error, TurnFailed) else str(error)
        if state == "asks":
            # The error tells a program how to answer; the page asks.
            message = None
        return cls(
            number,
            prompt_words(turn),
            [block_view(number, place, block, is_running=is_running) for place, block in enumerate(items)],
            source_views(turn.sources),
            usage_text(turn.usage),
            state or ("" if turn.is_complete or message else "unfinished"),
            message,
            (type(error) if error is not None else TurnFailed).__name__ if message else "",
            (remedy_for(error) if error is not None else remedy_for_failed(turn)) if message else "",
            turn.skipped_index_ids,
            *image_parts(turn.image_urls),
        )


def block_view(turn: int, place: int, block: Block, *, is_running: bool = False) -> BlockView:
    """Return the view of a block."""
    name = f"turn-{turn}-{place}"
    if isinstance(block, Words):
        kind = "thinking" if block.is_thinking else "text"
        text = block.text
        if not is_running:
            return BlockView(name, kind, _safe(text))
        end = stable_end(text)
        return BlockView(name, kind, _safe(text[:end]), _safe(text[end:], above=open_headings(text[:end])))
    run = block.run
    pictures, links = image_parts(run.image_urls)
    result = "" if run.status in ("running", "unanswered") else _readable(run.result)
    if len(result) > _LONGEST_RESULT:
        result = f"{result[:_LONGEST_RESULT]}…\n({len(result):,} characters; the export as JSON has all of them)"
    return BlockView(
        name,
        "run",
        name=run.name,
        arguments=_readable(dict(run.arguments)),
        result=result,
        status=run.status,
        duration="" if block.seconds is None else duration_text(block.seconds),
        image=image_key(run.image_attachment) if run.image_attachment else None,
        pictures=pictures,
        links=links,
    )


def prompt_words(turn: Turn) -> str:
    """What was asked, or why there are no words to show."""
    if turn.prompt is None:
        return "(the message is not in the history)"
    return turn.prompt or "(an image without words)"


def source_views(sources: Iterable[Source]) -> list[SourceView]:
    """Return the views of passages."""
    return [
        SourceView(
            (source.file_name or source.file_id or "A passage")
            + (f" p. {pages}" if (pages := page_range(source)) else ""),
            "" if source.score is None else f"{source.score:.2f}",
            _passage(source.text.strip()),
            image_key(source.image) if source.image else None,
            marks_of(source),
            hashlib.sha256(source.text.encode("utf-8", "replace")).hexdigest()[:12],
        )
        for source in sources
    ]


def attachments_of(turns: Iterable[Turn]) -> dict[str, ImageAttachment]:
    """Return the images that turns cite, by the key in their address, which never contains a file name."""
    found: dict[str, ImageAttachment] = {}
    for turn in turns:
        images = [run.image_attachment for run in turn.tool_runs] + [source.image for source in turn.sources]
        found.update((image_key(image), image) for image in images if image is not None)
    return found


def image_key(image: ImageAttachment) -> str:
    """Return the key of an image for its address."""
    return hashlib.sha256(f"{image.source_id}\0{image.attachment_name}".encode()).hexdigest()[:32]


def duration_text(seconds: float) -> str:
    """Write a duration."""
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


def usage_text(usage: Usage | None) -> str:
    """Write what a turn cost in one line; "" if the service does not report it."""
    if usage is None:
        return ""
    parts = [
        f"{usage.input_tokens:,} tokens in" if usage.input_tokens is not None else "",
        f"{usage.output_tokens:,} out" if usage.output_tokens is not None else "",
        duration_text(usage.duration_ms / 1000) if usage.duration_ms else "",
        f"${usage.cost:.4f}" if usage.cost else "",
    ]
    return " · ".join(part for part in parts if part)


def image_parts(urls: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Split images into those that their address contains and those on other hosts."""
    given = tuple(urls)
    return (
        tuple(url for url in given if _PICTURE.match(url) and inline_image(url) is not None),
        tuple(url for url in given if url.startswith(("https://", "http://"))),
    )


def _passage(text: str) -> Markup:
    """Return a passage as plain text, or as Markdown if it has a heading or a table."""
    return _safe(text, is_quoted=True) if _FORMATTED.search(text) else Markup('<p class="plain">{}</p>').format(text)


def _safe(text: str, *, is_quoted: bool = False, above: tuple[int, ...] = ()) -> Markup:
    return Markup(render_markdown(text, is_quoted=is_quoted, above=above))  # noqa: S704 (cleaned by nh3)


def _readable(value: JsonValue | Mapping[str, Any]) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, indent=2, ensure_ascii=False, default=_model)


def _model(value: Any) -> Any:
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else str(value)
