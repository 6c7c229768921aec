"""How a thread and a task wait, and which of them a call comes from.

A flow is a context variable and not a thread's id: a thread pool that copies the context of each job, as
`asyncio.to_thread` and AnyIO do, gives each job a flow of its own. What began it is its parent, which may wait for
several such jobs at once.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
import weakref
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import TypeVar

from chat_sessions.core.errors import ConfigurationError
from chat_sessions.session.wait_chain import is_waited_for, waiting_task

__all__ = [
    "Flow",
    "async_sleep",
    "blocked_loop",
    "current_flow",
    "current_task",
    "growing_waits",
    "in_context",
    "is_running",
    "known_flow",
    "renew_at_fork",
    "running_loop",
    "sleep",
    "waiting_flow",
]

_Value = TypeVar("_Value")


def running_loop() -> asyncio.AbstractEventLoop:
    """Return the event loop of the calling task. Raises `ConfigurationError` under trio, or without a loop."""
    if (loop := blocked_loop()) is None:
        raise ConfigurationError(
            "an async client works under asyncio only: call it within asyncio.run(), or use the sync client, "
            "with trio in a thread (trio.to_thread.run_sync)"
        )
    return loop


def blocked_loop() -> asyncio.AbstractEventLoop | None:
    """Return the event loop that cannot run while this sync call waits; None outside of one."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def is_running(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether this is called from within the event loop. A coroutine that is dropped may end outside of any."""
    return blocked_loop() is loop


async def async_sleep(seconds: float) -> None:
    """Sleep for this many seconds; other tasks run."""
    await asyncio.sleep(seconds)


def sleep(seconds: float) -> None:
    """Sleep for this many seconds; other threads run."""
    time.sleep(seconds)


def growing_waits(first: float = 0.25, longest: float = 3.0) -> Iterator[float]:
    """Yield seconds to wait, without end, each longer than the one before it, up to `longest`."""
    wait = first
    while True:
        yield wait
        wait = min(longest, wait * 1.6)


def renew_at_fork(holder: object, name: str) -> None:
    """Replace this lock attribute in a forked child, where the inherited lock might never be released.

    The lock is a reentrant one: a signal handler or a finaliser may run while its own thread holds it.
    """
    _renewed[holder] = name


_renewed: weakref.WeakKeyDictionary[object, str] = weakref.WeakKeyDictionary()


def _renew() -> None:
    for holder, name in list(_renewed.items()):
        setattr(holder, name, threading.RLock())


if hasattr(os, "register_at_fork"):  # pragma: no branch - not on Windows
    os.register_at_fork(after_in_child=_renew)


class Flow:
    """One line of execution. It is kept by the contexts that belong to it: once they are gone, so is the flow."""

    __slots__ = ("__weakref__", "_task", "loop", "parent", "thread")

    def __init__(self, task: asyncio.Task[object] | None, parent: Flow | None) -> None:
        self._task = None if task is None else weakref.ref(task)
        self.loop = None if task is None else task.get_loop()
        # Of a task that another thread runs, the thread is not known.
        self.thread = threading.get_ident() if self.loop is blocked_loop() or task is None else 0
        # Skip parents that have ended, so that a chain of tasks, each started by the last, does not grow.
        while parent is not None and not parent.is_alive:
            parent = parent.parent
        self.parent: Flow | None = parent

    @property
    def is_alive(self) -> bool:
        """Whether it can still run: its task is not done. A thread's flow lives as long as its context."""
        if self._task is None:
            return True
        task = self._task()
        return task is not None and not task.done()

    def is_of(self, task: asyncio.Task[object] | None) -> bool:
        """Whether code that runs in this task (None: in no task) with the flow in its context belongs to it."""
        if task is not None:
            return self._task is not None and self._task() is task
        # A callback of the event loop has the context of the task that asked for it, and runs in its thread.
        return self.thread == threading.get_ident()

    def is_running(self) -> bool:
        """Whether the calling code, which has the flow in its context, is part of it.

        Code that the flow started has the same context. Called for each event, so it must be cheap.
        """
        if self.thread != threading.get_ident():
            return False
        return self._task is None or asyncio.current_task(self.loop) is self._task()

    @property
    def is_this_thread(self) -> bool:
        """Whether it is the calling thread's, and not a task's."""
        return self._task is None and self.thread == threading.get_ident()

    def is_current(self) -> bool:
        """Whether the calling code is part of it."""
        task = current_task()
        return self is current_flow() or (task is not None and self._task is not None and self._task() is task)

    def descends_from(self, other: Flow) -> bool:
        """Whether the other flow, or one that it began, began this one."""
        flow = self.parent
        while flow is not None:
            if flow is other:
                return True
            flow = flow.parent
        return False

    def waits_for_caller(self) -> bool:
        """Whether it now waits for the calling code to end. See `wait_chain`."""
        return is_waited_for(current_task(), None if self._task is None else self._task(), self.thread)


@contextmanager
def in_context(variable: ContextVar[_Value], value: _Value) -> Generator[None]:
    """Within this block, the variable has this value in the calling context."""
    token = variable.set(value)
    try:
        yield
    finally:
        # A coroutine that is dropped with its event loop ends in another context.
        with suppress(ValueError):
            variable.reset(token)


_current: ContextVar[Flow | None] = ContextVar("chat_sessions_flow", default=None)


known_flow: Callable[[], Flow | None] = _current.get
"""The flow that the calling context was last known to belong to."""


def current_flow() -> Flow:
    """Return the flow that this call belongs to."""
    flow = _current.get()
    task = current_task()
    if flow is None or not flow.is_of(task):
        flow = Flow(task, flow)
        _current.set(flow)
    return flow


def waiting_flow() -> Flow | None:
    """Return the flow of the task that waits for the calling code to end; None if none is found."""
    task = waiting_task(current_task())
    return None if task is None else Flow(task, None)


def current_task() -> asyncio.Task[object] | None:
    """Return the running task; None outside of an event loop."""
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None
