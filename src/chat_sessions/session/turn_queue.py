"""One turn at a time per session, in the order in which they were asked for.

The service's own rule for concurrent turns is not known, and two turns that are interleaved in a history cannot be told
apart afterwards. So a second turn on a session waits in this process, whether the turns are sync or async and whichever
client sends them. Processes do not see each other's turns: there the service's answer (a 409, perhaps) is the only
guard.

Whoever runs a turn holds a `TurnSlot`; the queue itself holds it weakly. A slot that is dropped, by the
garbage collector, a signal's exception, or a task that never runs again, is out of the line. There is no
lock to be left locked: the queue changes by single operations of a deque, and whoever waits looks again every
second.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from contextlib import suppress

from chat_sessions.core.errors import APITimeoutError, ConfigurationError
from chat_sessions.session.waiting import (
    Flow,
    blocked_loop,
    current_flow,
    known_flow,
    renew_at_fork,
    running_loop,
    waiting_flow,
)

__all__ = ["LONGEST_WAIT", "TurnSlot", "async_wait_for_turn", "wait_for_turn"]

# The longest wait for earlier turns of a session, in seconds, where the turn has no total deadline.
LONGEST_WAIT = 600.0
# How often, in seconds, a waiter that is not woken looks at the line.
_TICK = 1.0
# How long, in seconds, an open turn that is not being read holds its session, and one that its reader has left.
_KEPT_UNREAD = 60.0
_LEFT_UNREAD = 10.0
# How long, in seconds, it may go unread when its own reader asks for the next turn: the event loop may be about to
# close what a `break` left.
_BEING_LEFT = 0.25
# The same if its reader is less certain, or waits for a task or thread that asks: another may continue reading.
_READER_WAITS = 2.0


class _Line:
    """The slots of one session. It lives as long as one of them."""

    def __init__(self) -> None:
        self.places: deque[_Place] = deque()

    def ahead_of(self, place: _Place | None) -> Iterator[TurnSlot]:
        """The slots before this place, the first one first; all of them for None."""
        for other in tuple(self.places):
            if other is place:
                return
            if (slot := other.slot()) is not None:
                yield slot

    @property
    def first(self) -> TurnSlot | None:
        """The first slot. A look at it takes no longer if many wait."""
        with suppress(IndexError):
            while (slot := (place := self.places[0]).slot()) is None:
                self._take_out(place)
            return slot
        return None

    def leave(self, place: _Place) -> None:
        """Take the place out, and wake whoever is next."""
        self._take_out(place)
        if (slot := self.first) is not None:
            slot.place.wake()

    def _take_out(self, place: _Place) -> None:
        with suppress(ValueError):
            self.places.remove(place)


class _Place:
    """A place in a line, and how to wake whoever waits in it. Does not keep the slot."""

    __slots__ = ("slot", "wake")

    def __init__(self, slot: TurnSlot, line: _Line, wake: Callable[[], None]) -> None:
        self.wake = wake
        self.slot = weakref.ref(slot, lambda _: line.leave(self))


def _nobody() -> None:
    return None


class TurnSlot:
    """The right to run a turn on a session, until `release`. `what` and `where` are the turn for messages."""

    def __init__(self, key: Hashable, what: str, where: str, wake: Callable[[], None]) -> None:
        self.what = what
        self.where = where
        # From the wait for its turn on.
        self.is_reading = True
        self._last_read = time.monotonic()
        self._readers: list[weakref.ref[Flow]] = []
        # Who was waiting for the last reader to end when it read.
        self._waiting: Flow | None = None
        self._is_new_reader = False
        self._is_left = False
        # How long it is unread, in seconds, before it is looked for in garbage. Twice as long each time.
        self.looks_after = _READER_WAITS
        self.maker: Callable[[], Flow | None] = _nobody
        self.loop: asyncio.AbstractEventLoop | None = None
        self.read_by(current_flow())
        with _lock:
            line = _lines.get(key)
            if line is None:
                line = _lines[key] = _Line()
        self.line = line
        self.place = _Place(self, line, wake)
        line.places.append(self.place)

    def read_by(self, flow: Flow) -> None:
        """Note that this flow reads the turn now."""
        if self._last_reader is not flow:
            self._readers = [known for known in self._readers if (one := known()) is not None and one is not flow]
            self._readers.append(weakref.ref(flow))
            self._is_new_reader = True

    @property
    def _last_reader(self) -> Flow | None:
        return self._readers[-1]() if self._readers else None

    def stop_waiting(self) -> None:
        """Note that a wait has ended: for its turn, or for the turn's next event."""
        self.is_reading = False
        self._last_read = time.monotonic()

    def note_read(self) -> None:
        """Record that the calling code took an event without waiting."""
        self._last_read = time.monotonic()
        flow, readers = known_flow(), self._readers
        if flow is None or not readers or flow is not readers[-1]() or not flow.is_running():
            self.read_by(current_flow())
            self._note_waiting()

    def begin_read(self) -> None:
        """Note that the calling code waits for the turn's next event."""
        # Outside an event loop, looking up the task raises, which is slow. A loop run in this thread descends from its
        # flow, so a turn that waits for itself is still found.
        flow = known_flow()
        if flow is None or flow is not self._last_reader or not flow.is_this_thread:
            self.read_by(current_flow())
        self.is_reading = True

    def end_read(self) -> None:
        """Note that it no longer waits."""
        self.stop_waiting()
        if self._is_new_reader:
            self._note_waiting()

    def _note_waiting(self) -> None:
        # At the reader's first event: by then, whoever began it to read just one event waits for it.
        self._is_new_reader = False
        self._waiting = waiting_flow()

    def abandon(self) -> None:
        """Note that the turn is no longer read and is about to be released. Takes no lock."""
        self._readers, self._waiting, self.maker, self._is_new_reader = [], None, _nobody, False
        self._is_left = True
        self.end_read()

    def release(self) -> None:
        """Let the next turn begin. Idempotent, and safe from any thread, signal handlers and finalisers included."""
        self.line.leave(self.place)

    @property
    def reader(self) -> Flow | None:
        """Who reads the turn, as far as is known: the last that did and can still run, or who waited for it."""
        last = self._last_reader
        if last is not None and last.is_alive:
            return last
        return self._waiting if self._waiting is not None and self._waiting.is_alive else None

    @property
    def earlier_reader(self) -> Flow | None:
        """Who may continue reading if the reader is not known: an earlier reader, else whoever made the stream."""
        known = (*(one() for one in reversed(self._readers)), self.maker())
        return next((flow for flow in known if flow is not None and flow.is_alive), None)

    @property
    def is_over(self) -> bool:
        """Whether this turn cannot be expected to end any more; it then no longer holds its session."""
        if self.loop is not None and self.loop.is_closed():
            return True
        return self.unread_for > (_LEFT_UNREAD if self._is_left else _KEPT_UNREAD)

    def is_garbage(self) -> bool:
        """Whether its stream was dropped within a reference cycle, and is collected now.

        An error kept by its own frame is such a cycle, and so is the sync generator of a Starlette response whose
        client has left.
        """
        self.looks_after = 2 * self.unread_for
        gc.collect()
        return self.place not in self.line.places

    @property
    def unread_for(self) -> float:
        """Seconds since the turn was read; 0 while its reader waits for the next event."""
        return 0.0 if self.is_reading else time.monotonic() - self._last_read


_lines: weakref.WeakValueDictionary[Hashable, _Line] = weakref.WeakValueDictionary()
# Held for a look at the dictionary alone.
_lock = threading.RLock()
renew_at_fork(sys.modules[__name__], "_lock")


def wait_for_turn(key: Hashable, what: str = "a turn", where: str = "", *, limit: float | None = None) -> TurnSlot:
    """Wait until every turn asked for earlier on this session has ended.

    Raises `ConfigurationError` if that would take forever, because the calling code has an open turn itself or keeps
    one from continuing, and `APITimeoutError` after `limit` seconds (10 minutes by default).
    """
    ready = threading.Lock()
    ready.acquire()

    def wake() -> None:
        with suppress(RuntimeError):  # it is awake
            ready.release()

    slot = TurnSlot(key, what, where, wake)
    end = time.monotonic() + (LONGEST_WAIT if limit is None else limit)
    loop = blocked_loop()
    try:
        _check_line(slot, loop)
        while (wait := _wait(slot, end, loop)) > 0:
            ready.acquire(timeout=wait)
    except BaseException:
        # At once, and not when the traceback of the error is dropped.
        slot.release()
        raise
    slot.stop_waiting()
    return slot


async def async_wait_for_turn(
    key: Hashable, what: str = "a turn", where: str = "", *, limit: float | None = None
) -> TurnSlot:
    """As `wait_for_turn`; the event loop keeps running meanwhile, and a cancelled wait leaves the line."""
    loop = running_loop()
    ready = asyncio.Event()

    def wake() -> None:
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(ready.set)

    slot = TurnSlot(key, what, where, wake)
    slot.loop = loop
    end = time.monotonic() + (LONGEST_WAIT if limit is None else limit)
    try:
        while (wait := _wait(slot, end, None)) > 0:
            alarm = loop.call_later(wait, ready.set)
            try:
                await ready.wait()
            finally:
                alarm.cancel()
            ready.clear()
    except BaseException:
        slot.release()
        raise
    slot.stop_waiting()
    return slot


def _wait(slot: TurnSlot, end: float, blocked: asyncio.AbstractEventLoop | None) -> float:
    """Return the seconds to wait before the next look; 0 when it is this slot's turn.

    Checks only the first in line, for which all others wait in the end: checking each would keep an event loop busy
    when the line is long. `blocked` is the event loop that cannot run meanwhile.
    """
    while (first := slot.line.first) is not None and first is not slot:
        if _is_to_wait_for(first, blocked):
            break
    else:
        return 0.0
    left = end - time.monotonic()
    if left <= 0:
        raise APITimeoutError(
            f"nothing was sent: the session is still answering {_described(first)} in this process; read it to the "
            "end or close it (timeouts.total limits this wait)"
        )
    reader = first.reader
    return min(left, _BEING_LEFT if reader is not None and _is_caller(reader) else _TICK)


def _check_line(slot: TurnSlot, blocked: asyncio.AbstractEventLoop | None) -> None:
    """Raise `ConfigurationError` if one of those ahead waits itself, and cannot continue during this sync call.

    A signal handler's call may come from within such a wait, and the blocked event loop may have to run it.
    """
    for other in slot.line.ahead_of(slot.place):
        _is_to_wait_for(other, blocked)


def _is_to_wait_for(other: TurnSlot, blocked: asyncio.AbstractEventLoop | None) -> bool:
    """Whether this turn still holds the session. Raises `ConfigurationError` if it cannot end during this wait.

    A turn that is over is taken out of the line.
    """
    if other.is_over:
        other.release()
        return False
    # A thread is not known to have ended, and what was dropped may keep the context of its job.
    is_doubtful = (reader := other.reader) is None or reader.loop is None
    if is_doubtful and other.unread_for > other.looks_after and other.is_garbage():
        return False
    if _waits_for_itself(other, blocked):
        if other.is_garbage():
            return False
        raise ConfigurationError(
            "this session still has an open turn, whose reader cannot continue until this call ends: "
            f"read {_described(other)} to the end, or close it, before sending another prompt"
        )
    if blocked is not None and _is_held_by(blocked, other):
        raise ConfigurationError(
            f"this sync call would block the event loop that has to finish {_described(other)}: await the async "
            "method instead"
        )
    return True


def _waits_for_itself(other: TurnSlot, blocked: asyncio.AbstractEventLoop | None) -> bool:
    """Whether this turn cannot end as long as the calling code waits for it."""
    reader = other.reader
    if reader is not None and _is_caller(reader):
        # Unless the call comes from within the read, an event loop that keeps running may still close the turn, and a
        # thread that was given it may begin to read.
        if other.is_reading or (other.loop is not None and other.loop is blocked):
            return True
        return other.unread_for > (_BEING_LEFT if reader.is_current() else _READER_WAITS)
    if reader is None:
        reader = other.earlier_reader
    if reader is None or other.unread_for <= _READER_WAITS:
        return False
    return _is_caller(reader) or reader.waits_for_caller()


def _is_caller(reader: Flow) -> bool:
    """Whether the reader is the calling code, or its thread runs the event loop that asks."""
    return reader.is_current() or (reader.is_this_thread and current_flow().descends_from(reader))


def _is_held_by(blocked: asyncio.AbstractEventLoop, other: TurnSlot) -> bool:
    """Whether this turn cannot end while the event loop is blocked."""
    if other.loop is blocked:
        return True
    reader = other.reader
    # A thread may have been given the sync stream of a task.
    is_left = other.is_reading or other.unread_for > _BEING_LEFT
    return reader is not None and reader.loop is blocked and is_left


def _described(slot: TurnSlot) -> str:
    return f"{slot.what} ({slot.where})" if slot.where else slot.what


def _after_fork() -> None:
    """Drop the parent's turns in a forked child, which lacks the threads that would end them."""
    for line in list(_lines.values()):
        line.places.clear()


if hasattr(os, "register_at_fork"):  # pragma: no branch - not on Windows
    os.register_at_fork(after_in_child=_after_fork)
