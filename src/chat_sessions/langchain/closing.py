"""Closing what was opened, also where the closing itself is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

__all__ = ["to_the_end"]


async def to_the_end(work: Coroutine[object, object, None]) -> None:
    """Await it even if the task is cancelled meanwhile; such a cancellation is raised when it is done.

    A cancelled scope of anyio cancels each wait of its task anew, and a tracer's handlers are waited for:
    without this they would be told of the start of a run and not of its end.
    """
    task = asyncio.create_task(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is None:
        task.result()
    elif task.cancelled() or task.exception() is None:
        raise cancelled
    else:
        raise cancelled from task.exception()
