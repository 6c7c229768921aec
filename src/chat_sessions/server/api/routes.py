"""Which endpoint answers which path, and what the OpenAPI document says of each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Query, Response
from fastapi.openapi.utils import get_openapi
from fastapi.responses import StreamingResponse
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from starlette.routing import Route

from chat_sessions.server.api.attachments import attachment, attachment_link, list_attachments
from chat_sessions.server.api.context import Opened
from chat_sessions.server.api.event_stream import send_message
from chat_sessions.server.api.requests import JsonRoute
from chat_sessions.server.api.sessions import (
    create_session,
    delete_session,
    list_sessions,
    retrieve_session,
    session_summary,
    set_title,
)
from chat_sessions.server.api.wire import Health, IndexInfo, IndexList, LeftOut, Problem, ScopeQuery, SessionBody
from chat_sessions.server.turns.behaviour import Behaviour
from chat_sessions.server.turns.limits import Limits

__all__ = ["api_routes", "document", "image_routes", "open_routes"]

_REFUSALS: dict[int | str, dict[str, Any]] = {
    401: {"description": "The key is missing or wrong"},
    403: {"description": "The link has expired or is not complete; the store has no room for another session"},
    404: {"description": "Not found"},
    409: {"description": "The session is answering another message"},
    413: {"description": "The body is too large"},
    429: {
        "description": "Too much at once; `Retry-After` says in how many seconds to send it again",
        "headers": {"Retry-After": {"description": "Seconds", "schema": {"type": "integer", "minimum": 1}}},
    },
    503: {"description": "The server is shutting down"},
}
# One event of a stream.
_EVENT = {
    "type": "object",
    "required": ["data"],
    "properties": {
        "event": {"type": "string"},
        "id": {"type": "string"},
        "data": {
            "type": "string",
            "description": "One event of the turn as JSON, in one line; `stop` is the last",
            "contentMediaType": "application/json",
            "contentSchema": {"$ref": "#/components/schemas/SessionEvent"},
        },
    },
}


def api_routes(behaviour: Behaviour, limits: Limits) -> APIRouter:
    """Return the routes below `/api`, which all need the key."""
    # HTTPBearer only documents the key here; `BearerKey` guards the routes.
    router = _router(limits, 401, dependencies=[Depends(HTTPBearer(scheme_name="key", auto_error=False))])
    session = "/v1/chat/{session_id}"
    full = () if limits.sessions is None else (403,)
    busy = () if limits.running_turns is None else (429,)
    stream = _content("text/event-stream", _EVENT)
    _add(router, "GET", "/v1/chat", list_sessions)
    _add(router, "POST", "/v1/chat", create_session, 413, *full, status_code=201)
    _add(router, "GET", session, retrieve_session, 404, response_model=SessionBody)
    _add(router, "DELETE", session, delete_session, 404, status_code=204)
    _add(router, "GET", f"{session}/summary", session_summary, 404)
    if behaviour.title_route == "present":
        _add(router, "POST", f"{session}/title", set_title, 404, 413)
    elif behaviour.title_status == 405:
        router.routes.append(Route(f"{session}/title", _OtherMethods([])))
    _add(
        router,
        "POST",
        f"{session}/messages/stream",
        send_message,
        *(404, 409, 413, 503, *busy),
        success=stream,
        response_class=StreamingResponse,
    )
    _add(router, "GET", "/v1/indexes", _list_indexes)
    _add(router, "GET", "/v1/beta/attachments", list_attachments, 404, 429)
    _add(router, "GET", "/v1/beta/attachments/{attachment_name:path}", attachment_link, 404)
    return _refusing_other_methods(router)


def image_routes(limits: Limits) -> APIRouter:
    """Return the routes below `/attachments`, whose links carry a signature in place of the key."""
    router = _router(limits)
    image = _content("image/*", {"type": "string", "format": "binary"})
    path = "/{source_id}/{attachment_name:path}"
    _add(router, "GET", path, attachment, 403, 404, 429, success=image, response_class=Response)
    return _refusing_other_methods(router)


def open_routes() -> APIRouter:
    """Return the routes that are open to everyone."""
    router = _router(Limits())
    _add(router, "GET", "/health", _health)
    return _refusing_other_methods(router)


def document(routers: Mapping[str, APIRouter]) -> dict[str, Any]:
    """Return the OpenAPI document of routers, each by the path that it is mounted at."""
    documented = APIRouter()
    for prefix, router in routers.items():
        documented.include_router(router, prefix=prefix)
    return get_openapi(
        title="chat-sessions local server",
        version="1",
        description="The LlamaCloud Chat API, over indexes on this machine.",
        routes=documented.routes,
    )


async def _list_indexes(chat: Opened, _scope: Annotated[ScopeQuery, Query()]) -> IndexList:
    """Return all indexes of this server."""
    return IndexList(
        items=[
            IndexInfo(
                index_id=index_id,
                name=index.name,
                documents=index.count,
                left_out=[LeftOut(file_name=name, reason=reason) for name, reason in index.left_out.items()],
                notes=list(index.notes),
            )
            for index_id, index in chat.library.indexes.items()
        ]
    )


async def _health() -> Health:
    """Report that the server is up."""
    return Health()


class _OtherMethods:
    """Answers 405 with all methods of a path. Starlette would name only those of the path's first route."""

    def __init__(self, allowed: list[str]) -> None:
        self._allowed = allowed

    async def __call__(self, *_request: object) -> None:
        raise HTTPException(405, headers={"Allow": ", ".join(self._allowed)})


def _router(limits: Limits, *refusals: int, dependencies: list[Any] | None = None) -> APIRouter:
    paced = () if limits.requests_per_second is None else (429,)
    return APIRouter(
        route_class=JsonRoute,
        dependencies=dependencies,
        responses=_responses(*refusals, *paced),
        generate_unique_id_function=lambda route: route.name.lstrip("_"),
        # A path with a slash at its end is another path, as it is in the service.
        redirect_slashes=False,
    )


def _add(
    router: APIRouter,
    method: str,
    path: str,
    endpoint: Callable[..., Awaitable[Any]],
    *refusals: int,
    success: dict[int | str, dict[str, Any]] | None = None,
    **options: Any,
) -> None:
    responses = _responses(*refusals) | (success or {})
    router.add_api_route(path, endpoint, methods=[method], responses=responses, **options)
    if method == "GET":
        router.add_api_route(path, endpoint, methods=["HEAD"], include_in_schema=False, **options)


def _responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": Problem, **_REFUSALS[status]} for status in statuses}


def _content(media_type: str, schema: dict[str, Any]) -> dict[int | str, dict[str, Any]]:
    return {200: {"content": {media_type: {"schema": schema}}}}


def _refusing_other_methods(router: APIRouter) -> APIRouter:
    allowed: dict[str, list[str]] = {}
    for route in router.routes:
        if isinstance(route, APIRoute):
            allowed.setdefault(route.path, []).extend(route.methods or ())
    router.routes.extend(Route(path, _OtherMethods(methods)) for path, methods in allowed.items())
    return router
