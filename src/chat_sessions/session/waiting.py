"""How a thread and a task wait."""

from __future__ import annotations

import asyncio
import time

from chat_sessions.core.errors import ConfigurationError

__all__ = ["async_sleep", "running_loop", "sleep"]


def running_loop() -> asyncio.AbstractEventLoop:
    """Return the event loop of the calling task. Raises `ConfigurationError` under trio, or without a loop."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise ConfigurationError(
            "an async client works under asyncio only: call it within asyncio.run(), or use the sync client, "
            "with trio in a thread (trio.to_thread.run_sync)"
        ) from None


async def async_sleep(seconds: float) -> None:
    """Let other tasks run for this long."""
    await asyncio.sleep(seconds)


def sleep(seconds: float) -> None:
    """Let other threads run for this long."""
    time.sleep(seconds)
