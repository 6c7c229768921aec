"""The key that every request to the API must carry."""

from __future__ import annotations

import hmac

from fastapi import HTTPException
from fastapi.exceptions import WebSocketException
from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["BearerKey", "can_be_sent"]


class BearerKey:
    """Guards an application: refuses every request without the key, whatever its path.

    Local requests need it too: a page in a browser on this machine can reach the server, by its address or under a host
    name that resolves to it, but does not know the key. No answer has a CORS header, so pages cannot read answers.
    """

    def __init__(self, app: ASGIApp, api_key: SecretStr) -> None:
        self._app = app
        self._api_key = api_key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on. Raises `HTTPException` 401 if it lacks the key."""
        problem = self._problem(Headers(scope=scope).get("authorization", ""))
        if problem is not None:
            if scope["type"] == "websocket":
                raise WebSocketException(1008, problem)
            raise HTTPException(401, problem, {"WWW-Authenticate": "Bearer"})
        await self._app(scope, receive, send)

    def _problem(self, authorization: str) -> str | None:
        scheme, _, key = authorization.partition(" ")
        # As bytes, because `compare_digest` refuses text beyond ASCII.
        if scheme.lower() == "bearer" and hmac.compare_digest(
            key.strip().encode(), self._api_key.get_secret_value().encode()
        ):
            return None
        return "the API key is missing" if not key else "the API key is not valid for this server"


def can_be_sent(key: SecretStr) -> bool:
    """Return whether an HTTP header can carry the key."""
    value = key.get_secret_value()
    return value.isascii() and value.isprintable() and value.strip() == value != ""
