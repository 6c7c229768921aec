"""The endpoints of attachments, such as page images: list them, link to one, and serve what a link leads to."""

from __future__ import annotations

import asyncio
import mimetypes
import re
from collections.abc import Awaitable
from datetime import UTC, datetime
from typing import Annotated
from urllib.parse import quote

from fastapi import HTTPException, Query, Request, Response

from chat_sessions.server.api.context import Opened
from chat_sessions.server.api.links import API
from chat_sessions.server.api.wire import (
    ATTACHMENT_PAGE,
    AttachmentInfo,
    AttachmentLink,
    AttachmentPage,
    AttachmentQuery,
    SourceQuery,
    page_token,
)
from chat_sessions.server.documents.pictures import TooManyPictures

__all__ = ["attachment", "attachment_link", "list_attachments"]

_PREFIX = re.compile(r"(/[\w.~%-]+)+", re.ASCII)
# Seconds between two checks that the client of a page image is still connected.
_LOOK_EVERY = 0.5
# What a browser may show as an image. Anything else is a download: SVG can contain scripts.
_IMAGES = frozenset(("image/jpeg", "image/png", "image/webp", "image/gif"))


async def list_attachments(
    chat: Opened, query: Annotated[AttachmentQuery, Query()], request: Request
) -> AttachmentPage:
    """Return a page of a source's attachments."""
    names = await chat.library.attachments(query.source_id)
    if names is None:
        raise HTTPException(404, f"source {query.source_id} not found")
    first = query.position or 0
    end = first + query.size(ATTACHMENT_PAGE)
    items: list[AttachmentInfo] = []
    for name in names[first:end]:
        data = await _while_wanted(chat.library.attachment(query.source_id, name), request)
        if data is not None:
            items.append(AttachmentInfo(name=name, size=len(data)))
    return AttachmentPage(items=items, next_page_token=page_token(end) if end < len(names) else None)


async def attachment_link(
    attachment_name: str, chat: Opened, query: Annotated[SourceQuery, Query()], request: Request
) -> AttachmentLink:
    """Return a link to an attachment that works without a key for a while."""
    # The name arrives decoded, so that the route matches `a/b` and `a%2Fb` alike.
    form = "encoded" if b"%2f" in request.scope.get("raw_path", b"").lower() else "slash"
    if "/" in attachment_name and chat.behaviour.attachment_slash not in ("both", form):
        raise HTTPException(404)
    if attachment_name not in (await chat.library.attachments(query.source_id) or ()):
        raise _not_found(query.source_id, attachment_name)
    path, expires = chat.signer.sign(query.source_id, attachment_name)
    # `base_url` is that of the outermost application, in which this one may be mounted.
    root = _prefix(request) + quote(request.scope["root_path"].removesuffix(API))
    return AttachmentLink(
        url=str(request.base_url.replace(path=root)) + path,
        expires_at=datetime.fromtimestamp(expires, UTC).isoformat().replace("+00:00", "Z"),
    )


async def attachment(
    source_id: str, attachment_name: str, chat: Opened, request: Request, expires: str = "", signature: str = ""
) -> Response:
    """Return the attachment that a link leads to."""
    if not chat.signer.accepts(source_id, attachment_name, expires=expires, signature=signature):
        raise HTTPException(403, "this link has expired or is not complete; ask for a new one")
    data = await _while_wanted(chat.library.attachment(source_id, attachment_name), request)
    if data is None:
        raise _not_found(source_id, attachment_name)
    guessed = mimetypes.guess_type(attachment_name)[0]
    return Response(
        data,
        media_type=guessed if guessed in _IMAGES else "application/octet-stream",
        headers={"Cache-Control": "private", "X-Content-Type-Options": "nosniff"},
    )


def _prefix(request: Request) -> str:
    """Return the path that a proxy in front strips, as it says in `X-Forwarded-Prefix`; "" for none.

    Only the sender of the header gets the link, so the header need not be trusted.
    """
    given = request.headers.get("x-forwarded-prefix", "").rstrip("/")
    return given if _PREFIX.fullmatch(given) else ""


async def _while_wanted(drawing: Awaitable[bytes | None], request: Request) -> bytes | None:
    """Wait for a page image; give up if the client disconnects. Refuses the request if too many are drawn at once."""
    wanted = asyncio.ensure_future(drawing)
    try:
        while not wanted.done():
            await asyncio.wait([wanted], timeout=_LOOK_EVERY)
            if not wanted.done() and await request.is_disconnected():
                raise HTTPException(404, "the client has gone")
        return await wanted
    except TooManyPictures as error:
        raise HTTPException(429, str(error), headers={"Retry-After": "5"}) from None
    finally:
        wanted.cancel()


def _not_found(source_id: str, name: str) -> HTTPException:
    return HTTPException(404, f"attachment {name} of source {source_id} not found")
