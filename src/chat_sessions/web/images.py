"""Fetch the images that a service links to: the browser may not ask another host."""

from __future__ import annotations

from ipaddress import ip_address

import httpx

from chat_sessions.core.errors import APIConnectionError, ProtocolError

__all__ = ["fetch_image", "media_type_of"]

_LARGEST = 25 * 1024 * 1024
_SIGNATURES = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif"}


async def fetch_image(url: str) -> bytes:
    """Fetch an image from where the service keeps it. Raises `APIConnectionError` and `ProtocolError`."""
    content = bytearray()
    try:
        async with (
            # No proxy for this machine's own addresses.
            httpx.AsyncClient(trust_env=not _is_loopback(httpx.URL(url).host), timeout=30) as client,
            client.stream("GET", url) as response,
        ):
            response.raise_for_status()
            async for chunk in response.aiter_bytes():
                content += chunk
                if len(content) > _LARGEST:
                    raise ProtocolError(f"an image is larger than {_LARGEST:,} bytes")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        # The link is not quoted, since it works without a key.
        raise APIConnectionError(f"an image could not be fetched ({type(error).__name__})") from error
    media_type_of(bytes(content))
    return bytes(content)


def media_type_of(content: bytes) -> str:
    """Return the media type of an image, by its first bytes. Raises `ProtocolError` for anything else."""
    for signature, media_type in _SIGNATURES.items():
        if content.startswith(signature):
            return media_type
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    raise ProtocolError("the service sent something that is not a PNG, JPEG, GIF or WebP image")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
