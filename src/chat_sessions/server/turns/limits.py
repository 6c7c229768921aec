"""Limits on what a request, a turn, a client and the store may use."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, fields

from chat_sessions.core.errors import ConfigurationError
from chat_sessions.core.events import Event, Stop
from chat_sessions.core.models import Usage
from chat_sessions.server.turns.agent import Agent, AgentTurn

__all__ = ["Limits", "TimedAgent", "TooManyTurns", "TurnSize", "TurnSlots"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a server refuses, in numbers above 0. None means no limit.

    - `body_bytes`: the size of a request's body. A larger one is refused with 413.
    - `turn_events`, `turn_bytes`, `turn_seconds`: how many events an agent may give in one turn, how many bytes of
      JSON they may be, and how long it may take. Beyond that the turn ends with an error stop that says so, and
      keeps what came before. Whole texts that the server makes from deltas do not count.
    - `running_turns`: turns at the same time. A further message is refused with 429 and `Retry-After`: a 429 says
      that the prompt was not accepted, which a 503 does not.
    - `sessions`: sessions in the store. Creating more is refused with 403.
    - `requests_per_second`: requests to the API from one client address, over any second. A faster client is refused
      with 429 and `Retry-After`. Requests without a key count too; `/health` and `/openapi.json` do not.

    `running_turns` and `requests_per_second` are counted per process, so several workers allow several times as
    much. Prompts have the API's own limit of 1,000 characters.

    Raises `ConfigurationError` for values that are not numbers above 0.
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
            # Annotations are strings in this package.
            is_count = "float" not in str(field.type)
            if isinstance(value, bool) or not isinstance(value, int if is_count else int | float):
                raise ConfigurationError(
                    f"Limits({field.name}={value!r}): use a {'whole ' if is_count else ''}number above 0"
                    + ("" if field.name == "body_bytes" else ", or None for no limit")
                )
            if not 0 < value < math.inf:
                raise ConfigurationError(f"Limits({field.name}={value!r}): use a number above 0")


class TimedAgent:
    """An agent whose turns end when they exceed a time limit."""

    def __init__(self, agent: Agent, seconds: float) -> None:
        self._agent = agent
        self._seconds = seconds

    async def run(self, turn: AgentTurn) -> AsyncIterator[Event]:
        """Yield the agent's events until the time is up, then an error stop that says so."""
        end = asyncio.get_running_loop().time() + self._seconds
        answer = self._agent.run(turn)
        iterator = aiter(answer)
        try:
            while True:
                # Only around the agent's own steps. The store's time is not the agent's, and a timeout within a `yield`
                # would cancel the code that stores the event.
                deadline = asyncio.timeout_at(end)
                try:
                    async with deadline:
                        event = await anext(iterator)
                except StopAsyncIteration:
                    return
                except TimeoutError:
                    if not deadline.expired():
                        raise
                    yield _cut(f"{self._seconds:g} seconds")
                    return
                yield event
        finally:
            if isinstance(answer, AsyncGenerator):
                await answer.aclose()


class TurnSize:
    """Counts the events and bytes of one turn."""

    def __init__(self, limits: Limits) -> None:
        self._events_left = math.inf if limits.turn_events is None else limits.turn_events
        self._bytes_left = math.inf if limits.turn_bytes is None else limits.turn_bytes
        self._limits = limits

    def add(self, body: str) -> Stop | None:
        """Count an event by its JSON. Returns the error stop to give in its place if it exceeds a limit."""
        self._events_left -= 1
        self._bytes_left -= len(body.encode())
        if self._events_left < 0:
            return _cut(f"{self._limits.turn_events:,} events")
        if self._bytes_left < 0:
            return _cut(f"{self._limits.turn_bytes:,} bytes")
        return None


def _cut(limit: str) -> Stop:
    error = f"the answer was cut off: it exceeds this server's limit of {limit} in a turn; ask for less at once"
    return Stop(usage=Usage(), is_error=True, error=error)


class TooManyTurns(Exception):
    """The limit of running turns is reached."""


class TurnSlots:
    """Counts the turns that run at the same time."""

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._taken = 0

    def take(self) -> None:
        """Take a slot. Raises `TooManyTurns` if none is free."""
        if self._limit is not None and self._taken >= self._limit:
            raise TooManyTurns(
                f"this server's limit of {self._limit:,} turns at a time is reached; the message was not accepted, "
                "send it again when one of them has ended"
            )
        self._taken += 1

    def free(self, _turn: object = None) -> None:
        """Free a slot that was taken."""
        self._taken -= 1
