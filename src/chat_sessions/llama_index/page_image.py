"""Page screenshots: a reference that lasts, and a link that does not."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.base.response.schema import Response
from llama_index.core.schema import BaseNode, NodeWithScore
from llama_index.core.tools import ToolOutput
from pydantic import ValidationError

from chat_sessions.core.errors import ConfigurationError
from chat_sessions.core.models import ImageAttachment, PresignedUrl
from chat_sessions.llama_index.arguments import client_or_default
from chat_sessions.session.backend import Backend

__all__ = ["PageImage"]

# A new link is requested this long before the old one expires, so that it lasts until the picture is loaded.
_MARGIN = timedelta(seconds=30)
_HOLDERS = (NodeWithScore, BaseNode, ChatMessage, ToolOutput)


class PageImage:
    """A page screenshot on the service.

    `url()` asks the service for a link that needs no key, keeps it, and asks again once it has
    expired. What is stored in histories and nodes is the reference, `attachment`.
    """

    def __init__(self, attachment: ImageAttachment, *, client: Backend) -> None:
        """Make the reference of an attachment. Raises `ConfigurationError` for something else, or no sync client."""
        if not isinstance(attachment, ImageAttachment):  # pyright: ignore[reportUnnecessaryIsInstance] - people give others
            raise ConfigurationError(
                f"PageImage takes an ImageAttachment, not a {type(attachment).__name__}: PageImage.of() takes a node"
            )
        self.attachment = attachment
        self._client = client_or_default(client)
        self._link: PresignedUrl | None = None

    def __repr__(self) -> str:
        return f"PageImage({self.attachment.attachment_name!r}, source_id={self.attachment.source_id!r})"

    @classmethod
    def of(cls, holder: NodeWithScore | BaseNode | ChatMessage | ToolOutput, *, client: Backend) -> PageImage | None:
        """Return the screenshot that a node, a tool message or a tool output refers to, or None. Sends nothing.

        Raises `ConfigurationError` for anything else.
        """
        if not isinstance(holder, _HOLDERS):  # pyright: ignore[reportUnnecessaryIsInstance] - people give others
            raise ConfigurationError(
                f"PageImage.of takes a source node of an answer, a tool message or a tool output, not a "
                f"{type(holder).__name__}"
            )
        value = _details(holder).get("image_attachment")
        try:
            return None if value is None else cls(ImageAttachment.model_validate(value), client=client)
        except ValidationError:
            return None

    def url(self) -> str:
        """Return a link that works now. Raises `APIError`, `NotFoundError` if the screenshot is gone."""
        link = self._fresh_link()
        if link is None:
            link = self._link = self._client.attachment_url(self.attachment)
        return link.url

    async def aurl(self) -> str:
        """Return a link that works now. Raises `APIError`, `NotFoundError` if the screenshot is gone."""
        link = self._fresh_link()
        if link is None:
            link = self._link = await self._client.aio.attachment_url(self.attachment)
        return link.url

    def _fresh_link(self) -> PresignedUrl | None:
        if self._link is None or self._link.expires_at - datetime.now(UTC) < _MARGIN:
            return None
        return self._link


def _details(holder: NodeWithScore | BaseNode | ChatMessage | ToolOutput) -> Mapping[str, object]:
    if isinstance(holder, ChatMessage):
        return holder.additional_kwargs
    if isinstance(holder, ToolOutput):
        output = holder.raw_output
        return output.metadata or {} if isinstance(output, Response) else {}
    return holder.metadata
