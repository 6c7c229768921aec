"""The changes of one open page as server-sent events, no faster than the eye can follow."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

from chat_sessions.web.live.picture import Picture, event_of
from chat_sessions.web.live.session import LiveSession

__all__ = ["Pace", "feed"]

# Seconds; also the time to notice that a page was closed, or that a look-up began while no event came.
_QUIET = 0.5
_COMMENT_EVERY = 30


class Pace:
    """Limits updates per second; the first after a pause is not delayed."""

    def __init__(
        self,
        per_second: float = 15.0,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._interval = 1 / per_second
        self._clock = clock
        self._sleep = sleep
        self._last = float("-inf")

    async def wait(self) -> None:
        """Wait until the next update may be sent."""
        rest = self._last + self._interval - self._clock()
        if rest > 0:
            await self._sleep(rest)
        self._last = self._clock()


async def feed(session: LiveSession, picture: Picture, pace: Pace) -> AsyncIterator[str]:
    """Yield the changes of the page until the session is closed. Changes between two updates are sent as one."""
    quiet = 0
    yield ": open\n\n"
    with session.page() as changed:
        while not session.is_closing:
            changed.clear()
            if html := picture.changes():
                quiet = 0
                yield event_of(html)
                await pace.wait()
                continue
            try:
                await asyncio.wait_for(changed.wait(), _QUIET)
            except TimeoutError:
                quiet += 1
                if quiet % _COMMENT_EVERY == 0:
                    yield ": still here\n\n"
        if html := picture.changes():
            yield event_of(html)
