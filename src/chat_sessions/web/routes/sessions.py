"""The list of sessions, and a new one."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import Annotated
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Form, Query
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from chat_sessions.core.errors import ChatSessionsError, ConfigurationError, NotFoundError
from chat_sessions.core.models import SessionSummary
from chat_sessions.web.context import Context, PageContext
from chat_sessions.web.render.pages import template_part
from chat_sessions.web.render.remedies import remedy_for, status_for
from chat_sessions.web.routes.forms import Message

__all__ = ["address_of", "router"]

_PAGE = 50
# A search reads every session of the service, a page at a time.
_SEARCHED = 2_000

router = APIRouter()


@router.get("/")
async def list_sessions(
    page: Context, q: Annotated[str, Query(max_length=200)] = "", number: Annotated[int, Query(ge=1, le=1000)] = 1
) -> Response:
    """List sessions in the service's order: the one that was begun last comes first."""
    query = q.strip()
    # Past the end is the last page, which may have become shorter since the link to it was made.
    shown, found, looked_at, is_cut, has_more = 1, list[SessionSummary](), 0, False, False
    async for summary in page.backend.list(page_size=_PAGE):
        if query and looked_at >= _SEARCHED:
            is_cut = True
            break
        looked_at += 1
        if query and not _matches(summary, query, page):
            continue
        if len(found) == _PAGE:
            has_more = shown == number
            if has_more:
                break
            shown, found = shown + 1, []
        found.append(summary)
    return page.page(
        "sessions.html",
        found=found,
        has_more=has_more,
        is_cut=is_cut,
        looked_at=looked_at,
        query=query,
        number=shown,
        address=partial(_list_address, query),
        tallies={one.session_id: page.live.tally(one) for one in found},
    )


@router.get("/sessions/{session_id}/tally")
async def count_turns(page: Context, session_id: str) -> Response:
    """Return the number of turns for a session's line in the list; nothing if it cannot be read."""
    try:
        tally = await page.live.tallies.read(session_id)
    except ChatSessionsError:
        return Response(status_code=204)
    return HTMLResponse(template_part("parts.html", "tally", tally))


@router.get("/sessions/new")
async def new_session(page: Context) -> Response:
    """Show the form for a session, which is created with its first message."""
    return page.page("new.html", chosen=page.chosen, text="", error=None, remedy="")


@router.post("/sessions")
async def create_session(
    page: Context,
    message: Message = "",
    index: Annotated[list[str] | None, Form()] = None,
) -> Response:
    """Create a session and send its first message."""
    chosen = [index_id for given in index or () for index_id in given.split()]
    try:
        # The client would ask its own indexes: those that were just taken out of the choice.
        if not chosen and len(page.indexes or page.chosen) > 1:
            raise ConfigurationError("Choose at least one index.")
        page.backend.check_turn(message, chosen or None)
        summary = await page.backend.create(index_ids=chosen or None)
        await page.live.get(summary.session_id).ask(message)
    except ChatSessionsError as error:
        return page.page(
            "new.html", status_for(error), chosen=chosen, text=message, error=str(error), remedy=remedy_for(error)
        )
    return RedirectResponse(address_of(summary.session_id), 303)


@router.post("/sessions/{session_id}/delete")
async def delete_session(
    page: Context,
    session_id: str,
    q: Annotated[str, Form(max_length=200)] = "",
    number: Annotated[int, Form(ge=1, le=1000)] = 1,
) -> Response:
    """Stop the turns of a session, delete it, and return to this page of the list."""
    await page.live.forget(session_id)
    # It may have been deleted meanwhile.
    with suppress(NotFoundError):
        await page.backend.delete(session_id)
    return RedirectResponse(_list_address(q, number), 303)


def address_of(session_id: str) -> str:
    """Return the address of a session."""
    return f"/sessions/{quote(session_id, safe='')}"


def _list_address(query: str, number: int) -> str:
    given = urlencode(([("q", query)] if query else []) + ([("number", number)] if number > 1 else []))
    return f"/?{given}" if given else "/"


def _matches(summary: SessionSummary, query: str, page: PageContext) -> bool:
    index_ids = summary.index_ids or ()
    texts = (summary.generated_title or "", summary.session_id, *index_ids, *map(page.name_of, index_ids))
    return any(query.casefold() in text.casefold() for text in texts)
