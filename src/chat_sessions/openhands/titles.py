"""The title of a conversation: how to request it, and how to read the answer. No I/O."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import blake2b
from secrets import token_bytes
from typing import Literal

from pydantic import JsonValue

from chat_sessions.core.errors import APIStatusError, ConfigurationError
from chat_sessions.core.models import SessionSummary, TitledSummary, WireModel
from chat_sessions.openhands.events.json_values import JsonObject, as_text
from chat_sessions.openhands.settings import llm_settings

__all__ = [
    "TITLE_WAITS",
    "GeneratedTitle",
    "check_length",
    "found",
    "generated",
    "has_no_message",
    "nothing_to_title",
    "question",
    "title_llm",
    "titled",
]

_LONGEST = 200
_MARKED_WITH = token_bytes(16)
# Seconds between looks for a title that the server makes by itself, with a model call, and does not announce.
TITLE_WAITS = (0.0, 0.25, 0.25, 0.5, 0.5, 1.0, 1.0, 1.5)


class GeneratedTitle(WireModel):
    """A title and how it was made.

    `origin` is "generated" if the server's own route made it (up to 1.18), "automatic" if the server gave the
    conversation this title by itself in the meantime, "asked" if the agent was asked for one, and "existing" if the
    conversation already had it; the server does not say whether someone chose it.
    """

    title: str
    origin: Literal["generated", "automatic", "asked", "existing"]


def check_length(max_length: object) -> None:
    """Raise `ConfigurationError` for a length that the server does not take."""
    if not isinstance(max_length, int) or isinstance(max_length, bool) or not 1 <= max_length <= _LONGEST:
        raise ConfigurationError(f"max_length must be a whole number, 1 to {_LONGEST}; got {max_length!r}")


def title_llm(
    given: Mapping[str, JsonValue] | str | None, default: Mapping[str, JsonValue] | None
) -> JsonObject | None:
    """The model to make a title with: the one given, else the agent's own.

    It must not stream: if it does, the server returns the beginning of the first message instead. In a conversation
    the server keeps the first model that it sees under a `usage_id`, and uses it for all later ones of that name: so
    each model gets a name of its own, unless the caller gives one.
    """
    llm = llm_settings(given) if given is not None else default
    if llm is None:
        return None
    named = isinstance(given, Mapping) and isinstance(given.get("usage_id"), str)
    settings = {**llm, "stream": False}
    return settings if named else {**settings, "usage_id": f"title-{_mark(settings)}"}


def _mark(llm: Mapping[str, JsonValue]) -> str:
    """Return a digest of these settings, key included, that reveals nothing about them and differs in each process."""
    return blake2b(json.dumps(llm, sort_keys=True).encode(), key=_MARKED_WITH, digest_size=6).hexdigest()


def question(max_length: int) -> str:
    """Return what to ask the agent."""
    return (
        f"Give this conversation a title of at most {max_length} characters. Answer with the title alone, without "
        "quotes and without a full stop."
    )


def generated(answer: JsonObject, field: str, max_length: int, origin: Literal["generated", "asked"]) -> GeneratedTitle:
    """The title in an answer: its first line, without quotes, cut to the length."""
    lines = as_text(answer.get(field)).strip().splitlines() or [""]
    return GeneratedTitle(title=_cut(lines[0].strip().strip("\"'“”"), max_length), origin=origin)


def found(info: JsonObject, max_length: int, origin: Literal["automatic", "existing"]) -> GeneratedTitle | None:
    """The title that the conversation has, cut to the length, or None."""
    title = as_text(info.get("title"))
    return GeneratedTitle(title=_cut(title, max_length), origin=origin) if title else None


def has_no_message(error: APIStatusError) -> bool:
    """Whether the old route failed because there is nothing yet to make a title from."""
    return "No user messages" in str(error)


def nothing_to_title() -> ConfigurationError:
    """Return the error for a conversation without a message."""
    return ConfigurationError("this session has no message yet to make a title from")


def _cut(title: str, max_length: int) -> str:
    if len(title) <= max_length or max_length == 1:
        return title[:max_length]
    return title[: max_length - 1].rstrip() + "…"


def titled(summary: SessionSummary, title: GeneratedTitle) -> TitledSummary:
    """Add `title_origin` to a summary."""
    origin = title.origin if title.origin in ("automatic", "existing") else "requested"
    return TitledSummary.model_validate(
        {**summary.model_dump(), "generated_title": title.title, "title_origin": origin}
    )
