"""What every fault is: what it can do to a request and its answer, and the words for it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from chat_sessions.core.errors import ConfigurationError

__all__ = ["Body", "Break", "Fault", "Fine", "Head", "Hold", "How", "Route", "exhaust", "require"]

Route: TypeAlias = Literal["turn", "history", "create", "other", "any"]
"""Which requests a fault meets: a message, a session read with its events, a new session, any other, or all."""

How: TypeAlias = Literal["clean", "fin", "reset", "half_open"]
"""How a connection ends: "clean", the body ends as if it were whole; "fin", closed within the body;
"reset", a RST; "half_open", nothing comes any more and nothing says so."""

Body: TypeAlias = AsyncIterator[bytes]
Hold: TypeAlias = Callable[[float | None], Awaitable[bool]]
"""Waits that many seconds, for ever if None; gives True as soon as `Faults.release` is called."""


class Break(Exception):
    """Ends the answer here; raised by a fault, done by the proxy. `refused`: requests that then find nobody."""

    def __init__(self, how: How, *, refused: int = 0, sent: bytes = b"") -> None:
        super().__init__(how)
        self.how: How = how
        self.refused = refused
        self.sent = sent


@dataclass(frozen=True, slots=True)
class Head:
    """The head of an answer. `body` is a whole one, given in place of the service's; `lands`: it is asked all the
    same."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    version: Literal["1.1", "1.0"] = "1.1"
    body: bytes | None = None
    lands: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What a fault can do to a request; this one does nothing.

    `on`: the requests that it meets; `times`: how many of them, None for all.
    """

    on: Route = "turn"
    times: int | None = 1

    def __post_init__(self) -> None:
        require(self.on in get_args(Route), self, f"on is one of {', '.join(get_args(Route))}")
        require(self.times is None or self.times >= 1, self, "times is 1 or more, or None for always")

    def reply(self) -> Head | None:
        """The answer given in place of the service's, None to ask the service. May raise `Break`."""
        return None

    def head(self, head: Head) -> Head:
        """The service's head, changed."""
        return head

    async def begin(self, head: bytes, body: Body) -> None:  # noqa: ARG002 (for the faults that need them)
        """Called before the head is sent, and with the body that would follow it. May raise `Break`."""
        return

    def body(self, body: Body, hold: Hold) -> Body:  # noqa: ARG002
        """The body, changed. May raise `Break` where the answer ends."""
        return body


@dataclass(frozen=True, slots=True)
class Fine(Fault):
    """No fault: the requests pass. To let the first go well and break the second."""


async def exhaust(body: Body) -> None:
    """Read to the end, and keep nothing."""
    async for _ in body:
        pass


def require(is_so: bool, fault: Fault, rule: str) -> None:
    """Raise `ConfigurationError` with the fault and the rule it breaks, unless it keeps to it."""
    if not is_so:
        raise ConfigurationError(f"{fault!r}: {rule}")
