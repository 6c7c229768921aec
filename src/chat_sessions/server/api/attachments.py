"""Attachments, such as page images: their list, and links to them that work without a key for a while."""

from __future__ import annotations

import hashlib
import hmac
import mimetypes
import time
from collections.abc import Callable
from datetime import UTC, datetime
from urllib.parse import quote, urlencode

from starlette.exceptions import HTTPException
from starlette.responses import Response

from chat_sessions.server.api.wire import AttachmentInfo, AttachmentLink, AttachmentPage, page_token
from chat_sessions.server.documents.library import Library

__all__ = ["LinkSigner", "image", "link", "page"]

# What a browser may show as an image; anything else (SVG can hold scripts) is only for download.
_IMAGES = frozenset(("image/jpeg", "image/png", "image/webp", "image/gif"))


class LinkSigner:
    """Signs the paths of attachments with a secret of the server's, and checks them.

    `now` gives the time in seconds since the epoch.
    """

    def __init__(self, secret: bytes, *, lifetime: float, now: Callable[[], float] = time.time) -> None:
        self._secret = secret
        self._lifetime = lifetime
        self._now = now

    def sign(self, source_id: str, name: str) -> tuple[str, int]:
        """The path and query of a link, and the second since the epoch from which it does not work."""
        expires = int(self._now() + self._lifetime)
        query = urlencode({"expires": expires, "signature": self._signature(source_id, name, str(expires))})
        return f"/attachments/{quote(source_id, safe='')}/{quote(name)}?{query}", expires

    def accepts(self, source_id: str, name: str, *, expires: str, signature: str) -> bool:
        """Whether a link is one of ours and still works."""
        # The signature first: only a number that is ours is ever read as one.
        expected = self._signature(source_id, name, expires)
        return hmac.compare_digest(expected.encode(), signature.encode()) and self._now() < int(expires)

    def _signature(self, source_id: str, name: str, expires: str) -> str:
        # With the lengths, no two different triples are one message.
        message = f"{len(source_id)}:{source_id}{len(name)}:{name}{expires}"
        return hmac.new(self._secret, message.encode(), hashlib.sha256).hexdigest()


async def page(library: Library, source_id: str, *, first: int, size: int) -> AttachmentPage:
    """A source's attachments from position `first` on. Raises `HTTPException` 404 for an unknown source."""
    names = await library.attachments(source_id)
    if names is None:
        raise HTTPException(404, f"source {source_id} not found")
    items: list[AttachmentInfo] = []
    for name in names[first : first + size]:
        data = await library.attachment(source_id, name)
        if data is not None:
            items.append(AttachmentInfo(name=name, size=len(data)))
    more = first + size < len(names)
    return AttachmentPage(items=items, next_page_token=page_token(first + size) if more else None)


async def link(library: Library, signer: LinkSigner, source_id: str, name: str, *, base_url: str) -> AttachmentLink:
    """A link to an attachment. Raises `HTTPException` 404 for one that no index has."""
    if name not in (await library.attachments(source_id) or ()):
        raise _not_found(source_id, name)
    path, expires = signer.sign(source_id, name)
    return AttachmentLink(
        url=base_url.rstrip("/") + path,
        expires_at=datetime.fromtimestamp(expires, UTC).isoformat().replace("+00:00", "Z"),
    )


async def image(
    library: Library, signer: LinkSigner, source_id: str, name: str, *, expires: str, signature: str
) -> Response:
    """What a link leads to. Raises `HTTPException`: 403 for a link that does not hold, 404 for a file now gone."""
    if not signer.accepts(source_id, name, expires=expires, signature=signature):
        raise HTTPException(403, "this link has expired or is not complete; ask for a new one")
    data = await library.attachment(source_id, name)
    if data is None:
        raise _not_found(source_id, name)
    guessed = mimetypes.guess_type(name)[0]
    return Response(
        data,
        media_type=guessed if guessed in _IMAGES else "application/octet-stream",
        headers={"Cache-Control": "private", "X-Content-Type-Options": "nosniff"},
    )


def _not_found(source_id: str, name: str) -> HTTPException:
    return HTTPException(404, f"attachment {name} of source {source_id} not found")
