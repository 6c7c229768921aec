"""Images as LangChain content blocks, and as the addresses that a session takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from chat_sessions.core.errors import ConfigurationError
from chat_sessions.core.images import image_urls, inline_image

__all__ = ["image_block", "is_image", "url_of"]


def is_image(block: Mapping[str, Any]) -> bool:
    """Whether a content block is an image, in LangChain's own form, its older one, OpenAI's or Anthropic's."""
    return block.get("type") in ("image", "image_url")


def url_of(block: Mapping[str, Any]) -> str:
    """Return the address of the image in a block. Raises `ConfigurationError` if it has none."""
    url: object = block.get("url")
    if block.get("type") == "image_url":
        url = block.get("image_url")
        url = cast("Mapping[str, Any]", url).get("url") if isinstance(url, Mapping) else url
    source = block.get("source")
    held = cast("Mapping[str, Any]", source) if isinstance(source, Mapping) else block
    url = url or held.get("url")
    content = held.get("base64") or held.get("data")
    if not url and isinstance(content, str):
        kind = held.get("mime_type") or held.get("media_type")
        if not kind:
            raise ConfigurationError('an image block with base64 has no "mime_type", such as "image/png"')
        url = f"data:{kind};base64,{content}"
    if not isinstance(url, str):
        raise ConfigurationError(
            f"an image block of these fields has no address and no content: {sorted(block)}; a session takes "
            '{"type": "image", "url": ...}, or "base64" with "mime_type"'
        )
    return image_urls([url])[0]


def image_block(url: str) -> dict[str, Any]:
    """Return the image of this address as a content block."""
    inline = inline_image(url)
    if inline is None:
        return {"type": "image", "url": url}
    return {"type": "image", "base64": inline[1], "mime_type": inline[0]}
