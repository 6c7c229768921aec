"""How long a turn may take, counted in events.

Bytes do not count: a keep-alive comment every few seconds shows that a proxy is alive, not that the agent is (`httpx`'s
read timeout, and every client built on it alone, is fooled by them).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, fields

from chat_sessions.core.errors import ConfigurationError

__all__ = ["EventClock", "Timeouts"]

# About what a socket's timeout can hold, in seconds: 23 days.
_LONGEST = 2_000_000


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Deadlines in seconds, up to 2,000,000 (23 days); None means no deadline.

    `connect`: until the connection is open. `first_event`: from sending the prompt to the first
    event. `idle`: between two events. `total`: for the whole turn, None because a healthy agent
    may take as long as it likes. `recovery`: how long a broken turn is looked up in its session,
    including the wait for one that still runs; 0 turns the look-up off. `first_event` also limits
    requests other than turns.
    """

    connect: float | None = 5.0
    first_event: float | None = 60.0
    idle: float | None = 60.0
    total: float | None = None
    recovery: float | None = 60.0

    def __post_init__(self) -> None:
        for item in fields(self):
            value: object = getattr(self, item.name)
            if value is None:
                continue
            if not isinstance(value, int | float) or not value >= 0:
                raise ConfigurationError(f"timeouts.{item.name} must be seconds, 0 or more, or None; got {value!r}")
            if value > _LONGEST:
                raise ConfigurationError(
                    f"timeouts.{item.name} must be {_LONGEST:,} s at most, or None for no deadline; got {value!r}"
                )
            if value == 0 and item.name != "recovery":
                raise ConfigurationError(f"timeouts.{item.name} must be more than 0")


class EventClock:
    """The deadlines of one running stream.

    Only waiting counts, apart from `total`: a reader who takes a minute over an event has not
    been kept waiting by the service. So the clock runs from `start` to `pause`.
    """

    def __init__(self, timeouts: Timeouts, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._timeouts = timeouts
        self._began = now()
        self._since = self._began
        self._waited = 0.0
        self._has_event = False
        self.is_stopped = False
        self._stop: Callable[[], None] | None = None

    def start(self, *, afresh: bool = False) -> None:
        """Begin the wait for an event, or continue it after a `pause`; `afresh` for a request that is sent again."""
        if afresh:
            self._waited = 0.0
        self._since = self._now()

    def pause(self) -> None:
        """The wait is interrupted by the reader."""
        self._waited += self._now() - self._since

    def event_arrived(self) -> None:
        """The wait is over; the next one is for the event after this."""
        self._has_event = True
        self._waited = 0.0
        self._since = self._now()

    @property
    def is_over(self) -> bool:
        """Whether the total deadline had passed when the last event arrived; all that came in time has been read."""
        return self._timeouts.total is not None and self._since - self._began >= self._timeouts.total

    def on_stop(self, stop: Callable[[], None]) -> None:
        """Set what `stop` calls, which ends the wait for the service from any thread."""
        self._stop = stop
        if self.is_stopped:
            stop()

    def stop(self) -> None:
        """End the wait for the service, because the stream is closed while it is still being opened."""
        self.is_stopped = True
        if self._stop is not None:
            self._stop()

    def remaining(self) -> float | None:
        """Seconds until the next deadline, 0 if it has passed, None if there is none."""
        limit = self._timeouts.idle if self._has_event else self._timeouts.first_event
        now = self._now()
        left = None if limit is None else limit - self._waited - now + self._since
        if self._timeouts.total is not None:
            in_all = self._began + self._timeouts.total - now
            left = in_all if left is None else min(left, in_all)
        return None if left is None else max(0.0, left)

    def describe(self) -> str:
        """Describe the next deadline in an error: "no event within 60 s (timeouts.idle)"."""
        timeouts = self._timeouts
        name, limit = ("idle", timeouts.idle) if self._has_event else ("first_event", timeouts.first_event)
        now = self._now()
        if timeouts.total is not None:
            left = self._began + timeouts.total - now
            if limit is None or left < limit - self._waited - now + self._since:
                return f"the turn took longer than {timeouts.total:g} s (timeouts.total)"
        if limit is None:
            return "the service did not answer in time"
        since = "" if self._has_event else " of sending the prompt"
        return f"no event within {limit:g} s{since} (timeouts.{name})"
