"""Time that passes only when somebody waits: a minute's deadline takes no time to test, and always the same."""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Generator
from contextlib import contextmanager
from unittest import mock

from chat_sessions.session.deadlines import EventClock
from chat_sessions.session.recovery import Recovery
from chat_sessions.session.stored.busy import Busy

__all__ = ["Hang", "VirtualClock", "VirtualLoop", "virtual_time"]


class Hang(BaseException):
    """Somebody waits for what never comes, without a deadline. No `Exception`, so that nobody takes it for one."""


class VirtualClock:
    """What `time.monotonic` and `time.sleep` are in a simulated world. In seconds."""

    def __init__(self) -> None:
        self.now = 1000.0

    def read(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        if seconds == float("inf"):
            raise Hang
        self.now += max(0.0, seconds)


class _Jumping(selectors.SelectSelector):
    """Waits for no file: where the loop would sleep, the clock is moved on."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        found = super().select(0)
        if not found:
            self._clock.advance(float("inf") if timeout is None else timeout)
        return found


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop on a virtual clock."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(_Jumping(clock))
        self._virtual = clock

    def time(self) -> float:
        return self._virtual.now


@contextmanager
def virtual_time(clock: VirtualClock) -> Generator[None]:
    """Within this block the package, its libraries and `VirtualLoop` live by this clock. One thread only."""
    defaults = EventClock.__init__.__defaults__
    keywords = {made: made.__init__.__kwdefaults__ for made in (Recovery, Busy)}
    with mock.patch.object(time, "monotonic", clock.read), mock.patch.object(time, "sleep", clock.advance):
        # These took hold of the real clock when they were defined.
        EventClock.__init__.__defaults__ = (clock.read,)
        for made, known in keywords.items():
            made.__init__.__kwdefaults__ = {**(known or {}), "now": clock.read}
        try:
            yield
        finally:
            EventClock.__init__.__defaults__ = defaults
            for made, known in keywords.items():
                made.__init__.__kwdefaults__ = known
