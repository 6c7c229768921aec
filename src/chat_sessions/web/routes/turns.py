"""One session: its turns, sending and stopping, and the feed of what happens."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Form, Header
from fastapi.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse
from markupsafe import Markup

from chat_sessions.core.errors import ChatSessionsError, ConfigurationError
from chat_sessions.web.context import Context
from chat_sessions.web.live.feed import feed
from chat_sessions.web.live.picture import Picture, part
from chat_sessions.web.render.pages import template_part
from chat_sessions.web.render.remedies import remedy_for, status_for
from chat_sessions.web.routes.forms import Message
from chat_sessions.web.routes.sessions import address_of

__all__ = ["router"]

router = APIRouter(prefix="/sessions/{session_id}")

_NOTES = {
    "automatic": "This service chooses titles by itself; this is the current one.",
    "answered": "The agent no longer waited for that answer, and it was not given.",
}


@router.get("")
async def show_session(page: Context, session_id: str, note: str = "") -> Response:
    """Show a session with all of its turns."""
    live = page.live.get(session_id)
    session = await live.read()
    picture = Picture(live)
    turns = picture.whole()
    status, remedy = picture.status
    return page.page(
        "session.html",
        session=session,
        turns=Markup(turns),  # noqa: S704 (the templates escaped it)
        revision=live.revision,
        confirmation=Markup(picture.confirmation),  # noqa: S704 (the templates escaped it)
        state=status,
        remedy=remedy,
        running=live.stoppable,
        note=_NOTES.get(note, ""),
    )


@router.get("/feed")
async def follow(page: Context, session_id: str, revision: int = -1) -> Response:
    """Send what changes in a session, as server-sent events."""
    live = page.live.get(session_id)
    if live.stored is None:
        await live.look()
    # A page that connects again may have missed any number of changes.
    picture = Picture(live)
    picture.adopt(revision)
    return StreamingResponse(
        feed(live, picture, page.pace()), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"}
    )


@router.post("/turns")
async def ask(
    page: Context,
    session_id: str,
    message: Message = "",
    hx_request: Annotated[bool, Header()] = False,
) -> Response:
    """Send a message; it waits for running turns."""
    try:
        await page.live.get(session_id).ask(message)
    except ChatSessionsError as error:
        return _refused(error, hx_request=hx_request)
    return _back(session_id, hx_request=hx_request)


@router.post("/stop")
async def stop(
    page: Context,
    session_id: str,
    turn: Annotated[str, Form()] = "",
    hx_request: Annotated[bool, Header()] = False,
) -> Response:
    """Stop a turn, if it is the one that runs: after a second click, another may."""
    stopped = await page.live.get(session_id).stop(turn)
    if stopped is not None and stopped.state != "unsent" and page.interrupt is not None:
        try:
            await page.interrupt(session_id)
        except ChatSessionsError as error:
            return _refused(error, hx_request=hx_request)
    return _back(session_id, hx_request=hx_request)


@router.post("/confirmation")
async def confirm(
    page: Context,
    session_id: str,
    answer: Annotated[Literal["approve", "reject"], Form()],
    question: Annotated[str, Form()] = "",
    reason: Annotated[str, Form()] = "",
    hx_request: Annotated[bool, Header()] = False,
) -> Response:
    """Allow or refuse the actions that the page showed, if the agent still waits to take them."""
    try:
        was_asked = await page.live.get(session_id).answer(question, answer == "approve" or reason.strip() or False)
    except ChatSessionsError as error:
        return _refused(error, hx_request=hx_request)
    return _back(session_id, hx_request=hx_request, note="" if was_asked else "answered")


@router.post("/title")
async def rename(page: Context, session_id: str, title: Annotated[str, Form()]) -> Response:
    """Give a session this title, or generate one from it if the service does not accept titles."""
    if not title.strip():
        raise ConfigurationError("the title is empty")
    if page.rename is not None:
        await page.rename(session_id, title)
        return _back(session_id)
    made = await page.backend.set_title(session_id, first_message=title)
    return _back(session_id, note="automatic" if made.title_origin != "requested" else "")


def _refused(error: ChatSessionsError, *, hx_request: bool) -> Response:
    """Say in the page's status line why something was not done; without script, on a page of its own."""
    if not hx_request:
        raise error
    html = template_part("parts.html", "status", str(error), remedy_for(error))
    return HTMLResponse(part("#status", "innerHTML", html), status_for(error))


def _back(session_id: str, *, hx_request: bool = False, note: str = "") -> Response:
    """Return to the session; htmx stays there, and the feed shows what changed."""
    if hx_request:
        return Response(status_code=204)
    return RedirectResponse(address_of(session_id) + (f"?note={note}" if note else ""), 303)
