"""A session's history as LangChain messages, and the sources of its answers."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any, cast

from langchain_core.documents import Document
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from pydantic import JsonValue, ValidationError

from chat_sessions.core.events import Event
from chat_sessions.core.models import ImageAttachment, PresignedUrl
from chat_sessions.core.sources import Source, distinct, sources_in
from chat_sessions.core.turn import replay
from chat_sessions.langchain.content import MessageForm, Output, default_model_name, document
from chat_sessions.langchain.default_client import DEFAULT_SERVICE
from chat_sessions.langchain.input.images import image_block
from chat_sessions.session import Backend

__all__ = ["aimage_blocks", "events_to_messages", "image_blocks", "source_documents", "text_message"]


def events_to_messages(
    events: Iterable[Event],
    *,
    session_id: str | None = None,
    service: str = DEFAULT_SERVICE,
    model_name: str | None = None,
    output_version: str | None = None,
    output: Output = "blocks",
) -> list[BaseMessage]:
    """Return the messages of a session's events: for each turn the user's `HumanMessage` and one `AIMessage`.

    A turn gives the same message live and from the history, whether that holds deltas or finals; only the message id
    differs. A turn that failed or has not ended is included as far as it got, without `finish_reason="stop"`.
    `session_id`, `service` and `model_name` go into `response_metadata`; `output_version` and `output` are those of
    `SessionChatModel`.
    """
    version = output_version or os.environ.get("LC_OUTPUT_VERSION")
    form = MessageForm(service, model_name or default_model_name(service), version, output)
    messages: list[BaseMessage] = []
    for turn in replay(events):
        if turn.prompt is not None:
            shown = [*map(image_block, turn.image_urls)]
            words = [{"type": "text", "text": turn.prompt}] if turn.prompt else []
            messages.append(HumanMessage([*words, *shown] if shown else turn.prompt))
        if turn.events:
            messages.append(form.message(turn, session_id))
    return messages


def text_message(message: AIMessage) -> AIMessage:
    """Return a copy of an answer whose content is its text, as a `str`.

    Use it for the history of another model: most services refuse the reasoning and tools of others. Metadata and id are
    those of the answer.
    """
    metadata = {key: value for key, value in message.response_metadata.items() if key != "output_version"}
    return message.model_copy(update={"content": str(message.text), "response_metadata": metadata})


def source_documents(message: BaseMessage) -> list[Document]:
    """Return the passages behind an answer, each once, in the order in which its tools found them.

    They are read from the message itself, so streamed, stored and loaded messages work. The metadata are `file_name`,
    `page`, `page_end` (from 1), `score`, `index_id` and the like, if they are known.
    """
    found: list[Source] = []
    arguments: dict[str, dict[str, JsonValue]] = {}
    for block in _blocks(message):
        if block.get("type") == "server_tool_call":
            arguments[str(block.get("id"))] = block.get("args") or {}
        elif block.get("type") == "server_tool_result":
            found += sources_in(
                block.get("output"), arguments=arguments.get(str(block.get("tool_call_id"))), image=_attachment(block)
            )
    return [document(source) for source in distinct(found)]


def image_blocks(message: BaseMessage, client: Backend) -> list[dict[str, Any]]:
    """Return the images of an answer's tool results as `image` blocks, which you can send to a vision model.

    Those that came with a result are in their blocks. A page screenshot has a link, which takes one request;
    its `extras` has `expires_at`, when the link expires, and the attachment. Raises `APIError`.
    """
    links = [_image_block(attachment, client.attachment_url(attachment)) for attachment in _attachments(message)]
    return [*_given_images(message), *links]


async def aimage_blocks(message: BaseMessage, client: Backend) -> list[dict[str, Any]]:
    """The async twin of `image_blocks`; takes the same client."""
    links = [
        _image_block(attachment, await client.aio.attachment_url(attachment)) for attachment in _attachments(message)
    ]
    return [*_given_images(message), *links]


def _given_images(message: BaseMessage) -> list[dict[str, Any]]:
    """Return the images that came with tool results."""
    shown: list[dict[str, Any]] = []
    for block in _blocks(message):
        if block.get("type") == "server_tool_result":
            extras: dict[str, Any] = block.get("extras") or {}
            urls: list[str] = extras.get("image_urls") or []
            shown += map(image_block, urls)
    return shown


def _blocks(message: BaseMessage) -> Iterator[dict[str, Any]]:
    content = cast("str | list[str | dict[str, Any]]", message.content)
    return (block for block in content if isinstance(block, dict))


def _attachments(message: BaseMessage) -> list[ImageAttachment]:
    """Return the screenshots of tool results and of the passages in them, each once."""
    found: dict[tuple[str, str], ImageAttachment] = {}
    for block in _blocks(message):
        if block.get("type") == "server_tool_result":
            images = [_attachment(block), *(source.image for source in sources_in(block.get("output")))]
            found.update({(image.source_id, image.attachment_name): image for image in images if image is not None})
    return list(found.values())


def _attachment(block: dict[str, Any]) -> ImageAttachment | None:
    try:
        extras: dict[str, Any] = block.get("extras") or {}
        return ImageAttachment.model_validate(extras.get("image_attachment"))
    except ValidationError:
        return None


def _image_block(attachment: ImageAttachment, link: PresignedUrl) -> dict[str, Any]:
    extras = {**attachment.model_dump(mode="json"), "expires_at": link.expires_at.isoformat()}
    return {"type": "image", "url": link.url, "extras": extras}
