"""The title of a conversation: how it is asked for, and what is made of the answer. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import JsonValue

from chat_sessions.core.errors import ConfigurationError
from chat_sessions.core.models import SessionSummary, TitledSummary, WireModel
from chat_sessions.openhands.json_values import JsonObject, as_text
from chat_sessions.openhands.settings import llm_settings

__all__ = ["TITLE_WAITS", "GeneratedTitle", "automatic", "check_length", "generated", "question", "title_llm", "titled"]

_LONGEST = 200
# Seconds between the looks for a title that the server makes by itself: it announces it to nobody,
# and needs one call of the model for it.
TITLE_WAITS = (0.0, 0.25, 0.25, 0.5, 0.5, 1.0, 1.0, 1.5)


class GeneratedTitle(WireModel):
    """A title and how it was made.

    `origin` is "generated" where the server's own route made it (up to 1.18), "automatic" where it is the
    one that the server gave the conversation by itself, "asked" where the agent was asked for one.
    """

    title: str
    origin: Literal["generated", "automatic", "asked"]


def check_length(max_length: int) -> int:
    """The length, if the server takes it. Raises `ConfigurationError`."""
    if not 1 <= max_length <= _LONGEST:
        raise ConfigurationError(f"max_length must be 1 to {_LONGEST}; got {max_length}")
    return max_length


def title_llm(
    given: Mapping[str, JsonValue] | str | None, default: Mapping[str, JsonValue] | None
) -> JsonObject | None:
    """The model to make a title with: the one given, else the agent's own.

    It must not stream: with one that does, the server gives back the beginning of the first message instead.
    """
    llm = llm_settings(given) if given is not None else default
    return None if llm is None else {**llm, "usage_id": "title", "stream": False}


def question(max_length: int) -> str:
    """What to ask an agent for."""
    return (
        f"Give this conversation a title of at most {max_length} characters. Answer with the title alone, without "
        "quotes and without a full stop."
    )


def generated(answer: JsonObject, field: str, max_length: int, origin: Literal["generated", "asked"]) -> GeneratedTitle:
    """The title in an answer: its first line, without quotes, cut to the length."""
    lines = as_text(answer.get(field)).strip().splitlines() or [""]
    return GeneratedTitle(title=_cut(lines[0].strip().strip("\"'“”"), max_length), origin=origin)


def automatic(info: JsonObject, max_length: int) -> GeneratedTitle | None:
    """The title that the conversation has already, or None."""
    title = as_text(info.get("title"))
    return GeneratedTitle(title=_cut(title, max_length), origin="automatic") if title else None


def _cut(title: str, max_length: int) -> str:
    return title if len(title) <= max_length else title[: max_length - 1].rstrip() + "…"


def titled(summary: SessionSummary, title: GeneratedTitle) -> TitledSummary:
    """The summary with the word on how its title was made."""
    origin = "automatic" if title.origin == "automatic" else "requested"
    return TitledSummary.model_validate(
        {**summary.model_dump(), "generated_title": title.title, "title_origin": origin}
    )
