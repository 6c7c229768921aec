"""The key that every request to the API must carry."""

from __future__ import annotations

import hmac

from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["BearerKey", "can_be_sent"]


class BearerKey:
    """Refuses every request to what it is mounted on that does not carry the key.

    It is asked of this machine too: a page in a browser here can reach the server, by its address or by a name of
    its own that leads to it, but knows no key. No answer has a CORS header, so no page reads one either.
    """

    def __init__(self, app: ASGIApp, api_key: SecretStr) -> None:
        self._app = app
        self._api_key = api_key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on, or answers it with 401."""
        if scope["type"] == "http":
            problem = self._problem(Headers(scope=scope).get("authorization", ""))
            if problem is not None:
                refusal = JSONResponse({"detail": problem}, 401, headers={"WWW-Authenticate": "Bearer"})
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _problem(self, authorization: str) -> str | None:
        scheme, _, key = authorization.partition(" ")
        # Both sides as bytes: compare_digest takes no text beyond ASCII.
        if scheme.lower() == "bearer" and hmac.compare_digest(
            key.strip().encode(), self._api_key.get_secret_value().encode()
        ):
            return None
        return "the API key is missing" if not key else "the API key is not valid for this server"


def can_be_sent(key: SecretStr) -> bool:
    """Whether an HTTP header can carry the key."""
    value = key.get_secret_value()
    return value.isascii() and value.isprintable() and value.strip() == value != ""
