"""The images of pages that answers cite.

The service links to another host, which the browser may not ask, so the images come through here. Only those that the
session's turns cite can be fetched: an address contains a hash, never a name.
"""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import Response

from chat_sessions.core.errors import NotFoundError
from chat_sessions.core.models import ImageAttachment
from chat_sessions.core.turn import Turn
from chat_sessions.web.context import Context, PageContext
from chat_sessions.web.images import fetch_image, media_type_of
from chat_sessions.web.render.views import SourceView, attachments_of, source_views

__all__ = ["router"]

router = APIRouter()


@router.get("/sessions/{session_id}/images/{key}")
async def send_image(page: Context, session_id: str, key: str) -> Response:
    """Return the image of a page that the session cites."""
    found, _ = await _cited(page, session_id, key)
    content = await fetch_image((await page.backend.attachment_url(found)).url)
    # These images never change, and the browser would ask for them at each rendering.
    return Response(content, media_type=media_type_of(content), headers={"Cache-Control": "private, max-age=3600"})


@router.get("/sessions/{session_id}/images/{key}/large")
async def show_image(page: Context, session_id: str, key: str) -> Response:
    """Show the image in the size of the window, with the passages cited from it, marked if their place is known."""
    _, turns = await _cited(page, session_id, key)
    views = [view for turn in turns for view in source_views(turn.sources) if view.image == key]
    place = views[0].place if views else "A page"
    passages = {view.key: view for view in views}.values()
    return page.page(
        "image.html",
        session_id=session_id,
        key=key,
        place=place,
        marked=sorted((view for view in passages if view.marks), key=_height),
        unmarked=[view for view in passages if not view.marks],
    )


def _height(view: SourceView) -> tuple[float, float]:
    first = view.marks.boxes[0] if view.marks else None
    return (first.y, first.x) if first else (0.0, 0.0)


async def _cited(page: PageContext, session_id: str, key: str) -> tuple[ImageAttachment, list[Turn]]:
    """Find an image by its key, and the turns of its session. Raises `NotFoundError`."""
    live = page.live.get(session_id)
    for has_read in (False, True):
        if has_read:
            await live.read()
        turns = [item.turn for item in live.shown]
        if (found := attachments_of(turns).get(key)) is not None:
            return found, turns
    raise NotFoundError("this session cites no such image", status_code=404)
