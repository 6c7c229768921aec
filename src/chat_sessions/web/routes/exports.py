"""A session as a file to keep."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import Response

from chat_sessions.web.context import Context
from chat_sessions.web.export import Format, export, file_name

__all__ = ["router"]

router = APIRouter()

_MEDIA_TYPES = {"markdown": "text/markdown", "json": "application/json", "html": "text/html"}


@router.get("/sessions/{session_id}/export/{as_format}")
async def export_session(page: Context, session_id: str, as_format: Format) -> Response:
    """Return the session as a file."""
    session = await page.backend.retrieve(session_id)
    content = await export(page.backend, session, as_format, index_name=page.name_of)
    name = file_name(session, as_format)
    return Response(
        content,
        media_type=f"{_MEDIA_TYPES[as_format]}; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )
