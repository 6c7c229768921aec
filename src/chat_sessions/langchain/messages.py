"""A session's history as LangChain messages, and the sources of its answers."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, cast

from langchain_core.documents import Document
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from pydantic import BaseModel, JsonValue

from chat_sessions.core.errors import ConfigurationError
from chat_sessions.core.events import Event
from chat_sessions.core.models import ImageAttachment, PresignedUrl
from chat_sessions.core.sources import Source, distinct, sources_in
from chat_sessions.core.turn import replay
from chat_sessions.langchain.blocks import blocks_in, without_blocks
from chat_sessions.langchain.content import (
    MessageForm,
    Output,
    attachment,
    check_output,
    default_model_name,
    distinct_images,
    document,
    source_of,
    whole_sources,
)
from chat_sessions.langchain.input.default_client import DEFAULT_SERVICE, check_client
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

    Raises `ConfigurationError` for anything but events, such as the session itself.
    """
    check_output(output)
    events = _checked_events(events)
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


def _checked_events(events: object) -> list[Event]:
    got = type(events).__name__
    # Models and strings are iterable, too: they would yield fields and letters.
    if isinstance(events, Iterable) and not isinstance(events, str | BaseModel):
        found = [*cast("Iterable[object]", events)]
        wrong = [event for event in found if not isinstance(event, Event)]
        if not wrong:
            return cast("list[Event]", found)
        got += f" that holds a {type(wrong[0]).__name__}"
    raise ConfigurationError(
        f"events_to_messages takes the events of a session, such as chat.retrieve(session_id).events, not a {got}"
    )


def _check_message(name: str, message: object) -> None:
    if not isinstance(message, BaseMessage):
        raise ConfigurationError(
            f"{name} takes a message of LangChain, such as SessionChatModel.invoke() returns, not a "
            f"{type(message).__name__}"
        )


def text_message(message: AIMessage) -> AIMessage:
    """Return a copy of an answer that is its text alone, a `str`, without reasoning and tools.

    Use it for another model that refuses the blocks of version v1, and to keep less in a history. Metadata and id are
    those of the answer; the metadata also get the text of the sources, so that `source_documents` and `image_blocks`
    work on the copy. Images that came with tool results are left out. Raises `ConfigurationError` for something else
    than a message.
    """
    _check_message("text_message", message)
    metadata = {key: value for key, value in message.response_metadata.items() if key != "output_version"}
    if _has_results(message):
        metadata |= whole_sources(_sources(message), _attachments(message))
    kept = {"additional_kwargs": without_blocks(message), "response_metadata": metadata}
    return message.model_copy(update={"content": str(message.text), **kept})


def source_documents(message: BaseMessage) -> list[Document]:
    """Return the passages behind an answer, each once, in the order in which its tools found them.

    They are read from the message itself, so streamed, stored and loaded messages work, and answers that are text only.
    The metadata always have `file_name` and `page`, which are None if the tool did not report them; and `page_end`
    (pages count from 1), `score`, `index_id` and the like, if they are known. Raises `ConfigurationError` for anything
    but a message.
    """
    _check_message("source_documents", message)
    return [document(source) for source in _sources(message)]


def _sources(message: BaseMessage) -> tuple[Source, ...]:
    """Return what the tool results cite, else what the metadata say."""
    if not _has_results(message):
        return tuple(source_of(told) for told in _told(message, "sources"))
    found: list[Source] = []
    arguments: dict[str, dict[str, JsonValue]] = {}
    for block in blocks_in(message):
        if block.get("type") == "server_tool_call":
            arguments[str(block.get("id"))] = block.get("args") or {}
        elif block.get("type") == "server_tool_result":
            found += sources_in(
                block.get("output"), arguments=arguments.get(str(block.get("tool_call_id"))), image=_attachment(block)
            )
    return distinct(found)


def image_blocks(message: BaseMessage, client: Backend) -> list[dict[str, Any]]:
    """Return the images of an answer's tool results as `image` blocks, which you can send to a vision model.

    Those that came with a result are in their blocks. A page screenshot has a link, which takes one request;
    its `extras` has `expires_at`, when the link expires, and the attachment. Raises `APIError`, and
    `ConfigurationError` for anything but a message and a sync client.
    """
    _check_message("image_blocks", message)
    check_client(client)
    links = [_image_block(attachment, client.attachment_url(attachment)) for attachment in _attachments(message)]
    return [*_given_images(message), *links]


async def aimage_blocks(message: BaseMessage, client: Backend) -> list[dict[str, Any]]:
    """The async twin of `image_blocks`; takes the same client."""
    _check_message("aimage_blocks", message)
    check_client(client)
    links = [
        _image_block(attachment, await client.aio.attachment_url(attachment)) for attachment in _attachments(message)
    ]
    return [*_given_images(message), *links]


def _given_images(message: BaseMessage) -> list[dict[str, Any]]:
    """Return the images that came with tool results."""
    shown: list[dict[str, Any]] = []
    for block in blocks_in(message):
        if block.get("type") == "server_tool_result":
            extras: dict[str, Any] = block.get("extras") or {}
            urls: list[str] = extras.get("image_urls") or []
            shown += map(image_block, urls)
    return shown


def _has_results(message: BaseMessage) -> bool:
    """Whether the message holds tool results: one that is text only does not."""
    return any(block.get("type") == "server_tool_result" for block in blocks_in(message))


def _told(message: BaseMessage, name: str) -> list[dict[str, Any]]:
    """Return a list in the metadata, which may be those of any model."""
    told: object = message.response_metadata.get(name)
    each = cast("list[object]", told) if isinstance(told, list) else []
    return [cast("dict[str, Any]", one) for one in each if isinstance(one, dict)]


def _attachments(message: BaseMessage) -> list[ImageAttachment]:
    """Return the screenshots of tool results and of the passages in them, each once."""
    if not _has_results(message):
        told = map(attachment, _told(message, "image_attachments"))
        return distinct_images([*(source.image for source in _sources(message)), *told])
    results = [block for block in blocks_in(message) if block.get("type") == "server_tool_result"]
    return distinct_images(
        image
        for block in results
        for image in (_attachment(block), *(source.image for source in sources_in(block.get("output"))))
    )


def _attachment(block: dict[str, Any]) -> ImageAttachment | None:
    extras: dict[str, Any] = block.get("extras") or {}
    return attachment(extras.get("image_attachment"))


def _image_block(attachment: ImageAttachment, link: PresignedUrl) -> dict[str, Any]:
    extras = {**attachment.model_dump(mode="json"), "expires_at": link.expires_at.isoformat()}
    return {"type": "image", "url": link.url, "extras": extras}
