"""Let one reader at a time, a thread or a task, read the next event for all readers of an answer.

Entering pops the only item of a deque, an atomic operation. A lock would cost more than all other work for a token.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from contextlib import suppress
from typing import Generic, TypeVar

from chat_sessions.core.errors import ConfigurationError

__all__ = ["AsyncGate", "Gate", "async_give_way", "give_way"]

_Left = TypeVar("_Left", threading.Event, asyncio.Event)


class _Entrance(Generic[_Left]):
    """Lets one in at a time."""

    def __init__(self) -> None:
        self._free = deque([None])
        self._waiting: deque[_Left] = deque()

    def enter(self) -> bool:
        """Enter if the gate is free; return whether you are inside."""
        try:
            self._free.pop()
        except IndexError:
            return False
        return True

    def leave(self) -> None:
        """Leave, and wake all waiters."""
        self._free.append(None)
        if self._waiting:
            with suppress(IndexError):
                while True:
                    self._waiting.popleft().set()


class Gate(_Entrance[threading.Event]):
    """Lets one thread in at a time."""

    def check(self) -> None:
        """Do nothing: any thread may enter."""

    def wait(self) -> None:
        """Wait until the reader inside has left."""
        left = threading.Event()
        self._waiting.append(left)
        # If the gate was left before the append, the event is never set.
        if not self._free:
            left.wait()


class AsyncGate(_Entrance[asyncio.Event]):
    """Lets one task in at a time, in the event loop that made it."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.get_running_loop()

    def check(self) -> None:
        """Raise `ConfigurationError` in another event loop."""
        if asyncio.get_running_loop() is not self.loop:
            raise ConfigurationError("this answer belongs to another event loop: read it in the loop that asked")

    async def wait(self) -> None:
        """Wait until the reader inside has left."""
        left = asyncio.Event()
        self._waiting.append(left)
        await left.wait()


async def async_give_way() -> None:
    """Let other tasks run."""
    await asyncio.sleep(0)


def give_way() -> None:
    """Do nothing: other threads run anyway."""
