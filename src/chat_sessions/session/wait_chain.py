"""Whether a task or a thread waits for the calling code to end, as far as stacks and futures show.

A new thread and `Executor.submit` begin without the context of the code that waits for them, and a task that was begun
with it may run alongside it. So this starts at the calling code and follows whoever its end would release: who joins
its thread, who waits for the future of its job, and which tasks and futures are called back.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from functools import partial
from inspect import CO_OPTIMIZED
from types import BuiltinMethodType, CellType, FrameType, FunctionType, MethodType
from typing import cast

__all__ = ["is_waited_for", "waiting_task"]

_Executed = concurrent.futures.Future[object]
_Job = _Executed | asyncio.Future[object]
# A future or a task, a thread by its id, or what a callback is made of.
_Link = object


def waiting_task(caller: asyncio.Task[object] | None) -> asyncio.Task[object] | None:
    """Return the task that waits for the calling code, which runs in `caller`, to end; None if none is found.

    Outside of a task, the calling code is a job of a thread pool.
    """
    ahead: list[_Link] = [_job(sys._getframe()) if caller is None else caller]  # pyright: ignore[reportPrivateUsage]
    seen: set[int] = set()
    while ahead:
        one = ahead.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        if one is not caller and _is_task(one):
            return cast("asyncio.Task[object]", one)
        ahead += _called_back(one)
    return None


def is_waited_for(caller: asyncio.Task[object] | None, task: asyncio.Task[object] | None, thread: int) -> bool:
    """Whether this task or thread can continue only after the calling code, which runs in `caller`, has ended."""
    frames = sys._current_frames()  # pyright: ignore[reportPrivateUsage] - documented, in spite of its name
    try:
        if task is None and not _waits(frames.get(thread)):
            # The usual case. If many threads asked, examining all of them for each would keep them busy.
            return False
        return _is_reached(caller, task, thread, frames)
    finally:
        # This function's own frame is among them: the cycle would keep the local variables of all threads alive.
        frames.clear()


def _is_reached(
    caller: asyncio.Task[object] | None, task: asyncio.Task[object] | None, thread: int, frames: dict[int, FrameType]
) -> bool:
    jobs = {number: job for number, frame in frames.items() if (job := _job(frame)) is not None}
    awaited = {number: list(_awaited(frame)) for number, frame in frames.items()}
    this_thread = threading.get_ident()
    seen: set[int] = set()
    ahead: list[_Link] = [this_thread, caller]
    while ahead:
        one = ahead.pop()
        if one is None or id(one) in seen:
            continue
        if one is task or (one == thread and thread != this_thread):
            return True
        seen.add(id(one))
        if isinstance(one, int):
            ahead.append(jobs.get(one))
        else:
            ahead += _called_back(one)
        ahead += [number for number, ones in awaited.items() if any(one is each or one == each for each in ones)]
    return False


def _stack(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _local(frame: FrameType, name: str) -> object:
    """A local variable of this function's frame; None if it has no such variable."""
    names = frame.f_locals
    value = names.get(name)
    # Before Python 3.13 this is a copy that lives as long as the frame: that of an idle worker thread would keep alive
    # the stream that its last job has read.
    if sys.version_info < (3, 13) and frame.f_code.co_flags & CO_OPTIMIZED:
        names.clear()
    return value


def _job(frame: FrameType | None) -> _Job | None:
    """The future of the executor's job that this stack runs.

    Reads `self.future` of `concurrent.futures.thread._WorkItem.run`, as it is in Python 3.11 to 3.14, and `future` of
    AnyIO's worker threads, as it is in AnyIO 4. If these names change, a turn that waits for itself through a job waits
    until the open one counts as abandoned.
    """
    for one in _stack(frame):
        if one.f_code.co_name != "run":
            continue
        module = one.f_globals.get("__name__")
        if module == "concurrent.futures.thread":
            return getattr(_local(one, "self"), "future", None)
        if module == "anyio._backends._asyncio" and isinstance(future := _local(one, "future"), asyncio.Future):
            return cast("_Job", future)
    return None


def _waits(frame: FrameType | None) -> bool:
    return frame is not None and any(True for _ in _awaited(frame))


def _awaited(frame: FrameType) -> Iterator[_Link]:
    """The threads and futures that this stack waits for."""
    for one in _stack(frame):
        if one.f_code is _JOIN:
            yield cast("threading.Thread", _local(one, "self")).ident
        elif one.f_code in _RESULTS:
            yield _local(one, "self")
        elif one.f_code in _WAITS:
            yield from tuple(cast("Iterable[_Link]", _local(one, "fs")))


_JOIN = threading.Thread.join.__code__
_RESULTS = {method.__code__ for method in (_Executed.result, _Executed.exception)}
_WAITS = {concurrent.futures.wait.__code__, concurrent.futures.as_completed.__code__}


def _called_back(one: _Link) -> Iterable[_Link]:
    """Return what a future or a task calls back when it ends, one link at a time.

    asyncio's futures keep their callbacks in C, where only the garbage collector can see them.
    """
    if isinstance(one, CellType):
        # What a callback closes over may be the siblings of what it wakes.
        referents: list[_Link] = gc.get_referents(one)
        return [held for held in referents if _is_future(held) or _is_library(held)]
    if isinstance(one, concurrent.futures.Future):
        lists = [cast("list[_Link]", value) for value in vars(cast("object", one)).values() if isinstance(value, list)]
        return [callback for callbacks in lists for callback in callbacks]
    if isinstance(one, list):
        # Of pairs with a context. The children of `gather` are a list, too.
        return [pair for pair in cast("list[_Link]", one) if _is_pair(pair)]
    if isinstance(one, MethodType):
        return [one.__self__]
    if isinstance(one, _CALLBACKS):
        return gc.get_referents(one)
    if _is_library(one):
        # A task group or a queue: the futures that it holds for those who wait for it.
        held: list[_Link] = []
        for value in vars(one).values():
            held += cast("deque[_Link]", value) if isinstance(value, deque) else [value]
        return [each for each in held if _is_queue(each) or _is_plain_future(each)]
    return []


def _is_library(one: object) -> bool:
    return type(one).__module__.partition(".")[0] in ("asyncio", "anyio") and hasattr(one, "__dict__")


def _is_future(one: object) -> bool:
    return isinstance(one, asyncio.Future | concurrent.futures.Future)


def _is_task(one: object) -> bool:
    return isinstance(one, asyncio.Task)


def _is_pair(one: object) -> bool:
    return isinstance(one, tuple)


def _is_queue(one: object) -> bool:
    return isinstance(one, asyncio.Queue)


def _is_plain_future(one: object) -> bool:
    return isinstance(one, asyncio.Future) and not isinstance(one, asyncio.Task)


_CALLBACKS = (asyncio.Future, tuple, FunctionType, BuiltinMethodType, partial)
