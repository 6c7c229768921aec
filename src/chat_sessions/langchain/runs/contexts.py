"""The contexts that handlers run in, and closing that survives cancellation.

Written by hand for both sides, since threads and tasks differ here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context, copy_context
from functools import partial
from typing import Any, Generic, TypeVar

from langchain_core.rate_limiters import BaseRateLimiter

from chat_sessions.session.waiting import running_loop

__all__ = ["AsyncOpenRun", "OpenRun", "acquire", "async_acquire", "async_finish", "async_start", "finish", "start"]

_Manager = TypeVar("_Manager")


def acquire(limiter: BaseRateLimiter | None) -> None:
    """Wait until the limiter, if there is one, lets the next turn begin."""
    if limiter is not None:
        limiter.acquire(blocking=True)


async def async_acquire(limiter: BaseRateLimiter | None) -> None:
    """Wait until the limiter, if there is one, lets the next turn begin. Raises `ConfigurationError` under trio."""
    running_loop()
    if limiter is not None:
        await limiter.aacquire(blocking=True)


def start(work: Callable[[], _Manager], fail: Callable[[_Manager, BaseException], object]) -> _Manager:  # noqa: ARG001 - for the async twin
    """Start a run and return its manager."""
    return work()


async def async_start(
    work: Callable[[], Coroutine[Any, Any, _Manager]],
    fail: Callable[[_Manager, BaseException], Coroutine[Any, Any, object]],
) -> _Manager:
    """Start a run and return its manager; `fail` ends the run if the task is cancelled meanwhile.

    Some handlers may have been notified of the start by then.
    """
    starting = asyncio.create_task(work())
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError as error:
        await async_finish(partial(_fail, starting, fail, error))
        raise


async def _fail(
    starting: asyncio.Task[_Manager],
    fail: Callable[[_Manager, BaseException], Coroutine[Any, Any, object]],
    error: BaseException,
) -> None:
    await asyncio.wait((starting,))
    if starting.exception() is None:
        await fail(starting.result(), error)


def finish(work: Callable[[], object]) -> None:
    """Do this work."""
    work()


async def async_finish(work: Callable[[], Coroutine[Any, Any, object]], context: Context | None = None) -> None:
    """Do this work to its end, even if the task is cancelled meanwhile; then raise that cancellation.

    A cancelled anyio scope cancels every later wait of its task too. Handlers that were notified of a run's start are
    still notified of its end.
    """
    task = asyncio.create_task(work(), context=context)
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


class OpenRun(Generic[_Manager]):
    """A started run, in a context of its own.

    A tracer may keep the active run in a context variable. In the caller's context, of two concurrent tools one would
    become the parent of the other.
    """

    def __init__(self, start: Callable[[], _Manager]) -> None:
        self._context = copy_context()
        self._manager = self._context.run(start)

    def started(self) -> _Manager:
        """Return the run's manager."""
        return self._manager

    def tell(self, call: Callable[[_Manager], object]) -> None:
        """Call the run's manager, in the run's context."""
        self._context.run(call, self._manager)


class AsyncOpenRun(Generic[_Manager]):
    """The async twin of `OpenRun`. Cancelling the waiting task does not cancel the start."""

    def __init__(self, start: Callable[[], Coroutine[Any, Any, _Manager]]) -> None:
        self._context = copy_context()
        self._starting = asyncio.create_task(start(), context=self._context)

    async def started(self) -> _Manager:
        """Wait for the run's manager."""
        return await asyncio.shield(self._starting)

    async def tell(self, call: Callable[[_Manager], Awaitable[object]]) -> None:
        """Call the run's manager, in the run's context; do nothing if a handler raised at the start.

        As `async_finish`: a run that is being ended ends, even if the task is cancelled.
        """
        await async_finish(partial(self._tell, call), self._context)

    async def _tell(self, call: Callable[[_Manager], Awaitable[object]]) -> None:
        await asyncio.wait((self._starting,))
        if self._starting.exception() is None:
            await call(self._starting.result())
