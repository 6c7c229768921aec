"""What an event costs does not grow with its turn: calls are counted, those into C included, and not time."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator, Sequence

import pytest

from chat_sessions.core.delivery import decide
from chat_sessions.core.events import (
    Event,
    Stop,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ToolCall,
    ToolResult,
    UnknownEvent,
    UserInput,
)
from chat_sessions.core.models import Usage
from chat_sessions.core.turn import TurnFold, replay

FEW, MANY = 50, 200
Rounds = Callable[[int], Iterator[Event]]


def calls_of(work: Callable[[], object]) -> int:
    """The calls that this makes."""
    calls = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    gc.collect()
    gc.disable()
    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
        gc.enable()
    return calls


def call(number: int) -> ToolCall:
    return ToolCall(call_id=f"c{number}", name="n", arguments={"i": number})


def cut_by_thoughts(count: int) -> Iterator[Event]:
    """Texts that a thought cuts in two, each with its final."""
    for number in range(count):
        yield TextDelta(content=f"a{number} ")
        yield ThinkingDelta(content="x")
        yield TextDelta(content=f"b{number}")
        yield Text(content=f"a{number} b{number}")


def late_finals(count: int) -> Iterator[Event]:
    """Texts with a tool after each, and all their finals at the end."""
    for number in range(count):
        yield TextDelta(content=f"a{number}.")
        yield call(number)
    for number in range(count):
        yield Text(content=f"a{number}.")


def finals_of_other_words(count: int) -> Iterator[Event]:
    """Texts with a tool after each, and then finals of words that nobody has said."""
    for number in range(count):
        yield TextDelta(content=f"a{number}")
        yield call(number)
    for number in range(count):
        yield Text(content=f"zz{number}")


def the_same_words(count: int) -> Iterator[Event]:
    """The same words again and again, with a tool between them, live and as finals."""
    for number in range(count):
        yield TextDelta(content="the same")
        yield call(number)
    for _ in range(count):
        yield Text(content="the same")


def white_space(count: int) -> Iterator[Event]:
    """Segments of white space, and finals of it."""
    for number in range(count):
        yield TextDelta(content=" ")
        yield call(number)
    for _ in range(count):
        yield Text(content=" " * 60)


def tools_without_end(count: int) -> Iterator[Event]:
    """Calls of which none has its result before the last has begun."""
    yield from (call(number) for number in range(count))
    yield from (ToolResult(call_id=f"c{number}", name="n", result="x") for number in range(count))


def one_call_id(count: int) -> Iterator[Event]:
    """Calls and results that all have the same id."""
    for _ in range(count):
        yield ToolCall(call_id="c", name="n", arguments={})
        yield ToolResult(call_id="c", name="n", result="x")


def whole_segments(count: int) -> Iterator[Event]:
    """Finals alone, with thoughts and unknown events between them."""
    for number in range(count):
        yield Text(content=f"a{number}")
        yield UnknownEvent(raw={"type": "cite", "i": number})
        yield Thinking(content=f"t{number}")


ROUNDS = pytest.mark.parametrize(
    "rounds",
    [
        cut_by_thoughts,
        late_finals,
        finals_of_other_words,
        the_same_words,
        white_space,
        tools_without_end,
        one_call_id,
        whole_segments,
    ],
    ids=lambda rounds: rounds.__name__,
)


def assert_flat(rounds: Rounds, work: Callable[[Sequence[Event]], object]) -> None:
    """Four times as many rounds take no more than five times the calls."""
    few, many = list(rounds(FEW)), list(rounds(MANY))
    before, after = calls_of(lambda: work(few)), calls_of(lambda: work(many))
    assert after <= before * (MANY // FEW + 1), f"{FEW} rounds take {before} calls, {MANY} take {after}"


@ROUNDS
def test_an_event_costs_the_same_however_long_its_turn_is(rounds: Rounds) -> None:
    def folded(events: Sequence[Event]) -> None:
        fold = TurnFold("q")
        for event in events:
            fold.updates(event)

    assert_flat(rounds, folded)


@ROUNDS
def test_a_turn_of_the_history_costs_what_its_events_do(rounds: Rounds) -> None:
    assert_flat(rounds, lambda events: replay([UserInput(content="q"), *events]))


@ROUNDS
def test_a_look_up_costs_what_its_events_do(rounds: Rounds) -> None:
    def looked_up(events: Sequence[Event]) -> None:
        fold = TurnFold("q")
        for event in events[: len(events) // 2]:
            fold.add(event)
        history = [UserInput(content="q"), *events, Stop(usage=Usage(), is_error=False)]
        found = decide(live=fold.turn, history=history, turns_before=0).turn
        assert found is not None
        fold.adopt(found)

    assert_flat(rounds, looked_up)
