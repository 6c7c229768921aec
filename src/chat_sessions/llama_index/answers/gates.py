"""Who reads on for all readers of an answer: one at a time, in a thread or in a task."""

from __future__ import annotations

import asyncio
import threading

from chat_sessions.core.errors import ConfigurationError

__all__ = ["AsyncGate", "Gate", "async_give_way", "give_way"]


class AsyncGate:
    """Lets one task in at a time, in the event loop that made it.

    A lock of two fields: asyncio's own takes three coroutines for each token.
    """

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._is_taken = False
        self._is_left: asyncio.Event | None = None

    def enter(self) -> bool:
        """Enter, if nobody is inside; returns whether you are. Raises `ConfigurationError` in another event loop."""
        if asyncio.get_running_loop() is not self.loop:
            raise ConfigurationError("this answer belongs to another event loop: read it in the loop that asked")
        if self._is_taken:
            return False
        self._is_taken = True
        return True

    async def wait(self) -> None:
        """Wait until whoever is inside has left."""
        self._is_left = self._is_left or asyncio.Event()
        await self._is_left.wait()

    def leave(self) -> None:
        """Leave, and wake those who wait."""
        self._is_taken = False
        if self._is_left is not None:
            self._is_left.set()
            self._is_left = None


class Gate:
    """Lets one thread in at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def enter(self) -> bool:
        """Enter, if nobody is inside; returns whether you are."""
        return self._lock.acquire(blocking=False)

    def wait(self) -> None:
        """Wait until whoever is inside has left."""
        with self._lock:
            pass

    def leave(self) -> None:
        """Leave."""
        self._lock.release()


async def async_give_way() -> None:
    """Let other tasks run."""
    await asyncio.sleep(0)


def give_way() -> None:
    """Do nothing: other threads run anyway."""
