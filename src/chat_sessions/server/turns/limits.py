"""How much one server gives: what a request, a turn, a client and the store may take."""

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass, fields

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from chat_sessions.core.errors import ConfigurationError
from chat_sessions.core.events import Event, Stop
from chat_sessions.core.models import Usage
from chat_sessions.server.turns.agent import Agent, AgentTurn

__all__ = ["Limits", "RequestPace", "RequestRate", "TimedAgent", "TurnSize", "TurnSlots"]

# Clients whose pace is remembered; beyond them the one that asked longest ago is forgotten.
_KNOWN_CLIENTS = 10_000
# How soon to ask again for a turn: nobody knows when one of those that run will end.
_RETRY_SECONDS = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a server refuses, in numbers above 0. None means no limit.

    - `body_bytes`: a request's body. Beyond it: 413.
    - `turn_events`, `turn_bytes`, `turn_seconds`: what an agent may give in one turn, in events and in
      bytes of their JSON, and for how long. Beyond it the turn ends with an error stop that says so; what
      came before stays. The whole texts that the server makes of deltas are not counted.
    - `running_turns`: turns at once. Beyond it: 429 with `Retry-After`, since a 429 says that the
      prompt was not taken, which a 503 does not.
    - `sessions`: sessions in the store. Beyond it a create is a 403.
    - `requests_per_second`: requests of one client's address to the API, over any second. Beyond it: 429
      with `Retry-After`. Requests without a key count too; `/health` and `/openapi.json` do not.

    `running_turns` and `requests_per_second` are counted in each process by itself, so several workers
    give several times as much. Prompts have the API's own limit, 1,000 characters.

    Raises `ConfigurationError` for what is no number above 0.
    """

    body_bytes: int = 1024 * 1024
    turn_events: int | None = 100_000
    turn_bytes: int | None = 64 * 1024 * 1024
    turn_seconds: float | None = None
    running_turns: int | None = None
    sessions: int | None = None
    requests_per_second: float | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value: object = getattr(self, field.name)
            if value is None and field.name != "body_bytes":
                continue
            # The annotations are text here, as everywhere in this package.
            is_count = "float" not in str(field.type)
            if isinstance(value, bool) or not isinstance(value, int if is_count else int | float):
                raise ConfigurationError(
                    f"Limits({field.name}={value!r}): use a {'whole ' if is_count else ''}number above 0"
                    + ("" if field.name == "body_bytes" else ", or None for no limit")
                )
            if not 0 < value < math.inf:
                raise ConfigurationError(f"Limits({field.name}={value!r}): use a number above 0")


class TimedAgent:
    """An agent whose turns end when they take longer than they may."""

    def __init__(self, agent: Agent, seconds: float) -> None:
        self._agent = agent
        self._seconds = seconds

    async def run(self, turn: AgentTurn) -> AsyncIterator[Event]:
        """The agent's events until its time is over, and then an error stop that says so."""
        end = asyncio.get_running_loop().time() + self._seconds
        answer = self._agent.run(turn)
        iterator = aiter(answer)
        try:
            while True:
                # Around the agent's own steps alone: the time that the store takes is not the agent's, and a
                # timeout that fell into a `yield` would cancel whoever stores the event.
                deadline = asyncio.timeout_at(end)
                try:
                    async with deadline:
                        event = await anext(iterator)
                except StopAsyncIteration:
                    return
                except TimeoutError:
                    if not deadline.expired():
                        raise
                    yield _cut(f"longer than {self._seconds:g} seconds")
                    return
                yield event
        finally:
            if isinstance(answer, AsyncGenerator):
                await answer.aclose()


class TurnSize:
    """Counts what an agent gives in one turn."""

    def __init__(self, limits: Limits) -> None:
        self._events_left = math.inf if limits.turn_events is None else limits.turn_events
        self._bytes_left = math.inf if limits.turn_bytes is None else limits.turn_bytes
        self._limits = limits

    def add(self, body: str) -> Stop | None:
        """Counts an event by its JSON; the error stop to give in its place if it is too much."""
        self._events_left -= 1
        self._bytes_left -= len(body.encode())
        if self._events_left < 0:
            return _cut(f"of more than {self._limits.turn_events:,} events")
        if self._bytes_left < 0:
            return _cut(f"of more than {self._limits.turn_bytes:,} bytes")
        return None


def _cut(how: str) -> Stop:
    return Stop(
        usage=Usage(),
        is_error=True,
        error=f"the answer was cut: the agent gave one {how}, which is this server's limit; ask for less at once",
    )


class TurnSlots:
    """Counts the turns that run at once."""

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._taken = 0

    def take(self) -> Callable[[object], None]:
        """Takes a slot; calling the result, once or more often, gives it back. Its argument is ignored.

        Raises `HTTPException` 429 if all are taken.
        """
        if self._limit is not None and self._taken >= self._limit:
            raise HTTPException(
                429,
                f"this server's limit of turns at once, {self._limit:,}, is reached; the message was not taken, send "
                "it again when one has ended",
                {"Retry-After": str(_RETRY_SECONDS)},
            )
        self._taken += 1
        is_taken = True

        def give_back(_cause: object) -> None:
            nonlocal is_taken
            self._taken -= is_taken
            is_taken = False

        return give_back


class RequestPace:
    """How fast each client sends: a token bucket for each address.

    A client may send what one second allows at once, at least one request. `now` gives seconds of a
    clock that only goes on.
    """

    def __init__(self, per_second: float, now: Callable[[], float] = time.monotonic) -> None:
        self.per_second = per_second
        self._room = max(1.0, per_second)
        self._now = now
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, client: str) -> float:
        """Seconds until the client may send its request; 0 takes it out of what the client has."""
        now = self._now()
        left, at = self._buckets.pop(client, (self._room, now))
        left = min(self._room, left + (now - at) * self.per_second)
        wait = 0.0 if left >= 1 else (1 - left) / self.per_second
        self._buckets[client] = (left if wait else left - 1, now)
        if len(self._buckets) > _KNOWN_CLIENTS:
            self._buckets.popitem(last=False)
        return wait


class RequestRate:
    """Refuses the requests of a client that sends them faster than it may; all that share a pace count together."""

    def __init__(self, app: ASGIApp, pace: RequestPace) -> None:
        self._app = app
        self._pace = pace

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on, or answers it with 429."""
        if scope["type"] == "http":
            address = scope.get("client")
            wait = self._pace.wait(address[0] if address else "")
            if wait > 0:
                seconds = math.ceil(wait)
                detail = (
                    f"more requests than {self._pace.per_second:g} a second, which is this server's limit; send it "
                    f"again in {seconds} s"
                )
                refusal = JSONResponse({"detail": detail}, 429, headers={"Retry-After": str(seconds)})
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)
