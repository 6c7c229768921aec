"""Turns on one session run one after the other, in the order in which they were asked for."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable

import pytest

from chat_sessions.core.errors import ConfigurationError
from chat_sessions.session import turn_queue
from chat_sessions.session.turn_queue import TurnSlot, wait_for_turn, wait_for_turn_async


@pytest.fixture(autouse=True)
def lines_are_empty_afterwards() -> object:
    yield
    gc.collect()
    assert turn_queue._lines == {}


def in_thread(function: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=function)
    thread.start()
    return thread


def until_waiting(key: object, count: int) -> None:
    """Return when so many stand in the line; each look gives the other threads their turn."""
    while len(turn_queue._lines.get(key, ())) < count:
        threading.Event().wait(0.001)


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
    first = await wait_for_turn_async("k")
    tasks = [asyncio.create_task(wait_for_turn_async("k")) for _ in range(2)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    first.release()
    second = await tasks[1]
    second.release()
    assert tasks[0].cancelled()


def test_an_interrupted_wait_leaves_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[TurnSlot] = []
    in_thread(lambda: held.append(wait_for_turn("k"))).join()

    def interrupted(self: threading.Event, timeout: float | None = None) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Event, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        wait_for_turn("k")
    monkeypatch.undo()
    assert len(turn_queue._lines["k"]) == 1
    held.pop().release()


def test_a_waiter_whose_event_loop_is_closed_is_passed_over() -> None:
    first = wait_for_turn("k")
    loop = asyncio.new_event_loop()
    task = loop.create_task(wait_for_turn_async("k"))
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    slots: list[TurnSlot] = []
    last = in_thread(lambda: slots.append(wait_for_turn("k")))
    until_waiting("k", 3)
    first.release()
    last.join()
    slots.pop().release()
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    coroutine = task.get_coro()
    assert coroutine is not None
    del task
    coroutine.close()


def test_releasing_twice_lets_nobody_in_twice() -> None:
    slot = wait_for_turn("k")
    slot.release()
    again = wait_for_turn("k")
    slot.release()
    assert len(turn_queue._lines["k"]) == 1
    again.release()


def test_a_slot_that_is_dropped_is_released_even_while_the_lines_are_being_changed() -> None:
    slot: TurnSlot | None = wait_for_turn("k")
    with turn_queue._lines_locked():
        slot = None
        assert len(turn_queue._lines["k"]) == 1
    assert slot is None
    assert turn_queue._lines == {}


def test_a_slot_can_be_released_by_a_signal_handler_at_any_moment() -> None:
    slot, other = wait_for_turn("k"), wait_for_turn("other")
    with turn_queue._lines_locked():
        # What a handler does that runs just here, in this thread.
        slot.release()
        assert len(turn_queue._lines) == 2
    other.release()


def test_a_forked_child_waits_for_none_of_its_parents_turns() -> None:
    slot = wait_for_turn("k")
    turn_queue._after_fork()
    again = wait_for_turn("k")
    slot.release()
    again.release()


async def test_the_thread_or_task_that_reads_a_turn_may_not_wait_for_it() -> None:
    slot = await wait_for_turn_async("k")
    with pytest.raises(ConfigurationError, match="still has an open turn"):
        await wait_for_turn_async("k")
    with pytest.raises(ConfigurationError, match="still has an open turn"):
        wait_for_turn("k")
    other = asyncio.create_task(wait_for_turn_async("k"))
    await asyncio.sleep(0)
    in_thread(slot.touch).join()
    assert not other.done()
    slot.release()
    (await other).release()


def test_the_reader_of_an_abandoned_turn_waits_for_the_thread_that_ends_it() -> None:
    slot = wait_for_turn("k")
    slot.abandon()

    def end_it() -> None:
        until_waiting("k", 2)
        slot.release()

    ending = in_thread(end_it)
    wait_for_turn("k").release()
    ending.join()


async def test_the_task_of_an_abandoned_turn_waits_for_its_event_loop_and_the_thread_of_that_may_not() -> None:
    slot = await wait_for_turn_async("k")
    slot.abandon_async()
    with pytest.raises(ConfigurationError):
        wait_for_turn("k")

    async def end_it() -> None:
        await asyncio.to_thread(until_waiting, "k", 2)
        slot.release()

    ending = asyncio.create_task(end_it())
    (await wait_for_turn_async("k")).release()
    await ending


def test_the_reader_of_a_turn_is_whoever_touched_it_last() -> None:
    slots: list[TurnSlot] = []
    in_thread(lambda: slots.append(wait_for_turn("k"))).join()
    slots[0].touch()
    with pytest.raises(ConfigurationError):
        wait_for_turn("k")
    slots.pop().release()


def test_sessions_do_not_wait_for_each_other() -> None:
    slots = [wait_for_turn("a"), wait_for_turn("b")]
    for slot in slots:
        slot.release()
