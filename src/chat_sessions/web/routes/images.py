"""The images of pages that answers cite.

The service links to them, at an address that the browser must not ask, so they come through here. Only what the
session's turns cite can be fetched: an address holds a hash, never a name.
"""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import Response

from chat_sessions.core.errors import NotFoundError
from chat_sessions.web.context import Context
from chat_sessions.web.images import fetch_image, media_type_of
from chat_sessions.web.render.views import attachments_of

__all__ = ["router"]

router = APIRouter()


@router.get("/sessions/{session_id}/images/{key}")
async def show_image(page: Context, session_id: str, key: str) -> Response:
    """Return the image of a page that the session cites."""
    live = page.live.get(session_id)
    found = attachments_of(item.turn for item in live.shown).get(key)
    if found is None:
        await live.read()
        found = attachments_of(item.turn for item in live.shown).get(key)
    if found is None:
        raise NotFoundError("this session cites no such image", status_code=404)
    content = await fetch_image((await page.backend.attachment_url(found)).url)
    # What is shown of a session does not change, and the browser asks again with each rendering.
    return Response(content, media_type=media_type_of(content), headers={"Cache-Control": "private, max-age=3600"})
