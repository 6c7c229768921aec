"""The timeline of one turn, and the turn as JSON."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import Response

from chat_sessions.core.errors import NotFoundError
from chat_sessions.core.turn import turn_fields
from chat_sessions.web.context import Context
from chat_sessions.web.export.documents import json_text
from chat_sessions.web.live.timeline import Timeline, moments_json, steps_of
from chat_sessions.web.render.views import prompt_words, usage_text

__all__ = ["router"]

router = APIRouter()


@router.get("/sessions/{session_id}/turns/{number}")
async def show_turn(page: Context, session_id: str, number: int) -> Response:
    """Show when each part of a turn arrived, and the turn as JSON and as each framework sees it."""
    live = page.live.get(session_id)
    session = await live.read()
    items = live.shown
    if not 0 <= number < len(items):
        raise NotFoundError(f"this session has no turn {number + 1}", status_code=404)
    item = items[number]
    moments = item.seen.moments if item.seen is not None else []
    report = {"session_id": session_id, **turn_fields(item.turn), "moments": moments_json(moments)}
    views = {"As JSON": json_text(report)}
    views.update((f"As {name} sees it", json_text(view(item.turn))) for name, view in page.turn_views.items())
    return page.page(
        "timeline.html",
        session=session,
        number=number,
        words=prompt_words(item.turn),
        timeline=Timeline.of(moments, item.turn),
        waits=item.live is not None and item.live.state == "waiting",
        steps=steps_of(item.turn),
        cost=usage_text(item.turn.usage),
        views=views,
    )
