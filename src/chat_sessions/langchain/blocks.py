"""Thoughts and tools stored alongside a message's text, and its content blocks.

Other models post the blocks of a content list as they are, and their services refuse them. So `content` is the text,
and the rest is in `additional_kwargs` under a key that no other model knows, as JSON. `content_blocks` puts all of it
in order, through LangChain's translators.

Chunks have their thoughts under `reasoning_content` too, where user interfaces look for those of other services, and so
has a sum of chunks. The messages of `invoke` and of a history don't: some models would post them as thoughts of their
own.

A block says where it belongs in its own answer: `place` counts the answer's blocks, its texts among them, and `at` the
characters of text before it. LangChain adds answers up too (`+`, `merge_message_runs`), and a sum may begin within an
answer, so both are counted from where each answer begins in the text. That is found by how many characters an answer
has in all (`of`) and, in whole messages, by their checksum (`crc`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, TypeAlias, cast
from zlib import crc32

from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.messages.block_translators import get_translator, register_translator
from langchain_core.messages.content import ContentBlock

from chat_sessions.langchain.input.default_client import SERVICES

__all__ = [
    "Block",
    "beside",
    "blocks_in",
    "end_of_text",
    "portable",
    "provider_of",
    "put_beside",
    "without_blocks",
]

Block: TypeAlias = dict[str, Any]

_THOUGHTS, _BLOCKS = "reasoning_content", "session_blocks"
_AT, _OF, _CRC, _PLACE, _INDEX = "at", "of", "crc", "place", "index"
_LEVELS = 100
# What is in a block only while it is stored alongside the text.
_KEPT = frozenset((_AT, _OF, _CRC, _PLACE, _INDEX))


def portable(value: Any) -> Any:
    """Return JSON that the stores of LangGraph take.

    They hold 64-bit integers and about 250 levels; beyond that, they lose a graph's whole state. A larger integer
    becomes its digits, and what is nested deeper than 100 levels a string of JSON; other values stay as they are.
    """
    return value if _fits(value, _LEVELS) else _fitted(value, _LEVELS)


def _fits(value: Any, levels: int) -> bool:
    if isinstance(value, dict | list):
        inner = cast("Iterable[Any]", value.values() if isinstance(value, dict) else value)
        return levels > 0 and all(_fits(each, levels - 1) for each in inner)
    return not isinstance(value, int) or -(2**63) <= value < 2**64


def _fitted(value: Any, levels: int) -> Any:
    if not isinstance(value, dict | list):
        return value if _fits(value, levels) else _as_json(value)
    if levels == 0:
        return _as_json(cast("object", value))
    if isinstance(value, dict):
        return {name: _fitted(each, levels - 1) for name, each in cast("dict[str, Any]", value).items()}
    return [_fitted(each, levels - 1) for each in cast("list[Any]", value)]


def _as_json(value: object) -> str:
    try:
        return json.dumps(value, ensure_ascii=False)
    except (RecursionError, ValueError):  # ValueError: more digits than Python writes
        return "[too large]"


def beside(block: Block, *, at: int, message_id: str | None) -> dict[str, Any]:
    """Return a block of thoughts or of a tool as the `additional_kwargs` of a chunk; LangChain adds them up.

    `at` is the number of characters of text before the block. Only thoughts keep their index, by which LangChain joins
    them; the message's id keeps those of two answers apart.
    """
    kept = {**block, _PLACE: block[_INDEX], _AT: at}
    if block["type"] != "reasoning":
        del kept[_INDEX]
        return {_BLOCKS: [kept]}
    if message_id is not None:
        kept["id"] = f"{message_id}-{block[_INDEX]}"
    return {_THOUGHTS: block["reasoning"], _BLOCKS: [kept]}


def end_of_text(characters: int, *, place: int) -> dict[str, Any]:
    """Return the `additional_kwargs` of an answer's last chunk: how many characters of text there were."""
    return {_BLOCKS: [{"type": "text", "text": "", _PLACE: place, _OF: characters}]}


def put_beside(blocks: Iterable[tuple[Block, int]], text: str) -> dict[str, Any]:
    """Return the `additional_kwargs` of a whole message with this text.

    Takes its thoughts and tools, in pieces, each with the number of characters before it.
    """
    found: list[Block] = []
    for block, at in blocks:
        place = block[_INDEX]
        if found and found[-1][_PLACE] == place:
            found[-1]["reasoning"] += block["reasoning"]
        else:
            kept = {name: value for name, value in block.items() if name != _INDEX}
            found.append({**kept, _PLACE: place, _AT: at})
    if not found:
        return {}
    found[0] |= {_OF: len(text), _CRC: _checksum(text)}
    return {_BLOCKS: found}


def _checksum(text: str) -> int:
    return crc32(text.encode("utf-8", "surrogatepass"))


def blocks_in(message: BaseMessage) -> list[Block]:
    """Return the blocks of a message, in whichever version; of one that is text alone, nothing."""
    content = cast("str | list[str | dict[str, Any]]", message.content)
    if isinstance(content, str):
        return _ordered(content, message.additional_kwargs)
    return [block for block in content if isinstance(block, dict)]


def without_blocks(message: AIMessage) -> dict[str, Any]:
    """Return the `additional_kwargs` of a message without its thoughts and tools."""
    return {key: value for key, value in message.additional_kwargs.items() if key not in (_THOUGHTS, _BLOCKS)}


@cache
def provider_of(service: str) -> str:
    """Return the `model_provider` of this service's messages; `content_blocks` adds what is stored with their text.

    It is the service, unless LangChain knows a provider of that name, whose messages it reads in another way.
    """
    for name in (service, f"{service}-session"):
        translator = get_translator(name)
        if name and translator is None:
            register_translator(name, _content_blocks, _content_blocks)
            return name
        if translator is not None and translator["translate_content"] is _content_blocks:
            return name
    return service


def _content_blocks(message: AIMessage) -> list[ContentBlock]:
    blocks = blocks_in(message) if isinstance(message.content, str) else []
    if not blocks:
        # LangChain reads the content itself then.
        raise NotImplementedError
    return cast("list[ContentBlock]", blocks)


def _ordered(text: str, told: Mapping[str, Any]) -> list[Block]:
    """Return the text and what is stored alongside it, in order; an empty list if nothing is."""
    kept: object = told.get(_BLOCKS)
    answers = _answers(cast("list[object]", kept) if isinstance(kept, list) else [])
    if not any(block["type"] != "text" for answer in answers for block in answer):
        return []
    found: list[Block] = []
    done = 0

    def say(end: int, index: int) -> None:
        nonlocal done
        if said := text[done : max(done, end)]:
            found.append({"type": "text", "text": said, _INDEX: index})
            done += len(said)

    starts = _starts(answers, text)
    for answer, start in zip(answers, starts, strict=True):
        say(start, 0)
        for each in answer:
            if each["type"] == "text":
                continue
            place = _number(each, _PLACE)
            say(start + _number(each, _AT), place - 1)
            left_out = {*_KEPT, "id"} if each["type"] == "reasoning" else _KEPT
            found.append({**{name: value for name, value in each.items() if name not in left_out}, _INDEX: place})
    say(len(text), found[-1][_INDEX] + 1)
    if len(answers) == 1 and starts[0] <= 0:
        return found
    return [{**block, _INDEX: index} for index, block in enumerate(found)]


def _answers(kept: Iterable[object]) -> list[list[Block]]:
    """Return what is kept, for each answer that was added up."""
    answers: list[list[Block]] = []
    last = 0
    for each in kept:
        block = cast("Block", each) if isinstance(each, dict) else {}
        if not isinstance(block.get("type"), str):
            continue
        place = _number(block, _PLACE, last + 1)
        # A whole message begins with a block that has its length, and a sum of chunks ends with one.
        if not answers or place <= last or (_OF in block and block["type"] != "text"):
            answers.append([])
        answers[-1].append({**block, _PLACE: place})
        last = place
    return answers


def _starts(answers: list[list[Block]], text: str) -> list[int]:
    """Return each answer's offset in the text, which is negative if a sum left out the first chunks."""
    characters = len(text)
    lengths = [max(_number(block, _OF, -1) for block in answer) for answer in answers]
    starts: dict[int, int] = {}
    if len(answers) == 1:
        (only,) = answers
        first, last = _number(only[0], _AT), max(_number(block, _AT) for block in only)
        if only[-1]["type"] == "text":
            starts[0] = min(0, characters - lengths[0])
        elif lengths[0] < 0 and (_is_part(only) or last > characters):
            starts[0] = -first
    else:
        # `merge_message_runs` puts a line break between two texts.
        spoken = sum(length > 0 for length in lengths)
        between = max(0, characters - sum(lengths)) // max(1, spoken - 1) if min(lengths) >= 0 else 0
        end = characters
        for number, length in reversed([*enumerate(lengths)]):
            if length < 0:
                break
            starts[number] = end - length
            end = starts[number] - (between if length else 0)
    begun = 0
    for number, (answer, length) in enumerate(zip(answers, lengths, strict=True)):
        start = starts.setdefault(number, begun)
        begun = start + (length if length >= 0 else max(_number(block, _AT) for block in answer))
    # Text that is not of these answers may be before, between or after them: answers that are text alone, for one.
    end = characters
    for number, length in reversed([*enumerate(lengths)]):
        checksum = _number(answers[number][0], _CRC, -1)
        ahead = sum(lengths[:number]) + number
        for start in (starts[number], end - length, end - length - 1, ahead):
            if start >= 0 and checksum == _checksum(text[start : start + length]):
                starts[number] = start
                break
        end = starts[number]
    return [starts[number] for number in range(len(answers))]


def _is_part(answer: list[Block]) -> bool:
    """Whether the first thoughts and tools of the answer are missing: at most one text is before them."""
    return _number(answer[0], _PLACE) > 1


def _number(block: Block, name: str, default: int = 0) -> int:
    """Return a whole number of a block; stores without integers give floats."""
    value: object = block.get(name)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else default


# For messages that were stored; another service is registered with its first message.
for _service in SERVICES:
    provider_of(_service)
