"""How a thread and a task wait."""

from __future__ import annotations

import asyncio
import time

__all__ = ["async_sleep", "sleep"]


async def async_sleep(seconds: float) -> None:
    """Let other tasks run for this long."""
    await asyncio.sleep(seconds)


def sleep(seconds: float) -> None:
    """Let other threads run for this long."""
    time.sleep(seconds)
