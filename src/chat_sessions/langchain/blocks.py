"""Thoughts and tools beside the text of a message, and its content blocks.

Other models post the blocks of a content list as they are, and their services refuse them. So `content` is the text,
and the rest is in `additional_kwargs` under a key that no other model knows, as JSON. `content_blocks` puts all of it
in order, through LangChain's translators.

Chunks have their thoughts under `reasoning_content` too, where user interfaces look for those of other services. Whole
messages don't: some models would post them as thoughts of their own.
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


def beside(block: Block, *, at: int) -> dict[str, Any]:
    """Return a block of thoughts or of a tool as the `additional_kwargs` of a chunk; LangChain adds them up.

    `at` is the number of characters of text before the block.
    """
    thoughts = {_THOUGHTS: block["reasoning"]} if block["type"] == "reasoning" else {}
    return {**thoughts, _BLOCKS: [{**block, "at": at}]}


def put_beside(told: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the `additional_kwargs` of the whole message from those of its chunks."""
    blocks: list[Block] = []
    for block in (block for each in told for block in each[_BLOCKS]):
        if blocks and blocks[-1]["index"] == block["index"]:
            blocks[-1]["reasoning"] += block["reasoning"]
        else:
            blocks.append(block)
    return {_BLOCKS: blocks} if blocks else {}


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
    found: list[Block] = []
    done = 0
    kept: list[Block] = [placed for placed in told.get(_BLOCKS) or () if isinstance(placed, dict)]
    for placed in kept:
        block = {key: value for key, value in placed.items() if key != "at"}
        if said := text[done : (done := max(done, placed.get("at", 0)))]:
            found.append({"type": "text", "text": said, "index": block.get("index", 0) - 1})
        found.append(block)
    if found and text[done:]:
        found.append({"type": "text", "text": text[done:], "index": found[-1].get("index", 0) + 1})
    return found


# For messages that were stored; another service is registered with its first message.
for _service in SERVICES:
    translate(_service)
