"""How a thread and a task wait, and which of them a call comes from.

What a task hands to a worker thread with its context (`asyncio.to_thread`, a framework's sync callbacks)
belongs to the task: it waits for the result. So a flow is a context variable and not a thread's id. A thread
pool that copies the context of each job, as AnyIO's does for sync endpoints, gives each job a flow of its own.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import sys
import threading
import time
import weakref
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import partial
from types import BuiltinMethodType, CellType, FrameType, FunctionType
from typing import TypeVar, cast

from chat_sessions.core.errors import ConfigurationError

__all__ = [
    "Flow",
    "async_sleep",
    "current_flow",
    "current_task",
    "growing_waits",
    "in_context",
    "is_running",
    "known_flow",
    "running_loop",
    "sleep",
]

_Value = TypeVar("_Value")
_Job = concurrent.futures.Future[object]


def running_loop() -> asyncio.AbstractEventLoop:
    """Return the event loop of the calling task. Raises `ConfigurationError` under trio, or without a loop."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise ConfigurationError(
            "an async client works under asyncio only: call it within asyncio.run(), or use the sync client, "
            "with trio in a thread (trio.to_thread.run_sync)"
        ) from None


def is_running(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether this is called from within the event loop. A coroutine that is dropped may end outside of any."""
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


async def async_sleep(seconds: float) -> None:
    """Let other tasks run for this long."""
    await asyncio.sleep(seconds)


def sleep(seconds: float) -> None:
    """Let other threads run for this long."""
    time.sleep(seconds)


def growing_waits(first: float = 0.25, longest: float = 3.0) -> Iterator[float]:
    """Yield seconds to wait, without end, each longer than the one before it, up to `longest`."""
    wait = first
    while True:
        yield wait
        wait = min(longest, wait * 1.6)


class Flow:
    """One line of execution. It is kept by the contexts that belong to it: once they are gone, so is the flow."""

    __slots__ = ("__weakref__", "_task", "loop", "parent", "thread")

    def __init__(self, task: asyncio.Task[object] | None, parent: Flow | None) -> None:
        self._task = None if task is None else weakref.ref(task)
        self.loop = None if task is None else task.get_loop()
        self.thread = threading.get_ident()
        # A flow that has ended starts nothing more: a chain of tasks, each started by the last, must not grow.
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
        """Whether code in this task, or outside of any, that has the flow in its context is part of it."""
        if self._task is None:
            return task is None and self.is_this_thread
        return task is None or self._task() is task

    @property
    def is_this_thread(self) -> bool:
        """Whether it is the calling thread's, and not a task's."""
        return self._task is None and self.thread == threading.get_ident()

    def descends_from(self, other: Flow) -> bool:
        """Whether the other flow, or one that it began, began this one."""
        flow = self.parent
        while flow is not None:
            if flow is other:
                return True
            flow = flow.parent
        return False

    def waits_for_this_thread(self) -> bool:
        """Whether it now waits for the calling thread to end, or for the executor's job that runs in it.

        A new thread and `Executor.submit` begin without the context of the code that waits for them, so this looks at
        what that code does: which thread or future its stack waits for, and whom the job's future will wake.
        """
        frames = sys._current_frames()  # pyright: ignore[reportPrivateUsage] - documented, in spite of its name
        this_thread = threading.get_ident()
        try:
            if self.thread != this_thread and _is_joined(self.thread, this_thread, frames):
                return True
            job, task = _job(frames[this_thread]), None if self._task is None else self._task()
            return job is not None and task is not None and _is_woken_by(task, job)
        finally:
            # This frame is one of them: a cycle that would keep what all threads have at hand.
            frames.clear()


def _stack(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _job(frame: FrameType) -> _Job | None:
    """The future of the executor's job that this stack runs.

    Reads `self.future` of `concurrent.futures.thread._WorkItem.run`, as it is in Python 3.11 to 3.14. Should it have
    another name, a turn that waits for itself through an executor waits until the open one counts as left.
    """
    for one in _stack(frame):
        if one.f_globals.get("__name__") == "concurrent.futures.thread" and one.f_code.co_name == "run":
            job = one.f_locals.get("self")
            return None if job is None else job.future
    return None


def _is_joined(waiting: int, awaited: int, frames: dict[int, FrameType]) -> bool:
    """Whether the first thread waits for the second, or for one that does."""
    jobs = {job: thread for thread, frame in frames.items() if (job := _job(frame)) is not None}
    seen: set[int] = set()
    threads = [waiting]
    while threads:
        thread = threads.pop()
        if thread == awaited:
            return True
        if thread in seen or thread not in frames:
            continue
        seen.add(thread)
        for frame in _stack(frames[thread]):
            if frame.f_code is _JOIN:
                threads.append(frame.f_locals["self"].ident)
            elif frame.f_code in _RESULTS:
                threads.append(jobs.get(frame.f_locals["self"], 0))
            elif frame.f_code in _WAITS:
                threads += [jobs.get(future, 0) for future in tuple(frame.f_locals["fs"])]
    return False


_JOIN = threading.Thread.join.__code__
_RESULTS = {method.__code__ for method in (_Job.result, _Job.exception)}
_WAITS = {concurrent.futures.wait.__code__, concurrent.futures.as_completed.__code__}


def _is_woken_by(task: asyncio.Task[object], job: _Job) -> bool:
    """Whether the job's end lets the task go on: by itself, or through `gather`, `wait`, `shield` and the like.

    Follows the callbacks of futures. Those of asyncio have them in C, where only the garbage collector can tell.
    """
    seen: set[int] = set()
    ahead: list[object] = [job]
    while ahead:
        one = ahead.pop()
        if one is task:
            return True
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, CellType):
            # What a callback closes over may be the siblings of what it wakes.
            ahead += [held for held in gc.get_referents(one) if isinstance(held, asyncio.Future)]
        elif isinstance(one, concurrent.futures.Future):
            for callbacks in vars(one).values():
                ahead += callbacks if isinstance(callbacks, list) else []
        elif isinstance(one, list):
            # Of pairs with a context. The children of `gather` are a list, too.
            ahead += [pair for pair in cast("list[object]", one) if isinstance(pair, tuple)]
        elif isinstance(one, _CALLBACKS):
            ahead += gc.get_referents(one)
    return False


_CALLBACKS = (asyncio.Future, tuple, FunctionType, BuiltinMethodType, partial)


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


def current_task() -> asyncio.Task[object] | None:
    """Return the running task; None outside of an event loop."""
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None
