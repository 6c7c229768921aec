"""The files that a session can be exported as."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Literal, cast, get_args

from markupsafe import Markup
from pydantic import BaseModel

from chat_sessions.core.errors import ChatSessionsError, ConfigurationError
from chat_sessions.core.events import Session
from chat_sessions.core.turn import Turn, replay, turn_fields
from chat_sessions.session.backend import AsyncBackend
from chat_sessions.web.export.markdown import markdown_of
from chat_sessions.web.images import fetch_image, media_type_of
from chat_sessions.web.render.pages import render
from chat_sessions.web.render.views import TurnView, attachments_of

__all__ = ["FORMATS", "Format", "export", "file_name", "json_text"]

Format = Literal["markdown", "json", "html"]
FORMATS: tuple[Format, ...] = get_args(Format)
_ENDINGS = {"markdown": "md", "json": "json", "html": "html"}


async def export(
    backend: AsyncBackend, session: Session, as_format: str, *, index_name: Callable[[str], str] = str
) -> str:
    """Return the session as one file. Raises `ConfigurationError` for an unknown format.

    HTML contains the images of the pages cited, except those that cannot be fetched. `index_name` returns the name of
    an index, which Markdown and HTML show next to its id.
    """
    if as_format not in FORMATS:
        raise ConfigurationError(f"there is no export as {as_format!r}; the formats are {', '.join(FORMATS)}")
    turns = replay(session.events)
    if as_format == "json":
        return _json(session, turns)
    indexes = [_named(index_id, index_name(index_id)) for index_id in session.index_ids or ()]
    if as_format == "markdown":
        return markdown_of(session, turns, indexes)
    return _html(session, turns, indexes, await _images(backend, turns))


def file_name(session: Session, as_format: Format) -> str:
    """Make a file name of ASCII letters, digits and hyphens."""
    words = re.sub(r"[^A-Za-z0-9]+", "-", session.generated_title or session.session_id).strip("-")[:60].strip("-")
    return f"{words or 'session'}.{_ENDINGS[as_format]}"


def json_text(value: object) -> str:
    """Return the value as indented JSON."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=_model)


def _named(index_id: str, name: str) -> str:
    return index_id if name == index_id else f"{name} ({index_id})"


def _json(session: Session, turns: list[Turn]) -> str:
    summary = session.model_dump(mode="json", by_alias=False, exclude={"events"})
    events = [event.model_dump(mode="json") for event in session.events]
    return json_text({**summary, "turns": [turn_fields(turn) for turn in turns], "events": events})


async def _images(backend: AsyncBackend, turns: list[Turn]) -> dict[str, str]:
    found: dict[str, str] = {}
    for key, attachment in attachments_of(turns).items():
        try:
            content = await fetch_image((await backend.attachment_url(attachment)).url)
        except ChatSessionsError:
            continue
        found[key] = f"data:{media_type_of(content)};base64,{base64.b64encode(content).decode()}"
    return found


def _html(session: Session, turns: list[Turn], indexes: list[str], images: Mapping[str, str]) -> str:
    style = (files("chat_sessions.web") / "static" / "style.css").read_text("utf-8")
    return render(
        "export.html",
        session=session,
        turns=[TurnView.of(number, turn) for number, turn in enumerate(turns)],
        indexes=indexes,
        images=images,
        style=Markup(style),  # noqa: S704 (a file of this package)
    )


def _model(value: object) -> object:
    return cast("BaseModel", value).model_dump(mode="json", by_alias=False)
