"""Turns as LlamaIndex chat messages: one mapping for live turns and for replayed history.

Both go through `Turn`, whose events are canonical, so a turn just streamed and the same turn read back from its
session give equal messages.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import cast

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ContentBlock,
    ImageBlock,
    MessageRole,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)
from llama_index.core.chat_engine.types import AgentChatResponse
from llama_index.core.schema import NodeWithScore
from llama_index.core.tools import ToolOutput

from chat_sessions.core.arguments import checked_items
from chat_sessions.core.errors import ConfigurationError
from chat_sessions.core.events import Text, TextDelta, Thinking, ThinkingDelta
from chat_sessions.core.images import data_url, image_urls
from chat_sessions.core.models import Usage
from chat_sessions.core.turn import RunBegan, RunEnded, ToolRun, Turn, gap
from chat_sessions.llama_index.outputs import NO_RESULT, image_block, result_text

__all__ = [
    "agent_response",
    "answer_message",
    "answer_text",
    "chat_response",
    "messages_of",
    "prompt_of",
    "response_metadata",
    "same_talk",
    "talk",
    "token_counts",
]

_NO_RESULT = {"running": "This tool has not given a result yet.", "unanswered": NO_RESULT}


@dataclass(slots=True)
class _Step:
    """An assistant message, and the numbers of the tool runs that it began."""

    blocks: list[ContentBlock] = field(default_factory=list[ContentBlock])
    runs: list[int] = field(default_factory=list[int])
    call_ids: set[str] = field(default_factory=set[str])
    is_answered: bool = False
    has_gap: bool = False


def prompt_of(message: str | ChatMessage) -> tuple[str, tuple[str, ...]]:
    """Return the words of the user's message, and the addresses of its images.

    Raises `ConfigurationError` for anything but a message, for a block that is neither text nor an image, and for an
    image that cannot be read.
    """
    if isinstance(message, str):
        return message, ()
    if not isinstance(cast("object", message), ChatMessage):
        raise ConfigurationError(f"the prompt must be a str or a ChatMessage, not {type(message).__name__}")
    others = sorted({block.block_type for block in message.blocks if not isinstance(block, TextBlock | ImageBlock)})
    if others:
        raise ConfigurationError(
            f"a session takes text and images, and the message holds {', '.join(others)} too: leave it out"
        )
    images = [_url(block) for block in message.blocks if isinstance(block, ImageBlock)]
    return message.content or "", image_urls(images)


def _url(block: ImageBlock) -> str:
    if block.url is not None:
        return str(block.url)
    try:
        content = block.resolve_image().read()
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"an image of the message cannot be read: {error}") from error
    return data_url(content, block.image_mimetype)


def messages_of(turns: Iterable[Turn]) -> list[ChatMessage]:
    """Return the messages of a history, as new objects at each call.

    A turn is the user's message and then, once per round of tools, an assistant message (thinking, text and tool
    calls) followed at once by a tool message per call, which is the order that LLM adapters accept. A call without
    a result has a tool message that says so; a result without a call gets one with no arguments. Raises
    `ConfigurationError` for anything but turns.
    """
    given = checked_items(turns, Turn, "messages_of takes the turns of a session, such as session.turns() returns")
    return [message for turn in given for message in _messages(turn)]


def _messages(turn: Turn) -> Iterable[ChatMessage]:
    if turn.prompt is not None:
        shown = [*map(image_block, turn.image_urls)]
        words = [TextBlock(text=turn.prompt)] if turn.prompt or not shown else []
        yield ChatMessage(role=MessageRole.USER, blocks=[*words, *shown])
    for step in _steps(turn):
        yield ChatMessage(role=MessageRole.ASSISTANT, blocks=step.blocks)
        for number in step.runs:
            yield _tool_message(turn.tool_runs[number])


def _steps(turn: Turn) -> list[_Step]:
    steps: list[_Step] = []
    step_of: dict[int, _Step] = {}

    def current(call_id: str | None = None) -> _Step:
        # What follows a result belongs to the next round, and so does a call whose id is in use.
        if not steps or steps[-1].is_answered or call_id in steps[-1].call_ids:
            steps.append(_Step())
        return steps[-1]

    for update in turn.updates:
        match update:
            case Text() | TextDelta():
                _append_text(current(), update.content)
            case Thinking() | ThinkingDelta():
                current().blocks.append(ThinkingBlock(content=update.content))
            case RunBegan(number, run):
                step = step_of[number] = current(run.call_id)
                step.runs.append(number)
                step.call_ids.add(run.call_id)
                step.blocks.append(
                    ToolCallBlock(tool_call_id=run.call_id, tool_name=run.name, tool_kwargs=dict(run.arguments))
                )
            case RunEnded(number):
                step_of[number].is_answered = step_of[number].is_answered or update.event is not None
                steps[-1].has_gap = True
            case _:
                pass
    return steps


def _append_text(step: _Step, text: str) -> None:
    """Add text to a step. `ChatMessage.content` puts a line break between text blocks; the answer has none there."""
    last = step.blocks[-1] if step.blocks else None
    if isinstance(last, TextBlock):
        last.text += (gap(last.text, text) if step.has_gap else "") + text
    else:
        step.blocks.append(TextBlock(text=text))
    step.has_gap = False


def _tool_message(run: ToolRun) -> ChatMessage:
    details: dict[str, object] = {"tool_call_id": run.call_id, "name": run.name}
    if run.status != "completed":
        details["status"] = run.status
    if run.image_attachment:
        details["image_attachment"] = run.image_attachment.model_dump()
    text = _NO_RESULT.get(run.status) or result_text(run.result)
    shown = map(image_block, run.image_urls)
    return ChatMessage(role=MessageRole.TOOL, blocks=[TextBlock(text=text), *shown], additional_kwargs=details)


def answer_text(turn: Turn) -> str:
    """Return the text of the answer as a reader sees it, without white space around it."""
    return turn.text.strip()


def answer_message(turn: Turn) -> ChatMessage:
    """Return the whole answer as one assistant message: its thinking, and its text without white space around it."""
    blocks: list[ContentBlock] = []
    if thinking := turn.thinking:
        blocks.append(ThinkingBlock(content=thinking))
    blocks.append(TextBlock(text=answer_text(turn)))
    return ChatMessage(role=MessageRole.ASSISTANT, blocks=blocks)


def token_counts(usage: Usage | None) -> dict[str, int]:
    """Return what a turn cost, under the names that LlamaIndex's counters and tracers read.

    A count that the service does not report is left out, since those counters treat None as a number.
    """
    if usage is None:
        return {}
    counts: dict[str, int] = {}
    if usage.input_tokens is not None:
        counts["prompt_tokens"] = usage.input_tokens
    if usage.output_tokens is not None:
        counts["completion_tokens"] = usage.output_tokens
    if len(counts) == 2:
        counts["total_tokens"] = sum(counts.values())
    return counts


def chat_response(turn: Turn, session_id: str | None) -> ChatResponse:
    """Return the turn as an LLM's response; `raw["usage"]` has its token counts."""
    counts = token_counts(turn.usage)
    return ChatResponse(
        message=answer_message(turn),
        raw={"usage": counts, "session_id": session_id},
        additional_kwargs={**counts},
    )


def _usage(usage: Usage) -> dict[str, object]:
    details = ("cache_read_tokens", "cache_write_tokens", "reasoning_tokens", "cost")
    told = usage.model_dump(by_alias=False)
    return {name: value for name, value in told.items() if value is not None or name not in details}


def response_metadata(turn: Turn, session_id: str | None) -> dict[str, object]:
    """Return a response's metadata: `session_id, usage, thinking, skipped_index_ids`.

    `usage` has `input_tokens, output_tokens, turns, duration_ms`, where the service tells them
    `cache_read_tokens, cache_write_tokens, reasoning_tokens, cost`, or is None before the turn's end.
    """
    return {
        "session_id": session_id,
        "usage": _usage(turn.usage) if turn.usage else None,
        "thinking": turn.thinking,
        "skipped_index_ids": list(turn.skipped_index_ids),
    }


def agent_response(
    turn: Turn, session_id: str | None, *, sources: Sequence[ToolOutput], source_nodes: Sequence[NodeWithScore]
) -> AgentChatResponse:
    """Return the turn as `chat` returns it."""
    return AgentChatResponse(
        response=answer_text(turn),
        sources=list(sources),
        source_nodes=list(source_nodes),
        metadata=response_metadata(turn, session_id),
    )


def talk(messages: Iterable[ChatMessage]) -> list[tuple[MessageRole, str]]:
    """Return roles and text of a conversation, without tool messages and with the pieces of an answer joined.

    White space is removed, because a UI that keeps its own history may trim and join text.
    """
    said: list[tuple[MessageRole, str]] = []
    for message in messages:
        words = "".join((message.content or "").split())
        if message.role is MessageRole.TOOL or not words:
            continue
        if said and said[-1][0] is message.role is MessageRole.ASSISTANT:
            words = said.pop()[1] + words
        said.append((message.role, words))
    return said


def same_talk(one: Iterable[ChatMessage], other: Iterable[ChatMessage]) -> bool:
    """Return whether two histories are the same conversation for its participants."""
    return talk(one) == talk(other)
