"""The answers to errors, in the service's form and without the server's internals."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import HTTPException, Request, Response
from fastapi.exception_handlers import http_exception_handler
from fastapi.exceptions import RequestValidationError
from pydantic_core import to_json

from chat_sessions.server.store.database import StoreFailed
from chat_sessions.server.store.records import UnknownSession
from chat_sessions.server.turns.limits import TooManyTurns
from chat_sessions.server.turns.turns import SessionBusy, ShuttingDown

__all__ = ["HANDLERS"]

_Handler = Callable[[Request, Any], Coroutine[Any, Any, Response]]

_log = logging.getLogger(__name__)

# A guess: when a running turn will end is unknown.
_RETRY_AFTER = {"Retry-After": "1"}


def _problem(problem: dict[str, Any]) -> dict[str, Any]:
    reason = f": {problem['ctx']['error']}" if problem["type"] == "json_invalid" else ""
    sent = problem.get("input")
    return {
        "type": problem["type"],
        "loc": problem["loc"],
        "msg": problem["msg"] + reason,
        # A body that is not JSON arrives as bytes.
        "input": sent.decode("utf-8", "replace") if isinstance(sent, bytes) else sent,
    }


async def _on_invalid_request(_request: Request, error: RequestValidationError) -> Response:
    # FastAPI's own handler fails for NaN and the infinities, which a body may hold and JSON cannot.
    body = to_json({"detail": [_problem(problem) for problem in error.errors()]}, inf_nan_mode="strings")
    return Response(body, 422, media_type="application/json")


async def _on_store_failed(request: Request, error: StoreFailed) -> Response:
    _log.error("%s %s failed: the store does not work: %s", request.method, request.url.path, error)
    refusal = HTTPException(503, "the server's store does not work at the moment")
    return await http_exception_handler(request, refusal)


async def _on_failure(request: Request, error: Exception) -> Response:
    _log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return await http_exception_handler(request, HTTPException(500, "internal server error"))


def _refusal(status: int, headers: dict[str, str] | None = None) -> _Handler:
    """Return the handler of errors whose own text is the answer."""

    async def handle(request: Request, error: Exception) -> Response:
        return await http_exception_handler(request, HTTPException(status, str(error), headers))

    return handle


HANDLERS: dict[int | type[Exception], _Handler] = {
    RequestValidationError: _on_invalid_request,
    UnknownSession: _refusal(404),
    SessionBusy: _refusal(409),
    TooManyTurns: _refusal(429, _RETRY_AFTER),
    ShuttingDown: _refusal(503),
    StoreFailed: _on_store_failed,
    Exception: _on_failure,
}
"""What FastAPI calls for each kind of error."""
