"""A turn as LangChain content: the one place that makes content blocks, live, replayed and for every entry point.

Text is `str` unless `output_version` is "v1", so that a token is what a terminal prints; all else
is a block with an `index` of its own. Without one, LangChain merges neighbours of the same kind:
two tool results become one with `status="successsuccess"`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, TypeAlias

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.ai import UsageMetadata

from chat_sessions.core.events import (
    Event,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ToolCall,
    ToolResult,
)
from chat_sessions.core.models import Usage
from chat_sessions.core.sources import Source
from chat_sessions.core.turn import Turn

__all__ = [
    "Block",
    "BlockWriter",
    "Content",
    "MessageForm",
    "default_model_name",
    "is_delta",
    "source_fields",
    "tool_failed",
    "usage_metadata",
]

Block: TypeAlias = dict[str, Any]
Content: TypeAlias = str | list[str | dict[str, Any]]
# Tuples, as each token is asked for: a union would be made anew each time.
_TEXT = (TextDelta, Text)
_THINKING = (ThinkingDelta, Thinking)
_FINALS = (Text, Thinking)


class BlockWriter:
    """Makes the block of each event; neighbours of the same kind, text or reasoning, share an index."""

    def __init__(self) -> None:
        self._index = -1
        self._kind: str | None = None

    def block(self, event: Event) -> Block | None:
        """The block that this event adds or continues; None if it adds nothing to a message."""
        if isinstance(event, _TEXT):
            return {"type": "text", "text": event.content, "index": self._running("text")}
        if isinstance(event, _THINKING):
            return {"type": "reasoning", "reasoning": event.content, "index": self._running("reasoning")}
        if isinstance(event, ToolCall):
            return {
                "type": "server_tool_call",
                "id": event.call_id,
                "name": event.name,
                "args": dict(event.arguments),
                "index": self._next(),
            }
        if isinstance(event, ToolResult):
            extras: dict[str, Any] = {"name": event.name}
            if event.image_attachment is not None:
                # No image block: that needs a URL or bytes, and what is here is neither.
                extras["image_attachment"] = event.image_attachment.model_dump(mode="json")
            return {
                "type": "server_tool_result",
                "id": f"{event.call_id}-result",
                "tool_call_id": event.call_id,
                "status": "error" if tool_failed(event) else "success",
                "output": event.result,
                "extras": extras,
                "index": self._next(),
            }
        return None

    def _running(self, kind: str) -> int:
        if self._kind != kind:
            self._index += 1
            self._kind = kind
        return self._index

    def _next(self) -> int:
        self._index += 1
        self._kind = None
        return self._index


def is_delta(event: Event) -> bool:
    """Whether a live event shows something: a final repeats the deltas before it."""
    return not isinstance(event, _FINALS)


def tool_failed(result: ToolResult) -> bool:
    """Whether the result calls itself an error; the wire has no status of its own."""
    return Turn(None, (result,)).tool_runs[0].status == "failed"


def default_model_name(service: str) -> str:
    """What stands for a model's name: which model answers is the service's business, and not told."""
    return f"{service.replace('_', '-')}-chat"


def usage_metadata(usage: Usage | None) -> UsageMetadata | None:
    """Token counts in LangChain's form; None unless the service told both, since a 0 would be read as a fact."""
    if usage is None or usage.input_tokens is None or usage.output_tokens is None:
        return None
    return UsageMetadata(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        total_tokens=usage.input_tokens + usage.output_tokens,
    )


@dataclass(frozen=True, slots=True)
class MessageForm:
    """How a turn becomes a message: whose it is, and in which shape of content."""

    service: str
    model_name: str
    v1: bool = False
    message_id: str | None = None

    def content(self, turn: Turn) -> Content:
        """The whole answer: a `str` if it is text alone, else blocks, with text as `str` between them unless v1."""
        writer = BlockWriter()
        blocks: list[Block] = []
        for event in turn.events:
            block = writer.block(event)
            if block is None:
                continue
            if blocks and blocks[-1]["index"] == block["index"]:
                blocks[-1][block["type"]] += block[block["type"]]
            else:
                blocks.append(block)
        if self.v1:
            return list(blocks)
        if all(block["type"] == "text" for block in blocks):
            return "".join(block["text"] for block in blocks)
        return [block["text"] if block["type"] == "text" else block for block in blocks]

    def piece(self, block: Block) -> Content:
        """One block as the content of a chunk."""
        return block["text"] if block["type"] == "text" and not self.v1 else [block]

    def chunk(self, content: Content) -> AIMessageChunk:
        """A piece of the content as a chunk of the message."""
        return AIMessageChunk(content=content, id=self.message_id, response_metadata=self._version())

    def last_chunk(self, turn: Turn, session_id: str | None) -> AIMessageChunk:
        """The chunk that ends the message: usage and metadata, no content."""
        return AIMessageChunk(
            content=[] if self.v1 else "",
            id=self.message_id,
            usage_metadata=usage_metadata(turn.usage),
            response_metadata=self.metadata(turn, session_id),
            chunk_position="last",
        )

    def message(self, turn: Turn, session_id: str | None) -> AIMessage:
        """The turn as one message; a turn that failed or is still running as far as it has come."""
        return AIMessage(
            content=self.content(turn),
            id=self.message_id,
            usage_metadata=usage_metadata(turn.usage),
            response_metadata=self.metadata(turn, session_id),
        )

    def metadata(self, turn: Turn, session_id: str | None) -> dict[str, Any]:
        """What is known of the turn beside its content; `duration_ms` is in milliseconds.

        `sources` name the passages that the answer rests on, without their text: that is in the
        tool results, and `source_documents` puts the two together.
        """
        found: dict[str, Any] = {
            **self._version(),
            "model_provider": self.service,
            "model_name": self.model_name,
            "session_id": session_id,
        }
        if turn.is_complete:
            found["finish_reason"] = "stop" if turn.error is None else "error"
        if turn.error is not None:
            found["error"] = turn.error
        if turn.usage is not None:
            found["usage"] = {
                name: value
                for name in ("input_tokens", "output_tokens", "turns", "duration_ms")
                if (value := getattr(turn.usage, name)) is not None
            }
        if turn.skipped_index_ids:
            found["skipped_index_ids"] = list(turn.skipped_index_ids)
        if turn.sources:
            found["sources"] = [source_fields(source) for source in turn.sources]
        return found

    def _version(self) -> dict[str, Any]:
        return {"output_version": "v1"} if self.v1 else {}


def source_fields(source: Source) -> dict[str, Any]:
    """Where a passage stands, as JSON: the fields of `Source` that are known, but for its text and metadata."""
    found = {
        item.name: getattr(source, item.name)
        for item in fields(source)
        if item.name not in ("text", "metadata", "image")
    }
    if source.image is not None:
        found["image"] = source.image.model_dump(mode="json")
    return {name: value for name, value in found.items() if value is not None}
