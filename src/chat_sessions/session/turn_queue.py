"""One turn at a time per session, in the order in which they were asked for.

The service's own rule for concurrent turns is not known, and a history of two interleaved
turns cannot be told apart afterwards. So a second turn on a session waits in this process,
whether the turns are sync or async and whichever client sends them. Processes do not see
each other's turns: there the service's answer (a 409, perhaps) is the only guard.
"""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Generator, Hashable
from contextlib import contextmanager
from dataclasses import dataclass

from chat_sessions.core.errors import ConfigurationError

__all__ = ["TurnSlot", "wait_for_turn", "wait_for_turn_async"]


@dataclass(slots=True, eq=False)
class _Place:
    """A place in a session's line: how to wake whoever waits in it, and who reads its turn."""

    key: Hashable
    wake: Callable[[], bool]
    thread: int | None
    # Weak: a task that has ended may hold the stream, and with it its own place, for ever.
    task: weakref.ref[asyncio.Task[object]] | None

    def is_read_by(self, task: asyncio.Task[object] | None) -> bool:
        return task is not None and self.task is not None and self.task() is task


_lines: dict[Hashable, deque[_Place]] = {}
# Reentrant: a signal handler or the garbage collector may release a slot while this thread holds it.
_lock = threading.RLock()
_lock_holder: int | None = None
# Places that were given up while this very thread was at work on the lines.
_given_up: deque[_Place] = deque()
# How many steps of the event loop an open turn may take to close before it is taken to stay open. A loop closes
# an async generator that was left by `break` in a task of its own: two steps, and two more for each one around it.
_STEPS_TO_CLOSE = 16


class TurnSlot:
    """The right to run a turn on a session, until `release`."""

    def __init__(self, place: _Place) -> None:
        self._place = place

    def touch(self) -> None:
        """Note that the calling thread reads the turn: it must not wait for its end."""
        if self._place.thread != (thread := threading.get_ident()):
            self._place.thread, self._place.task = thread, _reference(_current_task())

    def touch_async(self) -> None:
        """Note that the calling task reads the turn: it must not wait for its end."""
        self._place.thread = threading.get_ident()
        task = _current_task()
        if not self._place.is_read_by(task):
            self._place.task = _reference(task)

    def abandon(self) -> None:
        """Note that nobody reads the turn and another thread ends it: whoever asks for the next one may wait."""
        self._place.thread = self._place.task = None

    def abandon_async(self) -> None:
        """Note that nobody reads the turn and its event loop ends it: any task may wait, but not the loop's thread."""
        self._place.task = None

    def release(self) -> None:
        """Let the next turn begin. Idempotent, and safe from any thread, signal handlers included."""
        if _lock_holder == threading.get_ident():
            _given_up.append(self._place)
            return
        with _lines_locked():
            _leave(self._place)

    def __del__(self) -> None:
        # A stream that was dropped without being closed must not block its session for ever.
        self.release()


def wait_for_turn(key: Hashable) -> TurnSlot:
    """Wait until every turn asked for earlier on this session has ended.

    Raises `ConfigurationError` where that would be for ever: the calling thread reads the open turn.
    """
    ready = threading.Event()

    def wake() -> bool:
        ready.set()
        return True

    slot, is_first = _join(key, wake, lambda first: first.thread == threading.get_ident())
    if not is_first:
        try:
            ready.wait()
        except BaseException:
            slot.release()
            raise
    return slot


async def wait_for_turn_async(key: Hashable) -> TurnSlot:
    """As `wait_for_turn`; the event loop goes on meanwhile, and a cancelled wait leaves the line."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    task = _current_task()

    def wake() -> bool:
        try:
            loop.call_soon_threadsafe(ready.set)
        except RuntimeError:  # the loop is closed, and nobody waits any more
            return False
        return True

    def is_own(first: _Place) -> bool:
        return first.is_read_by(task)

    for _ in range(_STEPS_TO_CLOSE):
        if not _begins_with(key, is_own):
            break
        await asyncio.sleep(0)
    slot, is_first = _join(key, wake, is_own)
    if not is_first:
        try:
            await ready.wait()
        except BaseException:
            slot.release()
            raise
    return slot


def _join(key: Hashable, wake: Callable[[], bool], is_own: Callable[[_Place], bool]) -> tuple[TurnSlot, bool]:
    """A place at the end of the line, and whether it is the first."""
    place = _Place(key, wake, threading.get_ident(), _reference(_current_task()))
    with _lines_locked():
        line = _lines.setdefault(key, deque())
        if line and is_own(line[0]):
            raise ConfigurationError(
                "this session still has an open turn, and the code that reads it is the code that asks for the next: "
                "read its stream to the end, or close it, before sending another prompt"
            )
        line.append(place)
        return TurnSlot(place), line[0] is place


def _begins_with(key: Hashable, is_own: Callable[[_Place], bool]) -> bool:
    with _lines_locked():
        line = _lines.get(key)
        return line is not None and is_own(line[0])


def _leave(place: _Place) -> None:
    line = _lines.get(place.key)
    if line is None or place not in line:
        return
    was_first = line[0] is place
    line.remove(place)
    while was_first and line and not line[0].wake():
        line.popleft()
    if not line:
        del _lines[place.key]


@contextmanager
def _lines_locked() -> Generator[None]:
    global _lock_holder
    with _lock:
        _lock_holder = threading.get_ident()
        try:
            yield
            while _given_up:
                _leave(_given_up.popleft())
        finally:
            _lock_holder = None


def _after_fork() -> None:
    """The child has none of the parent's threads: nobody in it will ever end the parent's turns."""
    global _lock, _lock_holder
    _lock, _lock_holder = threading.RLock(), None
    _lines.clear()
    _given_up.clear()


if hasattr(os, "register_at_fork"):  # pragma: no branch - not on Windows
    os.register_at_fork(after_in_child=_after_fork)


def _current_task() -> asyncio.Task[object] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


def _reference(task: asyncio.Task[object] | None) -> weakref.ref[asyncio.Task[object]] | None:
    return None if task is None else weakref.ref(task)
