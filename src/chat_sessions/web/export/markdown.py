"""A session as Markdown."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence

from chat_sessions.core.events import Session
from chat_sessions.core.turn import Turn
from chat_sessions.web.render.blocks import Block, Blocks, Words
from chat_sessions.web.render.views import image_parts, prompt_words, source_views, usage_text

__all__ = ["markdown_of"]


def markdown_of(session: Session, turns: Sequence[Turn], indexes: Sequence[str]) -> str:
    """Return the session, with `indexes` as what it asks, as Markdown. The answers stay as the agent wrote them."""
    return "\n\n".join(part for part in _parts(session, turns, indexes) if part) + "\n"


def _parts(session: Session, turns: Sequence[Turn], indexes: Sequence[str]) -> Iterator[str]:
    yield f"# {_line(session.generated_title or '(no title)')}"
    about = [session.session_id, f"{session.last_updated_at:%Y-%m-%d %H:%M} UTC", *indexes]
    yield " · ".join(_line(part) for part in about)
    for number, turn in enumerate(turns, 1):
        yield f"## Turn {number}"
        yield _quoted(prompt_words(turn))
        yield _images(turn.image_urls)
        for block in Blocks.of(turn).items:
            yield _block(block)
        if turn.error:
            yield f"**This turn failed:** {_line(turn.error)}"
        elif not turn.is_complete:
            yield "*This turn has not ended.*"
        if turn.sources:
            yield "### Sources"
        for place, (source, view) in enumerate(zip(turn.sources, source_views(turn.sources), strict=True), 1):
            score = f" (score {view.score})" if view.score else ""
            yield f"{place}. {_line(view.place)}{score}\n\n{_quoted(source.text, '   > ')}"
        yield usage_text(turn.usage)


def _block(block: Block) -> str:
    if isinstance(block, Words):
        return f"*Thinking:*\n\n{_quoted(block.text)}" if block.is_thinking else block.text.strip()
    run = block.run
    parts = [f"**Tool run `{_line(run.name)}`** ({run.status})", _fenced(_json(dict(run.arguments)))]
    if run.status not in ("running", "unanswered"):
        parts.append(_fenced(run.result if isinstance(run.result, str) else _json(run.result)))
    return "\n\n".join(part for part in (*parts, _images(run.image_urls)) if part)


def _images(urls: Sequence[str]) -> str:
    held, elsewhere = image_parts(urls)
    told = f"*Images, which the exports as HTML and JSON hold: {len(held)}.*" if held else ""
    return "\n\n".join(filter(None, (told, *(f"Image: <{url}>" for url in elsewhere))))


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _fenced(text: str) -> str:
    """Put the text in a code block whose fence is longer than any in the text."""
    longest = max((len(ticks) for ticks in re.findall(r"`{3,}", text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}\n{text}\n{fence}"


def _quoted(text: str, mark: str = "> ") -> str:
    return "\n".join(f"{mark}{line}".rstrip() for line in text.strip().splitlines())


def _line(text: str) -> str:
    return " ".join(text.split())
