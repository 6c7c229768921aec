"""Images of prompts and tool results, as addresses: `https://...`, or `data:image/png;base64,...` with the image in it.

An address is what models, frameworks and services agree on, and it is JSON.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import TypeAlias

from chat_sessions.core.errors import ConfigurationError

__all__ = ["ImageInput", "data_url", "image_urls", "inline_image"]

ImageInput: TypeAlias = str | bytes
"""An image of a prompt: its address (`https://`, `http://` or `data:image/`), or its bytes."""

_KINDS = ((b"\x89PNG\r\n\x1a\n", "png"), (b"\xff\xd8\xff", "jpeg"), (b"GIF8", "gif"))
_QUOTE_LIMIT = 60


def image_urls(images: Sequence[ImageInput]) -> tuple[str, ...]:
    """Return the address of each image. Raises `ConfigurationError` for anything else."""
    if isinstance(images, str | bytes):
        raise ConfigurationError("images must be a list of addresses and bytes, not one of them: put it into a list")
    if not isinstance(images, Sequence):  # pyright: ignore[reportUnnecessaryIsInstance] - people give others
        raise ConfigurationError(f"images must be a list of addresses and bytes, not {type(images).__name__}")
    return tuple(_url(image) for image in images)


def _url(image: object) -> str:
    if isinstance(image, bytes | bytearray):
        return data_url(bytes(image))
    if isinstance(image, str):
        if image.startswith(("https://", "http://")):
            return image
        if image.startswith("data:image/") and inline_image(image) is not None:
            return image
        raise ConfigurationError(
            f"{image[:_QUOTE_LIMIT]!r} is not the address of an image: pass https://..., data:image/png;base64,..., or "
            "for a file its bytes, Path(...).read_bytes()"
        )
    raise ConfigurationError(
        f"an image is an address or bytes, not {type(image).__name__}: give a file's bytes, Path(...).read_bytes()"
    )


def data_url(content: bytes, mime_type: str | None = None) -> str:
    """Return a `data:` address that holds the image.

    Without a `mime_type`, its first bytes show its kind: PNG, JPEG, GIF or WebP. Raises `ConfigurationError` for any
    other.
    """
    kind = mime_type or _kind(content)
    if kind is None:
        raise ConfigurationError(
            f"bytes that begin with {content[:8]!r} are not a PNG, JPEG, GIF or WebP image: pass other kinds as "
            "data:image/...;base64,..."
        )
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _kind(content: bytes) -> str | None:
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    return next((f"image/{kind}" for start, kind in _KINDS if content.startswith(start)), None)


def inline_image(url: str) -> tuple[str, str] | None:
    """Return the kind of the image that an address holds, and the image in base64; None for any other address."""
    head, found, content = url.partition(";base64,")
    if not (found and head.startswith("data:")):
        return None
    try:
        binascii.a2b_base64(content, strict_mode=True)
    except binascii.Error:
        return None
    return head.removeprefix("data:"), content
