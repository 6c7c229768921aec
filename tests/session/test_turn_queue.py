"""Turns on one session run one after the other, in the order in which they were asked for."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from chat_sessions.core.errors import APITimeoutError, ConfigurationError
from chat_sessions.session import turn_queue
from chat_sessions.session.turn_queue import TurnSlot, async_wait_for_turn, wait_for_turn


@pytest.fixture(autouse=True)
def lines_are_empty_afterwards() -> Iterator[None]:
    yield
    gc.collect()
    # The lines of these tests: the traceback of a test that failed keeps its streams.
    assert [key for key in turn_queue._lines if not isinstance(key, tuple)] == []


def in_thread(function: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=function)
    thread.start()
    return thread


def waiting(key: object) -> int:
    line = turn_queue._lines.get(key)
    return 0 if line is None else len(line.places)


def until_waiting(key: object, count: int) -> None:
    """Return when so many are in the line; each look gives the other threads their turn."""
    while waiting(key) < count:
        threading.Event().wait(0.001)


def read(slot: TurnSlot) -> None:
    """Read an event of the turn, as the calling flow."""
    slot.begin_read()
    slot.end_read()


def test_waiting_threads_go_first_come_first_served() -> None:
    order: list[int] = []
    first = wait_for_turn("k")

    def turn(number: int) -> None:
        slot = wait_for_turn("k")
        order.append(number)
        slot.release()

    threads = []
    for number in range(4):
        threads.append(in_thread(lambda number=number: turn(number)))  # type: ignore[misc]
        until_waiting("k", number + 2)
    assert order == []
    first.release()
    for thread in threads:
        thread.join()
    assert order == [0, 1, 2, 3]


async def test_a_cancelled_wait_leaves_the_line() -> None:
    first = await async_wait_for_turn("k")
    tasks = [asyncio.create_task(async_wait_for_turn("k")) for _ in range(2)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    first.release()
    second = await tasks[1]
    second.release()
    assert tasks[0].cancelled()


def test_an_interrupted_wait_leaves_the_line() -> None:
    class Interrupted(BaseException):
        pass

    def interrupt(*_: object) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGUSR1, interrupt)
    held: list[TurnSlot] = []
    in_thread(lambda: held.append(wait_for_turn("k"))).join()
    main = threading.get_ident()

    def send() -> None:
        until_waiting("k", 2)
        signal.pthread_kill(main, signal.SIGUSR1)

    sending = in_thread(send)
    try:
        with pytest.raises(Interrupted):
            wait_for_turn("k")
    finally:
        sending.join()
        signal.signal(signal.SIGUSR1, before)
    assert waiting("k") == 1
    held.pop().release()


_STORM = """
import signal
from chat_sessions.session import turn_queue


class Hit(BaseException):
    pass


def hit(*_):
    raise Hit


signal.signal(signal.SIGALRM, hit)
for number in range(300):
    try:
        signal.setitimer(signal.ITIMER_REAL, (number % 60 + 1) * 1e-6)
        slot = turn_queue.wait_for_turn(number)
        slot.release()
        signal.setitimer(signal.ITIMER_REAL, 0)
    except Hit:
        signal.setitimer(signal.ITIMER_REAL, 0)
    slot = None
    line = turn_queue._lines.get(number)
    assert line is None or not line.places, number
    line = None
    assert not turn_queue._lock._is_owned(), number
"""


def test_a_slot_is_out_of_the_line_wherever_a_signal_hits() -> None:
    # In a process of its own: a signal that hits within a tracer, such as coverage's, leaves its lock held for ever.
    bare = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    done = subprocess.run(
        [sys.executable, "-c", _STORM], env=bare, timeout=120, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_turn_whose_event_loop_is_closed_holds_nothing() -> None:
    loop = asyncio.new_event_loop()
    held = loop.run_until_complete(async_wait_for_turn("k"))
    waiter = loop.create_task(async_wait_for_turn("k"))
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    wait_for_turn("k").release()
    held.release()
    waiter._log_destroy_pending = False  # type: ignore[attr-defined]
    coroutine = waiter.get_coro()
    assert coroutine is not None
    del waiter
    coroutine.close()


def test_releasing_twice_lets_nobody_in_twice() -> None:
    slot = wait_for_turn("k")
    slot.release()
    again = wait_for_turn("k")
    slot.release()
    assert waiting("k") == 1
    again.release()


def test_a_slot_that_is_dropped_lets_the_next_turn_begin() -> None:
    slot: TurnSlot | None = wait_for_turn("k")
    entered = threading.Event()

    def turn() -> None:
        wait_for_turn("k").release()
        entered.set()

    thread = in_thread(turn)
    until_waiting("k", 2)
    del slot
    assert entered.wait(10)
    thread.join()


def test_a_slot_can_be_released_by_a_signal_handler_at_any_moment() -> None:
    slot, other = wait_for_turn("k"), wait_for_turn("other")
    with turn_queue._lock:
        # What a handler does that runs just here, in this thread.
        slot.release()
        assert waiting("k") == 0
    other.release()


def test_a_forked_child_waits_for_none_of_its_parents_turns() -> None:
    slot = wait_for_turn("k")
    holder = in_thread(lambda: turn_queue._lock.acquire())
    holder.join()
    pid = os.fork()
    if pid == 0:
        signal.alarm(10)
        wait_for_turn("k").release()
        slot.release()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    turn_queue._lock = threading.RLock()
    slot.release()


def test_sessions_do_not_wait_for_each_other() -> None:
    slots = [wait_for_turn("a"), wait_for_turn("b")]
    for slot in slots:
        slot.release()


# A wait for itself.


async def test_the_task_that_reads_a_turn_may_not_wait_for_it_by_either_call() -> None:
    slot = await async_wait_for_turn("k", "the turn 'q'", "app.py:3")
    with pytest.raises(ConfigurationError, match=r"read the turn 'q' \(app\.py:3\) to the end, or close it"):
        await async_wait_for_turn("k")
    with pytest.raises(ConfigurationError, match=r"read the turn 'q'"):
        wait_for_turn("k")
    slot.release()


async def test_the_task_that_reads_a_turn_may_ask_for_the_next_while_its_event_loop_closes_it() -> None:
    slot = await async_wait_for_turn("k")
    asyncio.get_running_loop().call_soon(slot.release)
    (await async_wait_for_turn("k")).release()


def test_the_thread_that_reads_a_turn_may_not_wait_for_it() -> None:
    slot = wait_for_turn("k")
    with pytest.raises(ConfigurationError, match="still has an open turn"):
        wait_for_turn("k")
    assert waiting("k") == 1
    slot.release()


async def test_what_the_reader_hands_to_a_worker_thread_may_not_wait_for_it() -> None:
    slot = await async_wait_for_turn("k")
    with pytest.raises(ConfigurationError, match="still has an open turn"):
        await asyncio.to_thread(wait_for_turn, "k")
    slot.release()


async def test_a_read_in_a_task_of_its_own_leaves_the_turn_to_the_task_that_opened_it() -> None:
    slot = await async_wait_for_turn("k")
    await asyncio.create_task(asyncio.to_thread(read, slot))
    await asyncio.gather(asyncio.wait_for(asyncio.to_thread(read, slot), 10))
    with pytest.raises(ConfigurationError, match="still has an open turn"):
        await async_wait_for_turn("k")
    slot.release()


async def test_a_turn_handed_to_another_task_is_that_tasks() -> None:
    slot = await async_wait_for_turn("k")

    async def reader() -> None:
        read(slot)
        with pytest.raises(ConfigurationError, match="still has an open turn"):
            await async_wait_for_turn("k")
        # Its own end lets the one who opened it ask.
        slot.release()

    reading = asyncio.create_task(reader())
    await asyncio.sleep(0)
    (await async_wait_for_turn("k")).release()
    await reading


async def test_a_task_begun_by_the_reader_waits_while_the_reader_reads_on() -> None:
    slot = await async_wait_for_turn("k")
    slot.begin_read()
    other = asyncio.create_task(async_wait_for_turn("k"))
    await asyncio.sleep(0)
    assert not other.done()
    slot.release()
    (await other).release()


async def test_a_task_that_the_reader_waits_for_may_not_wait_for_the_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turn_queue, "_READER_WAITS", 0.0)
    slot = await async_wait_for_turn("k")
    read(slot)
    with pytest.raises(ConfigurationError, match="still has an open turn"):
        await asyncio.create_task(async_wait_for_turn("k"))
    slot.release()


def test_an_event_loop_may_not_wait_for_the_thread_that_runs_it() -> None:
    slot = wait_for_turn("k")
    with pytest.raises(ConfigurationError, match="still has an open turn"):
        asyncio.run(async_wait_for_turn("k"))
    slot.release()


async def test_a_sync_call_may_not_wait_for_another_task_of_its_own_event_loop() -> None:
    held: list[TurnSlot] = []
    in_thread(lambda: held.append(wait_for_turn("k"))).join()
    waiter = asyncio.create_task(async_wait_for_turn("k", "the turn 'two'"))
    await asyncio.sleep(0)
    with pytest.raises(ConfigurationError, match="waits for the turn 'two', which that loop has to run"):
        wait_for_turn("k")
    held.pop().release()
    (await waiter).release()


# A wait for somebody else.


def test_two_jobs_on_one_worker_thread_wait_for_each_other() -> None:
    slots: list[TurnSlot] = []
    entered = threading.Event()

    def ask() -> None:
        wait_for_turn("k").release()
        entered.set()

    def worker() -> None:
        # A web framework runs each request's job in a copy of the request's context.
        contextvars.copy_context().run(lambda: slots.append(wait_for_turn("k")))
        contextvars.copy_context().run(lambda: read(slots[0]))
        contextvars.copy_context().run(ask)

    thread = in_thread(worker)
    until_waiting("k", 2)
    assert not entered.is_set()
    slots.pop().release()
    thread.join()
    assert entered.is_set()


def test_whoever_drops_an_answer_waits_for_the_thread_that_closes_it() -> None:
    slot = wait_for_turn("k")
    slot.abandon()

    def end_it() -> None:
        until_waiting("k", 2)
        slot.release()

    ending = in_thread(end_it)
    wait_for_turn("k").release()
    ending.join()


@pytest.mark.parametrize("constant", ["_KEPT_UNREAD", "_LEFT_UNREAD"])
def test_a_turn_that_is_kept_unread_does_not_hold_its_session_for_ever(
    monkeypatch: pytest.MonkeyPatch, constant: str
) -> None:
    held: list[TurnSlot] = []

    def keep() -> None:
        held.append(wait_for_turn("k"))
        if constant == "_LEFT_UNREAD":
            held[0].abandon()
        done.wait()

    done = threading.Event()
    keeping = in_thread(keep)
    until_waiting("k", 1)
    monkeypatch.setattr(turn_queue, constant, 0.0)
    wait_for_turn("k").release()
    done.set()
    keeping.join()
    read(held[0])  # it may still be read
    held.pop().release()


def test_a_turn_that_is_waited_for_is_not_taken_for_one_that_is_kept_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turn_queue, "_KEPT_UNREAD", 0.0)
    monkeypatch.setattr(turn_queue, "_LEFT_UNREAD", 0.0)
    order: list[int] = []
    held: list[TurnSlot] = []
    in_thread(lambda: held.append(wait_for_turn("k"))).join()
    held[0].begin_read()
    threads = []
    for number in range(2):

        def turn(number: int = number) -> None:
            slot = wait_for_turn("k")
            slot.begin_read()
            order.append(number)
            slot.release()

        threads.append(in_thread(turn))
        until_waiting("k", number + 2)
    assert order == []
    held.pop().release()
    for thread in threads:
        thread.join()
    assert order == [0, 1]


async def test_a_wait_ends_at_its_limit_and_says_what_it_waited_for() -> None:
    held: list[TurnSlot] = []
    in_thread(lambda: held.append(wait_for_turn("k", "the turn 'one'", "app.py:7"))).join()
    held[0].is_reading = True
    said = r"nothing was sent: .* the turn 'one' \(app\.py:7\) in this process"
    with pytest.raises(APITimeoutError, match=said):
        await asyncio.to_thread(wait_for_turn, "k", limit=0.01)
    with pytest.raises(APITimeoutError, match=said):
        await async_wait_for_turn("k", limit=0)
    assert waiting("k") == 1
    held.pop().release()
