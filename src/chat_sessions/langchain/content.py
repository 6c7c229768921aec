"""A turn as LangChain content: the only place that makes content blocks, live and replayed, for every entry point.

Each block has an `index` of its own. Without one, LangChain merges neighbours of the same kind: two tool results
become one with `status="successsuccess"`.

In version v1 `content` is the list of blocks. Otherwise it is the text, and the rest is in `additional_kwargs`
(`blocks.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, Literal, TypeAlias, TypedDict, cast, get_args

from langchain_core.documents import Document
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.ai import InputTokenDetails, OutputTokenDetails, UsageMetadata
from pydantic import ValidationError

from chat_sessions.core.errors import ConfigurationError
from chat_sessions.core.events import Text, TextDelta, Thinking, ThinkingDelta
from chat_sessions.core.models import ImageAttachment, Usage
from chat_sessions.core.sources import Source
from chat_sessions.core.turn import RunBegan, RunEnded, TextRest, ThinkingRest, Turn, Update, Words
from chat_sessions.langchain._compat import Mold
from chat_sessions.langchain.blocks import Block, beside, end_of_text, portable, provider_of, put_beside

__all__ = [
    "BlockWriter",
    "Content",
    "MessageForm",
    "Output",
    "attachment",
    "check_output",
    "default_model_name",
    "distinct_images",
    "document",
    "finish_fields",
    "source_fields",
    "source_of",
    "usage_metadata",
    "whole_sources",
]

Content: TypeAlias = str | list[str | dict[str, Any]]
Output: TypeAlias = Literal["blocks", "text"]
"""What a message holds: text, reasoning and tools, or text alone."""

# Tuples, as each token is asked for: a union would be built each time.
_TEXT = (TextDelta, Text)
_THINKING = (ThinkingDelta, Thinking)

# The fields of a source that say where it is from, in JSON.
_PLACES = tuple(item.name for item in fields(Source) if item.name not in ("text", "metadata", "image"))


def check_output(output: Output) -> None:
    """Raise `ConfigurationError` for a form of answers that does not exist."""
    if output not in get_args(Output):
        raise ConfigurationError(f'output={output!r}: use "blocks" or "text"')


class BlockWriter:
    """Makes the block of each update; neighbours of the same kind, text or reasoning, share an index.

    Takes the updates of a live turn without its finals, which repeat the deltas, or those of a stored turn.
    """

    def __init__(self) -> None:
        self._index = -1
        self._kind: str | None = None
        # The words of each kind, separated at tools as everywhere else.
        self._words = {"text": Words(), "reasoning": Words()}
        self._characters = 0
        self._has_blocks = False

    def block(self, update: Update) -> Block | None:
        """Return the block that this update adds or continues; None if it adds nothing to a message."""
        if isinstance(update, _TEXT):
            return self._running("text", update)
        if isinstance(update, _THINKING):
            return self._running("reasoning", update)
        if isinstance(update, RunBegan):
            if update.event is None:
                return None
            run = update.run
            return self._whole("server_tool_call", id=run.call_id, name=run.name, args=portable(dict(run.arguments)))
        if isinstance(update, RunEnded):
            if update.event is None:
                return None
            run = update.run
            extras: dict[str, Any] = {"name": run.name}
            if run.image_attachment is not None:
                # No image block: that needs a URL or bytes, and what is here is neither.
                extras["image_attachment"] = run.image_attachment.model_dump(mode="json")
            if run.image_urls:
                # Apart from the output, which a model may get as text; `image_blocks` shows them.
                extras["image_urls"] = list(run.image_urls)
            return self._whole(
                "server_tool_result",
                id=f"{run.call_id}-result",
                tool_call_id=run.call_id,
                status="error" if run.status == "failed" else "success",
                output=portable(run.result),
                extras=extras,
            )
        return None

    def piece(self, kind: str, update: Text | TextDelta | Thinking | ThinkingDelta) -> str:
        """Return a piece of text or reasoning; after a tool, with a blank line before it."""
        if self._kind != kind:
            self._index += 1
            # After the rest of a segment comes another one, which follows whatever split this one.
            self._kind = None if isinstance(update, TextRest | ThinkingRest) else kind
        piece = self._words[kind].add(update)
        if kind == "text":
            self._characters += len(piece)
        return piece

    @property
    def characters(self) -> int:
        """How many characters of text there are so far."""
        return self._characters

    def end(self) -> dict[str, Any]:
        """Return the `additional_kwargs` of the last chunk of a message whose content is text."""
        return end_of_text(self._characters, place=self._index + 1) if self._has_blocks else {}

    def beside(self, block: Block, message_id: str | None) -> dict[str, Any]:
        """Return the block that was made last as `additional_kwargs` of a chunk of a message whose content is text."""
        self._has_blocks = True
        return beside(block, at=self._characters, message_id=message_id)

    def _running(self, kind: str, update: Text | TextDelta | Thinking | ThinkingDelta) -> Block:
        return {"type": kind, kind: self.piece(kind, update), "index": self._index}

    def _whole(self, kind: str, **items: Any) -> Block:
        self._index += 1
        self._kind = None
        for words in self._words.values():
            words.part()
        return {"type": kind, **items, "index": self._index}


def default_model_name(service: str) -> str:
    """Return the default model name: the service does not say which model answers."""
    return f"{service.replace('_', '-')}-chat"


def usage_metadata(usage: Usage | None) -> UsageMetadata | None:
    """Return token counts in LangChain's form; None unless the service reports both."""
    if usage is None or usage.input_tokens is None or usage.output_tokens is None:
        return None
    return UsageMetadata(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        total_tokens=usage.input_tokens + usage.output_tokens,
        **_token_details(usage),
    )


class _TokenDetails(TypedDict, total=False):
    input_token_details: InputTokenDetails
    output_token_details: OutputTokenDetails


def _token_details(usage: Usage) -> _TokenDetails:
    """Return what the counts are made of, as far as the service says it."""
    details = _TokenDetails()
    into = InputTokenDetails()
    if usage.cache_read_tokens is not None:
        into["cache_read"] = usage.cache_read_tokens
    if usage.cache_write_tokens is not None:
        into["cache_creation"] = usage.cache_write_tokens
    if into:
        details["input_token_details"] = into
    if usage.reasoning_tokens is not None:
        details["output_token_details"] = OutputTokenDetails(reasoning=usage.reasoning_tokens)
    return details


@dataclass(frozen=True, slots=True)
class MessageForm:
    """How a turn becomes a message: whose it is, in which shape of content, and whether it has the token counts."""

    service: str
    model_name: str
    output_version: str | None = None
    output: Output = "blocks"
    message_id: str | None = None
    counts: bool = True

    def __post_init__(self) -> None:
        """Register the translator of a service that is not registered yet."""
        provider_of(self.service)

    @property
    def provider(self) -> str:
        """The `model_provider` of the message."""
        return provider_of(self.service)

    @property
    def is_v1(self) -> bool:
        """Whether content is always a list of blocks, and the message says so."""
        return self.output_version == "v1" and self.output == "blocks"

    def body(self, updates: Iterable[Update]) -> dict[str, Any]:
        """Return the whole answer as the fields of a message: its content and its `additional_kwargs`."""
        writer = BlockWriter()
        blocks: list[Block] = []
        text: list[str] = []
        told: list[tuple[Block, int]] = []
        for update in updates:
            block = self.shown(writer.block(update))
            if block is None:
                continue
            if self.is_v1:
                if blocks and blocks[-1]["index"] == block["index"]:
                    blocks[-1][block["type"]] += block[block["type"]]
                else:
                    blocks.append(block)
            elif block["type"] == "text":
                text.append(block["text"])
            else:
                told.append((block, writer.characters))
        if self.is_v1:
            return {"content": blocks}
        content = "".join(text)
        return {"content": content, "additional_kwargs": put_beside(told, content)}

    def shown(self, block: Block | None) -> Block | None:
        """Return the block if it belongs in the message, else None."""
        return None if block is None or (self.output == "text" and block["type"] != "text") else block

    def piece(self, block: Block, writer: BlockWriter) -> dict[str, Any]:
        """Return the block that the writer made last as the fields of a chunk."""
        if self.is_v1:
            return {"content": [block]}
        if block["type"] == "text":
            return {"content": block["text"]}
        # Without the provider no translator is asked for the blocks of this chunk.
        return {
            "content": "",
            "additional_kwargs": writer.beside(block, self.message_id),
            "response_metadata": {"model_provider": self.provider},
        }

    def chunks(self) -> Mold[AIMessageChunk]:
        """Return what makes the chunks of the message, each a piece of the answer."""
        return _chunks(is_v1=self.is_v1).like(id=self.message_id)

    def last_chunk(self, turn: Turn, session_id: str | None, writer: BlockWriter) -> AIMessageChunk:
        """Return the chunk that ends the message that this writer made: usage and metadata, no content."""
        return AIMessageChunk(
            content=[] if self.is_v1 else "",
            additional_kwargs={} if self.is_v1 else writer.end(),
            id=self.message_id,
            usage_metadata=self.usage(turn),
            response_metadata=self.metadata(turn, session_id),
            chunk_position="last",
        )

    def message(self, turn: Turn, session_id: str | None) -> AIMessage:
        """Return the turn as one message; a turn that failed or is still running, as far as it got."""
        return AIMessage(
            **self.body(turn.updates),
            id=self.message_id,
            usage_metadata=self.usage(turn),
            response_metadata=self.metadata(turn, session_id),
        )

    def usage(self, turn: Turn) -> UsageMetadata | None:
        """Return the turn's token counts, which tracers and programs add up; None if another message has them."""
        return usage_metadata(turn.usage) if self.counts else None

    def metadata(self, turn: Turn, session_id: str | None) -> dict[str, Any]:
        """Return the turn's metadata; `duration_ms` is in milliseconds.

        `sources` name the passages behind the answer. Their text is in the tool results, and only where the message
        leaves those out (`output="text"`) in the sources too, with the screenshots of the results as
        `image_attachments`. The usage is not under `usage`, where tracers look for the counts of another service.
        """
        found: dict[str, Any] = {
            **_version(is_v1=self.is_v1),
            "model_provider": self.provider,
            "model_name": self.model_name,
            "session_id": session_id,
        }
        if turn.is_complete:
            found |= finish_fields(turn)
        if turn.error is not None:
            found["error"] = turn.error
        if turn.usage is not None:
            found["turn_usage"] = {
                name: value
                for name in ("input_tokens", "output_tokens", "turns", "duration_ms", "cost")
                if (value := getattr(turn.usage, name)) is not None
            }
        if turn.skipped_index_ids:
            found["skipped_index_ids"] = list(turn.skipped_index_ids)
        if self.output == "text":
            found |= whole_sources(turn.sources, (run.image_attachment for run in turn.tool_runs))
        elif turn.sources:
            found["sources"] = [source_fields(source) for source in turn.sources]
        return cast("dict[str, Any]", portable(found))


def _version(*, is_v1: bool) -> dict[str, Any]:
    return {"output_version": "v1"} if is_v1 else {}


@cache
def _chunks(*, is_v1: bool) -> Mold[AIMessageChunk]:
    content: Content = [] if is_v1 else ""
    metadata = _version(is_v1=is_v1)
    return Mold(AIMessageChunk(content=content, additional_kwargs={}, id=None, response_metadata=metadata))


def finish_fields(turn: Turn) -> dict[str, str]:
    """Return why a turn ended, in the service's terms and those of langchain-core 1.8.4."""
    if turn.error is not None:
        return {"finish_reason": "error"}
    return {"finish_reason": "stop", "normalized_finish_reason": "stop"}


def source_fields(source: Source) -> dict[str, Any]:
    """Return where a passage is from, as JSON: the known fields of `Source` other than its text and metadata."""
    found = {name: getattr(source, name) for name in _PLACES}
    if source.image is not None:
        found["image"] = source.image.model_dump(mode="json")
    return {name: value for name, value in found.items() if value is not None}


def whole_sources(sources: Iterable[Source], attachments: Iterable[ImageAttachment | None]) -> dict[str, Any]:
    """Return the metadata of a message without tool results: its sources with their text, and other screenshots."""
    sources = tuple(sources)
    shown = distinct_images(source.image for source in sources)
    others = [image.model_dump(mode="json") for image in distinct_images([*shown, *attachments])[len(shown) :]]
    whole = [{**source_fields(source), "text": source.text, "metadata": dict(source.metadata)} for source in sources]
    return {**({"sources": whole} if whole else {}), **({"image_attachments": others} if others else {})}


def distinct_images(images: Iterable[ImageAttachment | None]) -> list[ImageAttachment]:
    """Return the screenshots, each once."""
    found: dict[tuple[str, str], ImageAttachment] = {}
    for image in images:
        if image is not None:
            found.setdefault((image.source_id, image.attachment_name), image)
    return [*found.values()]


def source_of(told: Mapping[str, Any]) -> Source:
    """Return the source that these fields of a message describe; its text is empty if the message has none."""
    known = {name: value for name in _PLACES if (value := told.get(name)) is not None}
    text, metadata = told.get("text"), told.get("metadata")
    return Source(
        text=text if isinstance(text, str) else "",
        metadata=cast("Mapping[str, Any]", metadata) if isinstance(metadata, Mapping) else {},
        image=attachment(told.get("image")),
        **known,
    )


def attachment(told: object) -> ImageAttachment | None:
    """Return the screenshot that this value in a message describes, or None."""
    try:
        return ImageAttachment.model_validate(told)
    except ValidationError:
        return None


def document(source: Source) -> Document:
    """Return a passage as a document; `file_name` and `page` are in its metadata even if they are not known."""
    metadata = {**source.metadata, "file_name": None, "page": None, **source_fields(source)}
    return Document(source.text, id=source.passage_id, metadata=metadata)
