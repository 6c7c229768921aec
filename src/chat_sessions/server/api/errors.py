"""What a client is told of an error: the API's own form, and nothing of the server's inside."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from chat_sessions.server.api.wire import InvalidRequest
from chat_sessions.server.store.store import StoreFailed, UnknownSession

__all__ = ["REFUSALS"]

_log = logging.getLogger(__name__)


async def _on_http_error(_request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):  # pragma: no cover (Starlette's types do not say which error comes)
        raise error
    return JSONResponse({"detail": error.detail}, error.status_code, headers=error.headers)


async def _on_invalid_request(_request: Request, error: Exception) -> Response:
    if not isinstance(error, InvalidRequest):  # pragma: no cover
        raise error
    return JSONResponse({"detail": error.problems}, 422)


async def _on_unknown_session(_request: Request, error: Exception) -> Response:
    return JSONResponse({"detail": f"session {error} not found"}, 404)


async def _on_store_failed(request: Request, error: Exception) -> Response:
    _log.error("%s %s failed: the store does not work: %s", request.method, request.url.path, error)
    return JSONResponse({"detail": "the server's store does not work at the moment"}, 503)


async def _on_failure(request: Request, error: Exception) -> Response:
    _log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return JSONResponse({"detail": "internal server error"}, 500)


REFUSALS: dict[Any, Callable[[Request, Exception], Awaitable[Response]]] = {
    HTTPException: _on_http_error,
    InvalidRequest: _on_invalid_request,
    UnknownSession: _on_unknown_session,
    StoreFailed: _on_store_failed,
    Exception: _on_failure,
}
"""What Starlette calls for each kind of error."""
