"""How long a place in a session's line is held, waited for and looked at: decided on a clock that the test moves."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest

from chat_sessions.core.errors import APITimeoutError, ConfigurationError
from chat_sessions.session import turn_queue
from chat_sessions.session.turn_queue import LONGEST_WAIT, TurnSlot, async_wait_for_turn, wait_for_turn
from chat_sessions.session.waiting import current_flow


class Clock:
    """Seconds, as the test says."""

    def __init__(self) -> None:
        self.now = 7.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    """The clock of the queue alone."""
    made = Clock()
    monkeypatch.setattr(turn_queue, "time", made)
    yield made
    # The lines of these tests; streams of others may wait for the garbage collector.
    assert [key for key in turn_queue._lines if not isinstance(key, tuple)] == []


def elsewhere(context: contextvars.Context, call: Callable[[], object]) -> None:
    """Call this in another thread, whose flow lives on in the context."""
    thread = threading.Thread(target=context.run, args=(call,))
    thread.start()
    thread.join()
    _contexts.append(context)


def of_another_thread(key: str = "k", what: str = "the turn 'one'", where: str = "") -> TurnSlot:
    """A slot that a thread got which lives on, as far as anybody knows."""
    held: list[TurnSlot] = []
    elsewhere(contextvars.copy_context(), lambda: held.append(wait_for_turn(key, what, where)))
    return held[0]


# A flow lives as long as its context.
_contexts: list[contextvars.Context] = []


@pytest.fixture(autouse=True)
def no_contexts_afterwards() -> Iterator[None]:
    yield
    _contexts.clear()


def of_another_thread_waiting() -> TurnSlot:
    """A slot in the line of a thread that lives on, as far as anybody knows."""
    made: list[TurnSlot] = []
    elsewhere(contextvars.Context(), lambda: made.append(waiter()))
    return made[0]


def waiter(key: str = "k") -> TurnSlot:
    """A slot of this flow in the line, and not asked yet whether its turn has come."""
    return TurnSlot(key, "the turn 'two'", "", lambda: None)


def test_a_turn_that_somebody_may_read_on_holds_its_session_for_a_minute(clock: Clock) -> None:
    slot = of_another_thread()
    assert slot.reader is not None
    clock.now += 60
    assert (slot.unread_for, slot.is_over) == (60.0, False)
    clock.now += 0.25
    assert slot.is_over
    slot.begin_read()
    assert (slot.unread_for, slot.is_over) == (0.0, False)
    clock.now += 1000
    assert not slot.is_over
    slot.end_read()
    assert (slot.unread_for, slot.is_over) == (0.0, False)
    slot.release()


def test_a_turn_that_its_reader_has_left_holds_its_session_for_ten_seconds(clock: Clock) -> None:
    slot = of_another_thread()
    slot.abandon()
    assert slot.reader is None
    clock.now += 10
    assert not slot.is_over
    clock.now += 0.25
    assert slot.is_over
    slot.release()


def test_a_turn_that_is_over_is_out_of_the_line_for_good(clock: Clock) -> None:
    first, second = of_another_thread(), None
    clock.now += 61
    second = wait_for_turn("k")
    assert list(second.line.places) == [second.place]
    first.release()
    assert list(second.line.places) == [second.place]
    second.release()


def test_whoever_waits_looks_each_second_and_sooner_before_the_end(clock: Clock) -> None:
    first = of_another_thread()
    second = waiter()
    assert turn_queue._wait(second, clock.now + 600, None) == 1.0
    assert turn_queue._wait(second, clock.now + 0.5, None) == 0.5
    with pytest.raises(APITimeoutError, match="still answering the turn 'one' in this process"):
        turn_queue._wait(second, clock.now, None)
    first.release()
    # It is its turn, however late.
    assert turn_queue._wait(second, clock.now - 1, None) == 0.0
    second.release()


def test_the_first_of_those_before_is_the_one_that_is_named(clock: Clock) -> None:
    first = of_another_thread(where="app.py:7")
    between = TurnSlot("k", "between", "", lambda: None)
    _contexts.append(contextvars.copy_context())
    between.abandon()
    between.is_reading = True
    last = waiter()
    with pytest.raises(APITimeoutError, match=r"the turn 'one' \(app\.py:7\) in this process"):
        turn_queue._wait(last, clock.now, None)
    for slot in (first, between, last):
        slot.release()


@pytest.mark.parametrize(("limit", "seconds"), [(None, 600.0), (5.0, 5.0), (0.0, 0.0)])
async def test_the_longest_wait_is_the_one_that_was_asked_for_or_ten_minutes(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, limit: float | None, seconds: float
) -> None:
    ends: list[float] = []

    def see(slot: TurnSlot, end: float, blocked: asyncio.AbstractEventLoop | None) -> float:
        ends.append(end - clock.now)
        return 0.0

    monkeypatch.setattr(turn_queue, "_wait", see)
    wait_for_turn("k", limit=limit).release()
    (await async_wait_for_turn("k", limit=limit)).release()
    assert ends == [seconds, seconds]
    assert LONGEST_WAIT == 600


def assert_refused_after_a_quarter_of_a_second(second: TurnSlot, clock: Clock) -> None:
    clock.now += 0.25
    assert turn_queue._wait(second, clock.now + 600, None) == 0.25
    clock.now += 0.125
    with pytest.raises(ConfigurationError, match="still has an open turn"):
        turn_queue._wait(second, clock.now + 600, None)


async def test_a_task_that_left_a_turn_looks_often_and_waits_a_quarter_of_a_second(clock: Clock) -> None:
    slot = await async_wait_for_turn("k")
    second = waiter()
    assert turn_queue._wait(second, clock.now + 600, None) == 0.25
    assert_refused_after_a_quarter_of_a_second(second, clock)
    # A loop that does not go on closes nothing.
    slot.begin_read()
    with pytest.raises(ConfigurationError, match="still has an open turn"):
        turn_queue._wait(second, clock.now + 600, asyncio.get_running_loop())
    for one in (slot, second):
        one.release()


async def in_a_task_that_this_waits_for(slot: TurnSlot) -> None:
    """Read an event of the turn in a task of its own, as `wait_for` does in Python 3.11."""

    async def read() -> None:
        slot.begin_read()
        await asyncio.sleep(0)
        slot.end_read()

    await asyncio.wait({asyncio.ensure_future(read())})


async def test_a_task_that_waited_for_the_reads_of_a_turn_is_its_reader(clock: Clock) -> None:
    slot = await async_wait_for_turn("k")
    await in_a_task_that_this_waits_for(slot)
    second = waiter()
    assert_refused_after_a_quarter_of_a_second(second, clock)
    for one in (slot, second):
        one.release()


async def test_a_task_waits_for_another_that_waits_for_the_reads_of_its_turn(clock: Clock) -> None:
    slot = await async_wait_for_turn("k")
    has_read, done = asyncio.Event(), asyncio.Event()

    async def other() -> None:
        await in_a_task_that_this_waits_for(slot)
        has_read.set()
        await done.wait()

    task = asyncio.create_task(other())
    await has_read.wait()
    second = waiter()
    clock.now += 30
    assert turn_queue._wait(second, clock.now + 600, None) == 1.0
    done.set()
    await task
    for one in (slot, second):
        one.release()


def test_a_turn_whose_reader_is_not_known_holds_its_session_for_a_minute(clock: Clock) -> None:
    slot = of_another_thread()
    _contexts.clear()
    second = waiter()
    assert slot.reader is None
    clock.now += 60
    assert turn_queue._wait(second, clock.now + 600, None) == 1.0
    clock.now += 0.25
    assert turn_queue._wait(second, clock.now + 600, None) == 0.0
    second.release()


def test_a_turn_whose_stream_was_dropped_in_a_cycle_holds_its_session_for_two_seconds(clock: Clock) -> None:
    cycle: list[object] = [of_another_thread()]
    cycle.append(cycle)
    _contexts.clear()
    second = waiter()
    gc.disable()
    try:
        del cycle
        clock.now += 2
        assert turn_queue._wait(second, clock.now + 600, None) == 1.0
        clock.now += 0.25
        # The look itself holds the slot, and no stream whose end would release it.
        turn_queue._wait(second, clock.now + 600, None)
        assert turn_queue._wait(second, clock.now + 600, None) == 0.0
    finally:
        gc.enable()
    second.release()


def read_elsewhere(slot: TurnSlot) -> None:
    """Read an event of the turn, as a flow that lives on."""
    elsewhere(contextvars.Context(), slot.begin_read)
    slot.end_read()


def test_a_thread_that_gave_its_turn_away_waits_for_whoever_reads_it_then(clock: Clock) -> None:
    slot = wait_for_turn("k")
    second = waiter()
    assert turn_queue._wait(second, clock.now + 600, None) == 0.25
    read_elsewhere(slot)
    clock.now += 0.375
    assert turn_queue._wait(second, clock.now + 600, None) == 1.0
    for one in (slot, second):
        one.release()


def test_a_thread_that_kept_its_turn_waits_a_quarter_of_a_second(clock: Clock) -> None:
    slot = wait_for_turn("k")
    second = waiter()
    assert_refused_after_a_quarter_of_a_second(second, clock)
    # From within the read, as a signal handler may ask, there is nothing to wait for.
    slot.begin_read()
    with pytest.raises(ConfigurationError, match="still has an open turn"):
        turn_queue._wait(second, clock.now + 600, None)
    for one in (slot, second):
        one.release()


def test_an_event_loop_waits_for_whoever_was_given_the_turn_of_its_thread(clock: Clock) -> None:
    slot = wait_for_turn("k")

    async def ask() -> None:
        second = waiter()
        assert turn_queue._wait(second, clock.now + 600, None) == 0.25
        read_elsewhere(slot)
        clock.now += 0.375
        assert turn_queue._wait(second, clock.now + 600, None) == 1.0
        second.release()

    asyncio.run(ask())
    slot.release()


@pytest.mark.parametrize("is_own", [True, False])
async def test_a_sync_call_waits_for_whoever_was_given_the_sync_turn_of_a_task(clock: Clock, is_own: bool) -> None:
    loop = asyncio.get_running_loop()
    slots: list[TurnSlot] = []
    is_done = asyncio.Event()

    async def opens() -> None:
        slots.append(wait_for_turn("k"))
        await is_done.wait()

    task = asyncio.create_task(opens())
    if is_own:
        slots.append(wait_for_turn("k"))
    else:
        await asyncio.sleep(0)
    (slot,) = slots
    second = waiter()
    assert turn_queue._wait(second, clock.now + 600, loop) == (0.25 if is_own else 1.0)
    clock.now += 0.375
    with pytest.raises(ConfigurationError):
        turn_queue._wait(second, clock.now + 600, loop)
    read_elsewhere(slot)
    assert turn_queue._wait(second, clock.now + 600, loop) == 1.0
    for one in (slot, second):
        one.release()
    is_done.set()
    task.cancel()


async def test_only_the_first_turn_in_the_line_is_about_to_be_closed(clock: Clock) -> None:
    first = await async_wait_for_turn("k")
    between = of_another_thread_waiting()
    last = waiter()
    assert turn_queue._wait(last, clock.now + 600, None) == 0.25
    first.release()
    assert turn_queue._wait(last, clock.now + 600, None) == 1.0
    for slot in (between, last):
        slot.release()


def test_a_turn_that_its_thread_may_have_dropped_is_looked_for_more_and_more_seldom(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[float] = []
    monkeypatch.setattr(turn_queue, "gc", SimpleNamespace(collect=lambda: looked.append(clock.now - 7)))
    slot, second = of_another_thread(), waiter()
    for _ in range(24):
        assert turn_queue._wait(second, clock.now + 600, None) == 1.0
        clock.now += 0.5
    assert looked == [2.5, 5.5, 11.5]
    for one in (slot, second):
        one.release()


def test_a_turn_that_its_thread_has_dropped_in_a_cycle_is_found_after_two_seconds(clock: Clock) -> None:
    class Stream:
        def __init__(self) -> None:
            self.slot = of_another_thread()
            self.itself = self

        def __del__(self) -> None:
            self.slot.release()

    gc.disable()
    try:
        Stream()
        second = waiter()
        clock.now += 2
        assert turn_queue._wait(second, clock.now + 600, None) == 1.0
        clock.now += 0.5
        assert turn_queue._wait(second, clock.now + 600, None) == 0
        second.release()
    finally:
        gc.enable()


async def test_a_task_that_the_reader_began_waits_two_seconds_for_it(clock: Clock) -> None:
    slot = await async_wait_for_turn("k")
    waits: list[float] = []

    async def ask() -> None:
        second = waiter()
        clock.now += 2
        waits.append(turn_queue._wait(second, clock.now + 600, None))
        clock.now += 0.25
        with pytest.raises(ConfigurationError, match="still has an open turn"):
            turn_queue._wait(second, clock.now + 600, None)
        second.release()

    await asyncio.create_task(ask())
    assert waits == [1.0]
    slot.release()


async def test_a_task_that_somebody_else_began_waits_on(clock: Clock) -> None:
    held: list[TurnSlot] = []
    done = asyncio.Event()

    async def read() -> None:
        held.append(await async_wait_for_turn("k"))
        await done.wait()

    reading = asyncio.create_task(read())
    await asyncio.sleep(0)
    second = waiter()
    clock.now += 30
    assert turn_queue._wait(second, clock.now + 600, None) == 1.0
    done.set()
    await reading
    held.pop().release()
    second.release()


async def test_a_sync_call_says_which_turn_its_event_loop_has_to_run(clock: Clock) -> None:
    loop = asyncio.get_running_loop()
    other = of_another_thread()
    other.loop = loop
    second = waiter()
    with pytest.raises(ConfigurationError, match="would block the event loop that has to finish the turn 'one'"):
        turn_queue._wait(second, clock.now + 600, loop)
    other.loop = None
    assert turn_queue._wait(second, clock.now + 600, loop) == 1.0
    for slot in (other, second):
        slot.release()


def test_readers_that_take_turns_are_each_known_once(clock: Clock) -> None:
    slot = of_another_thread()
    first = slot.reader
    context = contextvars.Context()
    for _ in range(3):
        context.run(slot.begin_read)
        assert slot.reader is not first
        slot.begin_read()
    assert len(slot._readers) == 3
    mine = slot.reader
    del context
    assert slot.reader is mine
    slot.read_by(mine)  # type: ignore[arg-type]
    assert len(slot._readers) == 3
    slot.release()


def test_who_takes_an_event_that_is_ready_is_the_reader(clock: Clock) -> None:
    slot = waiter()
    mine, one, other = slot.reader, contextvars.Context(), contextvars.Context()
    flows = [context.run(current_flow) for context in (one, other)]
    for context, flow in ((one, flows[0]), (other, flows[1]), (one, flows[0]), (other, flows[1])):
        context.run(slot.note_read)
        assert slot.reader is flow
    slot.note_read()
    assert slot.reader is mine
    unknown = contextvars.Context()
    unknown.run(slot.note_read)
    assert slot.reader is unknown.run(current_flow)
    slot.abandon()
    assert slot.reader is None
    one.run(slot.note_read)
    assert slot.reader is flows[0]
    slot.release()


async def test_a_task_that_takes_what_is_ready_may_take_its_time_while_the_one_that_opened_the_turn_waits(
    clock: Clock,
) -> None:
    slot = await async_wait_for_turn("k")
    slot.note_read()
    is_asked = asyncio.Event()

    async def show() -> None:
        slot.note_read()
        await is_asked.wait()

    async def ask() -> None:
        second = waiter()
        clock.now += 2.25
        try:
            assert turn_queue._wait(second, clock.now + 600, None) == 1.0
        finally:
            second.release()
            is_asked.set()

    await asyncio.gather(show(), ask())
    slot.release()


async def test_a_job_that_takes_what_is_ready_may_take_its_time_while_the_task_that_opened_the_turn_waits(
    clock: Clock,
) -> None:
    slot = wait_for_turn("k")
    slot.note_read()
    is_shown, is_asked = threading.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def show() -> None:
        slot.note_read()
        is_shown.set()
        assert is_asked.wait(10)

    def ask() -> None:
        assert is_shown.wait(10)
        # By then, the task waits for this job.
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).result(10)
        second = waiter()
        clock.now += 2.25
        try:
            assert turn_queue._wait(second, clock.now + 600, None) == 1.0
        finally:
            second.release()
            is_asked.set()

    await asyncio.gather(asyncio.to_thread(show), asyncio.to_thread(ask))
    slot.release()


def test_a_place_that_comes_free_wakes_the_next_that_is_still_wanted(clock: Clock) -> None:
    woken: list[str] = []

    def slot(name: str) -> TurnSlot:
        def wake(said: Callable[[str], None] = woken.append) -> None:
            said(name)

        return TurnSlot("k", name, "", wake)

    first, second, third = slot("first"), slot("second"), slot("third")
    first.release()
    assert woken == ["second"]
    first.release()
    assert woken == ["second", "second"]
    del second
    assert woken[2:] == ["third"]
    third.release()
    assert woken[3:] == []


def test_a_look_takes_no_longer_where_many_wait(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []

    def look(other: TurnSlot, blocked: asyncio.AbstractEventLoop | None) -> bool:
        looked.append(other.what)
        return False

    monkeypatch.setattr(turn_queue, "_waits_for_itself", look)
    first = of_another_thread()
    slots = [waiter() for _ in range(5)]
    assert [turn_queue._wait(slot, clock.now + 600, None) for slot in slots] == [1.0] * 5
    assert looked == ["the turn 'one'"] * 5
    for slot in (first, *slots):
        slot.release()


def test_who_stands_ahead_is_told_in_order_and_those_behind_are_not(clock: Clock) -> None:
    slots = [waiter() for _ in range(3)]
    line = slots[0].line
    assert list(line.ahead_of(slots[2].place)) == slots[:2]
    assert list(line.ahead_of(slots[0].place)) == []
    assert list(line.ahead_of(None)) == slots
    for slot in slots:
        slot.release()


@pytest.mark.parametrize("shift", [-1, 1])
def test_an_event_loop_of_another_thread_waits_for_the_reader_that_began_it(clock: Clock, shift: int) -> None:
    async def ask() -> float:
        second = waiter()
        wait = turn_queue._wait(second, clock.now + 600, None)
        second.release()
        return wait

    def read_and_ask() -> float:
        slot = wait_for_turn("k")
        reader = slot.reader
        assert reader is not None
        reader.thread += shift
        wait = asyncio.run(ask())
        slot.release()
        return wait

    assert contextvars.Context().run(read_and_ask) == 1.0
