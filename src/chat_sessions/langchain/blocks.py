"""Thoughts and tools beside the text of a message, and its content blocks.

Other models post the blocks of a content list as they are, and their services refuse them. So `content` is the text,
and `additional_kwargs` has the rest, as JSON: thoughts under `reasoning_content`, where LangChain has those of other
services, and under `session_blocks` the tools and the places of the thoughts. Other models ignore these keys, or their
services know them. `content_blocks` puts all of it in order, through LangChain's translators.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias, cast

from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.messages.block_translators import get_translator, register_translator
from langchain_core.messages.content import ContentBlock

from chat_sessions.langchain.input.default_client import SERVICES

__all__ = ["Block", "beside", "blocks_in", "put_beside", "translate", "without_blocks"]

Block: TypeAlias = dict[str, Any]

_THOUGHTS, _BLOCKS = "reasoning_content", "session_blocks"


def beside(block: Block, *, at: int, start: int) -> dict[str, Any]:
    """Return a block of thoughts or of a tool as `additional_kwargs`, which LangChain adds up as it does blocks.

    `at` is the number of characters of text before it, `start` that of thoughts before its segment.
    """
    if block["type"] != "reasoning":
        return {_BLOCKS: [{**block, "at": at}]}
    place = {"type": "reasoning", "index": block["index"], "at": at, "start": start}
    return {_THOUGHTS: block["reasoning"], _BLOCKS: [place]}


def put_beside(told: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the sum of these, which is that of their chunks."""
    thoughts = ""
    blocks: dict[int, Block] = {}
    for each in told:
        thoughts += each.get(_THOUGHTS, "")
        blocks |= {block["index"]: block for block in each[_BLOCKS]}
    found = {_THOUGHTS: thoughts, _BLOCKS: [*blocks.values()]}
    return {key: value for key, value in found.items() if value}


def blocks_in(message: BaseMessage) -> list[Block]:
    """Return the blocks of a message, in whichever version; of one that is text alone, nothing."""
    content = cast("str | list[str | dict[str, Any]]", message.content)
    if isinstance(content, str):
        return _ordered(content, message.additional_kwargs)
    return [block for block in content if isinstance(block, dict)]


def without_blocks(message: AIMessage) -> dict[str, Any]:
    """Return the `additional_kwargs` of a message without its thoughts and tools."""
    return {key: value for key, value in message.additional_kwargs.items() if key not in (_THOUGHTS, _BLOCKS)}


def translate(service: str) -> None:
    """Let the `content_blocks` of this service's messages hold what is beside their text."""
    if get_translator(service) is None:
        register_translator(service, _content_blocks, _content_blocks)


def _content_blocks(message: AIMessage) -> list[ContentBlock]:
    blocks = blocks_in(message) if isinstance(message.content, str) else []
    if not blocks:
        # LangChain reads the content itself then.
        raise NotImplementedError
    return cast("list[ContentBlock]", blocks)


def _ordered(text: str, told: Mapping[str, Any]) -> list[Block]:
    """Return text and what is beside it, in order; nothing if there is nothing beside it."""
    places: list[Block] = [place for place in told.get(_BLOCKS) or () if isinstance(place, dict)]
    thoughts = str(told.get(_THOUGHTS) or "")
    # A single chunk has its own thoughts alone.
    starts = [place.get("start", 0) for place in places if place.get("type") == "reasoning"]
    cuts = [*(start - starts[0] for start in starts), len(thoughts)]
    found: list[Block] = []
    done = 0
    for place in places:
        block = {key: value for key, value in place.items() if key not in ("at", "start")}
        if said := text[done : (done := max(done, place.get("at", 0)))]:
            found.append({"type": "text", "text": said, "index": block.get("index", 0) - 1})
        if block.get("type") == "reasoning":
            block["reasoning"] = thoughts[cuts.pop(0) : cuts[0]]
        found.append(block)
    if places and text[done:]:
        found.append({"type": "text", "text": text[done:], "index": found[-1].get("index", 0) + 1})
    return found


# For messages that were stored; another service is registered with its first message.
for _service in SERVICES:
    translate(_service)
