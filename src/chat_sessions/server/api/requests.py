"""The JSON body of a request: limited in size, and nothing but JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import HTTPException, Request, Response
from fastapi.routing import APIRoute
from pydantic_core import from_json

__all__ = ["JsonRoute"]


class _JsonRequest(Request):
    _content: bytes | None = None

    async def body(self) -> bytes:
        """Read the body, stripped. Raises `HTTPException` 413 if it is over the limit."""
        if self._content is None:
            limit: int = self.app.state.limits.body_bytes
            too_large = HTTPException(413, f"the body is larger than {limit} bytes")
            announced = self.headers.get("content-length", "")
            if announced.isdecimal() and int(announced) > limit:
                raise too_large
            received = bytearray()
            async for chunk in self.stream():
                received += chunk
                if len(received) > limit:
                    raise too_large
            self._content = bytes(received).strip()
        return self._content

    async def json(self) -> Any:
        """Decode the body. FastAPI answers a `JSONDecodeError` with 422.

        The standard library would let lone surrogates through, and raise other errors for broken UTF-8 and for
        nesting without end.
        """
        try:
            return from_json(await self.body())
        except ValueError as error:
            raise json.JSONDecodeError(str(error), "", 0) from None


class JsonRoute(APIRoute):
    """A route that reads its body with these limits. A body without a `Content-Type` counts as JSON."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler of the route's requests."""
        self.strict_content_type = False
        handle = super().get_route_handler()

        async def handle_json(request: Request) -> Response:
            return await handle(_JsonRequest(request.scope, request.receive))

        return handle_json
