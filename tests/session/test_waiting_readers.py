"""Whoever reads a turn may not wait for it, and one that nobody reads does not hold its session for ever."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import gc
import signal
import threading
import weakref
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor, ThreadPoolExecutor, as_completed
from typing import TypeVar

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest

from chat_sessions.core.errors import APITimeoutError, ConfigurationError
from chat_sessions.session import turn_queue, wait_chain
from chat_sessions.session.turn_queue import TurnSlot, async_wait_for_turn, wait_for_turn
from chat_sessions.session.waiting import Flow, current_flow
from tests.session.test_turn_queue import in_thread, lines_are_empty_afterwards, until_waiting, waiting

__all__ = ["lines_are_empty_afterwards"]

_Value = TypeVar("_Value")


def read(slot: TurnSlot) -> None:
    """Read an event of the turn, as the calling flow."""
    slot.begin_read()
    slot.end_read()


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


async def test_what_the_reader_hands_to_a_worker_thread_may_not_wait_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turn_queue, "_READER_WAITS", 0.0)
    slot = await async_wait_for_turn("k")
    with pytest.raises(ConfigurationError, match="still has an open turn"):
        await asyncio.to_thread(wait_for_turn, "k")
    slot.release()


def job(work: Callable[[], _Value]) -> asyncio.Future[_Value]:
    return asyncio.get_running_loop().run_in_executor(None, contextvars.copy_context().run, work)


@pytest.mark.parametrize("run", [asyncio.to_thread, anyio.to_thread.run_sync, job], ids=["to_thread", "anyio", "job"])
async def test_two_jobs_that_a_task_waits_for_take_turns(
    monkeypatch: pytest.MonkeyPatch, run: Callable[[Callable[[], None]], Awaitable[None]]
) -> None:
    for constant in ("_READER_WAITS", "_BEING_LEFT", "_TICK"):
        monkeypatch.setattr(turn_queue, constant, 0.01)
    is_open, looked = threading.Event(), threading.Event()
    look = Flow.waits_for_caller

    def noted(flow: Flow) -> bool:
        if not (found := look(flow)):
            looked.set()
        return found

    def read_slowly() -> None:
        slot = wait_for_turn("k")
        read(slot)
        is_open.set()
        assert looked.wait(10)
        slot.release()

    def ask() -> None:
        assert is_open.wait(10)
        try:
            asked()
        finally:
            looked.set()

    monkeypatch.setattr(Flow, "waits_for_caller", noted)
    # Both jobs have the context of a task that has asked before.
    current_flow()
    await asyncio.gather(run(read_slowly), run(ask))


@pytest.mark.parametrize("ask", [lambda: async_refused(), lambda: asyncio.to_thread(refused)], ids=["task", "job"])
async def test_a_task_may_not_wait_for_what_its_job_has_opened(
    monkeypatch: pytest.MonkeyPatch, ask: Callable[[], Awaitable[bool]]
) -> None:
    monkeypatch.setattr(turn_queue, "_READER_WAITS", 0.0)
    monkeypatch.setattr(turn_queue, "_TICK", 0.01)
    is_waiting = threading.Event()
    asyncio.get_running_loop().call_soon(is_waiting.set)

    def opens() -> TurnSlot:
        slot = wait_for_turn("k")
        slot.begin_read()
        # An answer from the network comes no sooner.
        assert is_waiting.wait(10)
        slot.end_read()
        return slot

    slot = await asyncio.to_thread(opens)
    await ask()
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


def refused() -> bool:
    """Whether asking for the turn is refused as a wait for itself. A wait that nobody finds fails the test."""
    with pytest.raises(ConfigurationError, match="still has an open turn"):
        wait_for_turn("k", limit=30).release()
    return True


async def async_refused() -> bool:
    with pytest.raises(ConfigurationError, match="still has an open turn"):
        (await async_wait_for_turn("k", limit=30)).release()
    return True


async def with_task_group() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(async_refused())


async def with_anyio() -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(async_refused)


async def as_each_completes() -> None:
    for done in asyncio.as_completed([async_refused(), asyncio.sleep(0)]):
        await done


async def in_a_task_of_a_task() -> None:
    await asyncio.create_task(with_task_group())


@pytest.mark.parametrize(
    "wait",
    [
        pytest.param(lambda: asyncio.create_task(async_refused()), id="await"),
        pytest.param(lambda: asyncio.wait_for(async_refused(), 30), id="wait_for"),
        pytest.param(lambda: asyncio.gather(async_refused(), asyncio.sleep(0)), id="gather"),
        pytest.param(lambda: asyncio.shield(async_refused()), id="shield"),
        pytest.param(lambda: asyncio.wait([asyncio.create_task(async_refused())]), id="wait"),
        pytest.param(with_task_group, id="TaskGroup"),
        pytest.param(with_anyio, id="anyio"),
        pytest.param(as_each_completes, id="as_completed"),
        pytest.param(in_a_task_of_a_task, id="a task of a task"),
        pytest.param(lambda: anyio.to_thread.run_sync(refused), id="a thread of anyio"),
        pytest.param(lambda: anyio.to_thread.run_sync(anyio.from_thread.run, async_refused), id="there and back"),
    ],
)
async def test_a_task_that_the_reader_waits_for_may_not_wait_for_the_reader(
    monkeypatch: pytest.MonkeyPatch, wait: Callable[[], Awaitable[object]]
) -> None:
    monkeypatch.setattr(turn_queue, "_READER_WAITS", 0.0)
    monkeypatch.setattr(turn_queue, "_TICK", 0.01)
    slot = await async_wait_for_turn("k")
    read(slot)
    await wait()
    slot.release()


@pytest.mark.parametrize(
    "begin",
    [
        pytest.param(lambda: asyncio.create_task(async_asked()), id="a task"),
        pytest.param(lambda: asyncio.create_task(asyncio.to_thread(asked)), id="a thread"),
        pytest.param(lambda: asyncio.get_running_loop().run_in_executor(None, asked), id="a job"),
    ],
)
async def test_what_the_reader_began_waits_for_its_turn_while_the_reader_is_slow(
    monkeypatch: pytest.MonkeyPatch, begin: Callable[[], asyncio.Future[None]]
) -> None:
    for constant in ("_READER_WAITS", "_BEING_LEFT", "_TICK"):
        monkeypatch.setattr(turn_queue, constant, 0.01)
    looked, looks = asyncio.Event(), 0
    loop, look = asyncio.get_running_loop(), Flow.waits_for_caller

    def noted(flow: Flow) -> bool:
        nonlocal looks
        looks += 1
        if looks == 2:
            loop.call_soon_threadsafe(looked.set)
        return look(flow)

    monkeypatch.setattr(Flow, "waits_for_caller", noted)
    slot = await async_wait_for_turn("k")
    read(slot)
    begun = begin()
    await looked.wait()
    assert not begun.done()
    slot.release()
    await begun


@pytest.mark.parametrize("call", ["call_soon", "add_done_callback", "add_signal_handler"])
async def test_a_callback_of_the_event_loop_may_not_wait_for_a_task_of_it(call: str) -> None:
    held: list[TurnSlot] = []
    in_thread(lambda: held.append(wait_for_turn("k"))).join()
    waiter = asyncio.create_task(async_wait_for_turn("k", "the turn 'two'"))
    await asyncio.sleep(0)
    loop, said = asyncio.get_running_loop(), asyncio.get_running_loop().create_future()

    def ask(*_: object) -> None:
        with pytest.raises(ConfigurationError) as caught:
            wait_for_turn("k", limit=30)
        said.set_result(str(caught.value))

    # Without the context of this task, as another library's callback.
    empty = contextvars.Context()
    if call == "call_soon":
        loop.call_soon(ask, context=empty)
    elif call == "add_done_callback":
        asyncio.ensure_future(asyncio.sleep(0)).add_done_callback(ask, context=empty)
    else:
        empty.run(loop.add_signal_handler, signal.SIGUSR1, ask)
        signal.raise_signal(signal.SIGUSR1)
    try:
        assert "would block the event loop that has to finish the turn 'two'" in await said
    finally:
        loop.remove_signal_handler(signal.SIGUSR1)
    held.pop().release()
    (await waiter).release()


def asked() -> None:
    wait_for_turn("k", limit=30).release()


async def async_asked() -> None:
    (await async_wait_for_turn("k", limit=30)).release()


def thread_of(work: Callable[[], object]) -> tuple[threading.Thread, list[object]]:
    said: list[object] = []
    thread = threading.Thread(target=lambda: said.append(work()))
    thread.start()
    return thread, said


def joined(work: Callable[[], object] = refused) -> object:
    thread, said = thread_of(work)
    thread.join()
    return said[0]


def joined_again_and_again() -> object:
    thread, said = thread_of(refused)
    while thread.is_alive():
        thread.join(0.01)
    return said[0]


def shut_down(_: Executor) -> object:
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(refused)
    return future.result()


def waited_for(pool: Executor) -> object:
    future = pool.submit(refused)
    concurrent.futures.wait([future])
    return future.result()


@pytest.mark.parametrize(
    "ask",
    [
        pytest.param(lambda pool: joined(), id="join"),
        pytest.param(lambda pool: joined_again_and_again(), id="join with a timeout"),
        pytest.param(lambda pool: joined(lambda: asyncio.run(async_refused())), id="a loop in a thread"),
        pytest.param(lambda pool: pool.submit(refused).result(), id="result"),
        pytest.param(lambda pool: pool.submit(refused).result(timeout=30), id="result with a timeout"),
        pytest.param(lambda pool: pool.submit(refused).exception() is None, id="exception"),
        pytest.param(lambda pool: pool.submit(asyncio.run, async_refused()).result(), id="a loop in a job"),
        pytest.param(lambda pool: next(pool.map(lambda _: refused(), [1])), id="map"),
        pytest.param(waited_for, id="wait"),
        pytest.param(lambda pool: next(as_completed([pool.submit(refused)])).result(), id="as_completed"),
        pytest.param(shut_down, id="shutdown"),
        pytest.param(lambda pool: pool.submit(lambda: pool.submit(refused).result()).result(), id="a job of a job"),
        pytest.param(lambda pool: pool.submit(joined).result(), id="a thread of a job"),
        pytest.param(lambda pool: joined(lambda: pool.submit(refused).result()), id="a job of a thread"),
    ],
)
def test_a_thread_or_a_job_that_the_reader_waits_for_may_not_wait_for_the_reader(
    monkeypatch: pytest.MonkeyPatch, ask: Callable[[Executor], object]
) -> None:
    monkeypatch.setattr(turn_queue, "_READER_WAITS", 0.0)
    monkeypatch.setattr(turn_queue, "_TICK", 0.01)
    slot = wait_for_turn("k")
    read(slot)
    with ThreadPoolExecutor(2) as pool:
        assert ask(pool) is True
    slot.release()


def in_a_pool_of_its_own() -> bool:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(refused).result()


def in_a_loop_of_its_own() -> bool:
    loop = asyncio.new_event_loop()
    thread = in_thread(loop.run_forever)
    try:
        return contextvars.Context().run(asyncio.run_coroutine_threadsafe, async_refused(), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def of_a_task(job: asyncio.Future[bool]) -> bool:
    async def wait() -> None:
        await job

    # Without the reader's context, as another library's task may be.
    await asyncio.get_running_loop().create_task(wait(), context=contextvars.Context())
    return job.result()


async def waited_for_by_the_loop(job: asyncio.Future[bool]) -> bool:
    await asyncio.wait([job])
    return job.result()


@pytest.mark.parametrize(
    "wait",
    [
        pytest.param(lambda job: job, id="await"),
        pytest.param(lambda job: asyncio.wait_for(job, 30), id="wait_for"),
        pytest.param(lambda job: asyncio.gather(job, asyncio.sleep(0)), id="gather"),
        pytest.param(asyncio.shield, id="shield"),
        pytest.param(waited_for_by_the_loop, id="wait"),
        pytest.param(of_a_task, id="a task"),
    ],
)
@pytest.mark.parametrize(
    "ask",
    [
        pytest.param(refused, id="sync"),
        pytest.param(lambda: asyncio.run(async_refused()), id="async"),
        pytest.param(joined, id="a thread"),
        pytest.param(in_a_pool_of_its_own, id="a job"),
        pytest.param(in_a_loop_of_its_own, id="a task of another loop"),
    ],
)
async def test_an_executors_job_that_a_task_waits_for_may_not_wait_for_the_task(
    monkeypatch: pytest.MonkeyPatch,
    ask: Callable[[], bool],
    wait: Callable[[asyncio.Future[bool]], Awaitable[bool | list[bool]]],
) -> None:
    monkeypatch.setattr(turn_queue, "_READER_WAITS", 0.0)
    monkeypatch.setattr(turn_queue, "_TICK", 0.01)
    slot = await async_wait_for_turn("k")
    read(slot)
    answer = await wait(asyncio.get_running_loop().run_in_executor(None, ask))
    assert answer is True or answer == [True, None]
    slot.release()


@pytest.mark.parametrize("together", [asyncio.gather, lambda *both: asyncio.wait(both)], ids=["gather", "wait"])
async def test_an_executors_job_beside_the_reader_waits_while_the_reader_is_slow(
    monkeypatch: pytest.MonkeyPatch, together: Callable[..., Awaitable[object]]
) -> None:
    looked: asyncio.Queue[bool] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    look = Flow.waits_for_caller

    def noted(flow: Flow) -> bool:
        found = look(flow)
        loop.call_soon_threadsafe(looked.put_nowait, found)
        return found

    monkeypatch.setattr(turn_queue, "_READER_WAITS", 0.0)
    monkeypatch.setattr(Flow, "waits_for_caller", noted)
    opened = asyncio.Event()

    async def read_slowly() -> None:
        slot = await async_wait_for_turn("k")
        read(slot)
        opened.set()
        assert await looked.get() is False
        slot.release()

    reading = asyncio.create_task(read_slowly())
    await opened.wait()
    asking = loop.run_in_executor(None, lambda: wait_for_turn("k").release())
    await together(reading, asking)
    await asyncio.gather(reading, asking)


def test_a_look_at_what_the_reader_waits_for_keeps_nothing_alive() -> None:
    kept: list[weakref.ref[Flow]] = []

    def look() -> None:
        local = Flow(None, None)
        kept.append(weakref.ref(local))
        current_flow().waits_for_caller()

    gc.disable()
    try:
        look()
        joined(lambda: current_flow().waits_for_caller() or True)
        assert kept[0]() is None
    finally:
        gc.enable()


async def test_a_read_in_a_job_keeps_nothing_alive_that_the_job_was_given() -> None:
    slot = await async_wait_for_turn("k")

    class Given:
        pass

    def job(given: Given) -> weakref.ref[Given]:
        read(slot)
        return weakref.ref(given)

    # The worker threads are kept for the next job.
    given = await anyio.to_thread.run_sync(job, Given())
    gc.collect()
    assert given() is None
    slot.release()


def test_whether_a_thread_that_waits_for_nobody_waits_is_told_from_its_own_stack(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    flows: list[Flow] = []
    is_there, may_go = threading.Event(), threading.Event()

    def show() -> None:
        flows.append(current_flow())
        is_there.set()
        may_go.wait()

    def look(*_: object) -> bool:
        raise AssertionError

    showing = in_thread(show)
    is_there.wait()
    monkeypatch.setattr(wait_chain, "_is_reached", look)
    assert not flows[0].waits_for_caller()
    may_go.set()
    showing.join()


def test_a_signal_handler_may_not_wait_for_the_wait_that_it_interrupts() -> None:
    held: list[TurnSlot] = []
    in_thread(lambda: held.append(wait_for_turn("k"))).join()
    held[0].is_reading = True
    main = threading.get_ident()

    def interrupt(*_: object) -> None:
        assert refused()
        held.pop().release()

    def send() -> None:
        until_waiting("k", 2)
        signal.pthread_kill(main, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, interrupt)
    sending = in_thread(send)
    try:
        wait_for_turn("k").release()
    finally:
        sending.join()
        signal.signal(signal.SIGUSR1, before)


def test_a_thread_waits_while_the_reader_waits_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turn_queue, "_READER_WAITS", 0.0)
    monkeypatch.setattr(turn_queue, "_TICK", 0.01)
    slot = wait_for_turn("k")
    read(slot)
    looks = threading.Semaphore(0)
    look = Flow.waits_for_caller

    def noted(flow: Flow) -> bool:
        looks.release()
        return look(flow)

    monkeypatch.setattr(Flow, "waits_for_caller", noted)
    asking = in_thread(lambda: wait_for_turn("k").release())

    def seen_twice() -> None:
        looks.acquire()
        looks.acquire()

    in_thread(seen_twice).join()
    slot.release()
    asking.join()


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
    with pytest.raises(ConfigurationError, match="would block the event loop that has to finish the turn 'two'"):
        wait_for_turn("k")
    held.pop().release()
    (await waiter).release()


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
