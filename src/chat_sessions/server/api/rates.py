"""Limit how fast a client may send requests."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable

from fastapi import HTTPException
from fastapi.exceptions import WebSocketException
from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["RequestPace", "RequestRate"]

# How many clients are remembered; beyond that, the one idle longest is forgotten.
_KNOWN_CLIENTS = 10_000


class RequestPace:
    """A token bucket for each client address.

    A client may send at once what a second allows, and at least one request. `now` reads a monotonic clock in
    seconds.
    """

    def __init__(self, per_second: float, now: Callable[[], float] = time.monotonic) -> None:
        self.per_second = per_second
        self._room = max(1.0, per_second)
        self._now = now
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, client: str) -> float:
        """Return the seconds until the client may send its request; 0 takes it from the client's bucket."""
        now = self._now()
        left, at = self._buckets.pop(client, (self._room, now))
        left = min(self._room, left + (now - at) * self.per_second)
        wait = 0.0 if left >= 1 else (1 - left) / self.per_second
        self._buckets[client] = (left if wait else left - 1, now)
        if len(self._buckets) > _KNOWN_CLIENTS:
            self._buckets.popitem(last=False)
        return wait


class RequestRate:
    """Guards an application: refuses clients that send too fast. All applications that share a pace count together."""

    def __init__(self, app: ASGIApp, pace: RequestPace) -> None:
        self._app = app
        self._pace = pace

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on. Raises `HTTPException` 429 if the client is too fast."""
        address = scope.get("client")
        wait = self._pace.wait(address[0] if address else "")
        if wait > 0:
            seconds = math.ceil(wait)
            problem = (
                f"this server's limit of {self._pace.per_second:g} requests a second is exceeded; try again in "
                f"{seconds} s"
            )
            if scope["type"] == "websocket":
                # An `HTTPException` would leave it open, which servers log as an error of the application.
                raise WebSocketException(1013, problem)
            raise HTTPException(429, problem, {"Retry-After": str(seconds)})
        await self._app(scope, receive, send)
