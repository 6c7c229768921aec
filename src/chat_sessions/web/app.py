"""The application: its routes behind the guard."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.resources import files
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse, Response
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles

from chat_sessions.core.errors import ChatSessionsError, ConfigurationError, NotFoundError
from chat_sessions.core.turn import Turn
from chat_sessions.session.backend import AsyncBackend
from chat_sessions.web.context import PageContext, problem_page
from chat_sessions.web.guard import Guard
from chat_sessions.web.live.confirmation import Pending, Respond
from chat_sessions.web.live.feed import Pace
from chat_sessions.web.live.sessions import Confirmations, LiveSessions
from chat_sessions.web.routes import exports, images, sessions, timelines, turns
from chat_sessions.web.routes.sessions import address_of

__all__ = ["create_app"]


def create_app(
    backend: AsyncBackend,
    *,
    token: str,
    hosts: Collection[str],
    name: str | None = None,
    indexes: Mapping[str, str] | None = None,
    turn_lock: Callable[[], AbstractAsyncContextManager[None]] | None = None,
    interrupt: Callable[[str], Awaitable[object]] | None = None,
    rename: Callable[[str, str], Awaitable[object]] | None = None,
    confirmations: Confirmations | None = None,
    pending: Pending | None = None,
    respond: Respond | None = None,
    turn_views: Mapping[str, Callable[[Turn], object]] | None = None,
    index_name: Callable[[str], str] = str,
    elsewhere: Callable[[Sequence[str]], str | None] | None = None,
    updates_per_second: float = 15.0,
    look_every: float = 2.0,
) -> FastAPI:
    """Make the page for a backend.

    Args:
        backend: The async client of the service, such as `LlamaCloudChat().aio`.
        token: The `?token=` that lets a browser in.
        hosts: The values of `Host` under which the page is served, such as "127.0.0.1:8770"; others are refused.
        name: The name of the service to show.
        indexes: The indexes that a new session may ask: their names by id.
        turn_lock: What to hold while a turn runs.
        interrupt: Stops a session's run at the service, if closing its stream is not enough.
        rename: Gives a session this title; None if the service only generates titles from a text.
        confirmations: Where the backend's client asks for permission to act.
        pending: Returns the actions with which a stored session waits for permission, whoever sent its turn.
        respond: Allows or refuses those actions at the service.
        turn_views: For each framework by name, a function that returns its view of a turn, for JSON.
        index_name: Returns the name of an index that is not in `indexes`.
        elsewhere: Returns how to continue a session of these indexes, or None if they can be asked here.
        updates_per_second: How often a page is updated during a running turn, at most.
        look_every: Seconds between two polls of a session whose page is open, for what others do in it.
    """
    live = LiveSessions(backend, turn_lock=turn_lock, look_every=look_every, pending=pending, respond=respond)
    if confirmations is not None:
        confirmations.sessions = live
    page = PageContext(
        backend,
        name or backend.service,
        live,
        lambda: Pace(updates_per_second),
        dict(indexes or {}),
        interrupt,
        dict(turn_views or {}),
        index_name,
        elsewhere,
        rename,
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        yield
        await live.close()

    app = FastAPI(title="chat-sessions", openapi_url=None, docs_url=None, redoc_url=None, lifespan=lifespan)
    app.state.page = page
    for router in (sessions.router, turns.router, timelines.router, images.router, exports.router):
        app.include_router(router)
    app.mount("/static", StaticFiles(directory=Path(str(files("chat_sessions.web") / "static"))))

    @app.exception_handler(ChatSessionsError)
    async def on_error(request: Request, error: ChatSessionsError) -> Response:
        return problem_page(page, error, was_reading=request.method == "GET")

    @app.exception_handler(RequestValidationError)
    async def on_bad_request(_: Request, error: RequestValidationError) -> Response:
        where = ", ".join(str(item["loc"][-1]) for item in error.errors())
        return problem_page(page, ConfigurationError(f"the request cannot be read: {where}"))

    @app.exception_handler(HTTPException)
    async def on_http_error(request: Request, error: HTTPException) -> Response:
        if error.status_code == 404:
            return problem_page(page, NotFoundError("there is no such page here", status_code=404))
        if error.status_code == 405:
            return _not_by_this_method(page, request, error)
        return problem_page(page, ConfigurationError(str(error.detail)))

    app.add_middleware(Guard, token=token, hosts=hosts)
    return app


def _not_by_this_method(page: PageContext, request: Request, error: HTTPException) -> Response:
    """Lead from the address of a form, which stays in the browser's bar if the form is refused, to a page."""
    if request.method == "GET":
        session_id = request.path_params.get("session_id")
        return RedirectResponse("/" if session_id is None else address_of(session_id), 303)
    response = problem_page(
        page,
        ConfigurationError(f"this address takes no {request.method} request"),
        status=405,
        remedy="Go back to the list of sessions.",
    )
    response.headers.update(error.headers or {})
    return response
