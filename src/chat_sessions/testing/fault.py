"""The base of every fault: what it can do to a request and to its answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from chat_sessions.core.errors import ConfigurationError

__all__ = ["Body", "Break", "Fault", "Fine", "Head", "Hold", "How", "Route", "exhaust", "require"]

Route: TypeAlias = Literal["turn", "history", "create", "other", "any"]
"""Which requests a fault affects: a message, reading a session with its events, a new session, any other, or all."""

How: TypeAlias = Literal["clean", "fin", "reset", "half_open"]
"""How a connection ends: "clean", the body ends as if it were complete; "fin", it is closed within the body; "reset", a
RST; "half_open", nothing more arrives and the connection stays open."""

Body: TypeAlias = AsyncIterator[bytes]
Hold: TypeAlias = Callable[[float | None], Awaitable[bool]]
"""Waits that many seconds, or forever if None. Returns True as soon as `Faults.release` is called."""


class Break(Exception):
    """Raised by a fault to end the answer here. `refused` is how many of the next requests are not answered."""

    def __init__(self, how: How, *, refused: int = 0, sent: bytes = b"") -> None:
        super().__init__(how)
        self.how: How = how
        self.refused = refused
        self.sent = sent


@dataclass(frozen=True, slots=True)
class Head:
    """The head of an answer. `body` is a complete body in place of the service's, which gets the request if `lands`."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    version: Literal["1.1", "1.0"] = "1.1"
    body: bytes | None = None
    lands: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """The base of all faults, which does nothing by itself.

    `on` is which requests it affects, `times` how many of them, None for all.
    """

    on: Route = "turn"
    times: int | None = 1

    def __post_init__(self) -> None:
        require(self.on in get_args(Route), self, f"on is one of {', '.join(get_args(Route))}")
        require(self.times is None or self.times >= 1, self, "times is 1 or more, or None for always")

    def reply(self) -> Head | None:
        """Return the answer to send in place of the service's, or None to ask the service. May raise `Break`."""
        return None

    def head(self, head: Head) -> Head:
        """Change the head of the service's answer."""
        return head

    async def begin(self, head: bytes, body: Body) -> None:
        """Act before the head is sent; `body` is what would follow it. May raise `Break`."""
        return

    def body(self, body: Body, hold: Hold) -> Body:
        """Change the body. May raise `Break` where the answer ends."""
        return body


@dataclass(frozen=True, slots=True)
class Fine(Fault):
    """No fault: the requests pass. Put it in front of a fault to break only a later request."""


async def exhaust(body: Body) -> None:
    """Read a body to its end, and drop it."""
    async for _ in body:
        pass


def require(is_so: bool, fault: Fault, rule: str) -> None:
    """Raise `ConfigurationError` with the fault and the rule, unless the fault follows it."""
    if not is_so:
        raise ConfigurationError(f"{fault!r}: {rule}")
