"""What an event costs does not grow with its turn: calls are counted, those into C included, and not time.

A call may look at many characters. Where that matters, the characters are counted.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, SupportsIndex

import pytest

from chat_sessions.core import alignment, segments
from chat_sessions.core.alignment import align
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


class Counted(str):
    """Words that count how many characters are looked at, in them and in what is made of them."""

    __slots__ = ()
    looked_at = 0

    @classmethod
    def note(cls, words: str) -> Counted:
        cls.looked_at += len(words)
        return cls(words)

    def __getitem__(self, key: Any) -> Counted:
        return self.note(super().__getitem__(key))

    def split(self, sep: str | None = None, maxsplit: SupportsIndex = -1) -> list[str]:
        self.note(self)
        return super().split(sep, maxsplit)

    def strip(self, *_: Any) -> Counted:
        return self.note(super().strip())

    def lstrip(self, *_: Any) -> Counted:
        return self.note(super().lstrip())

    def removeprefix(self, prefix: str, /) -> Counted:
        return self.note(super().removeprefix(prefix))

    def startswith(self, prefix: Any, *at: Any) -> bool:
        # What is too long is not compared.
        self.note(prefix if len(prefix) <= len(self) else "")
        return super().startswith(prefix, *at)

    def rfind(self, words: str, *at: Any) -> int:
        self.note(str(self)[at[0] if at else 0 :])
        return super().rfind(words, *at)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], int]:
    """Returns how many characters some work looks at."""
    whole = segments.bare

    def counting(words: str) -> str:
        return Counted(whole(words))

    for module in (alignment, segments):
        monkeypatch.setattr(module, "bare", counting)

    def count(work: Callable[[], object]) -> int:
        Counted.looked_at = 0
        work()
        return Counted.looked_at

    return count


def said(kind: type[Text | TextDelta], words: str) -> Event:
    return kind.model_construct(content=Counted(words))


def apart(kind: type[Text | TextDelta], count: int) -> list[Event]:
    """Many segments, with a tool after each."""
    return [event for number in range(count) for event in (said(kind, f"word{number}  "), call(number))]


def at_once(kind: type[Text | TextDelta], count: int) -> list[Event]:
    """One segment of the same words."""
    return [said(kind, " ".join(f"word{number}" for number in range(count)))]


Sides = tuple[list[Event], list[Event]]


def many_stored_in_one_live(count: int) -> Sides:
    """A run of deltas whose parts have finals of their own."""
    return at_once(TextDelta, count), apart(Text, count)


def one_stored_over_many_live(count: int) -> Sides:
    """Runs that the session shows as one segment."""
    return apart(TextDelta, count), at_once(Text, count)


def beside_another(count: int) -> Sides:
    """As the first, beside a segment that the session does not show and that stays open."""
    return [said(Text, "nobody " * count), *at_once(Text, count)], apart(Text, count)


def no_correction(count: int) -> Sides:
    """Finals that might each correct a long run that was cut."""
    return [said(TextDelta, " " * count + "other")], apart(Text, count)


@pytest.mark.parametrize(
    "sides",
    [many_stored_in_one_live, one_stored_over_many_live, beside_another, no_correction],
    ids=lambda sides: sides.__name__,
)
def test_two_sides_that_cut_the_same_words_apart_differently_are_compared_once(
    sides: Callable[[int], Sides], counted: Callable[[Callable[[], object]], int]
) -> None:
    few, many = sides(FEW), sides(MANY)
    before, after = counted(lambda: align(*few)), counted(lambda: align(*many))
    # The numbers in the words grow, too.
    assert after <= before * (MANY // FEW + 2), f"{FEW} segments take {before} characters, {MANY} take {after}"


def test_a_late_final_is_not_looked_for_in_the_whole_of_a_long_run(
    counted: Callable[[Callable[[], object]], int],
) -> None:
    def folded(count: int) -> None:
        fold = TurnFold("q")
        fold.add(TextDelta(content="a rose is a rose. " * count))
        fold.add(call(0))
        for number in range(count):
            fold.add(Text(content=f"zz{number}"))

    before, after = counted(lambda: folded(FEW)), counted(lambda: folded(MANY))
    assert after <= before * (MANY // FEW + 2), f"{FEW} finals take {before} characters, {MANY} take {after}"


def in_order(parts: list[str]) -> list[Event]:
    """Finals of the parts, from the first on."""
    return [said(Text, part) for part in parts]


def from_the_end(parts: list[str]) -> list[Event]:
    """Finals of the parts, from the last on."""
    return [said(Text, part) for part in reversed(parts)]


def with_more(parts: list[str]) -> list[Event]:
    """Finals of the parts, from the first on, while the run grows as fast as they come."""
    return [event for part in parts for event in (said(Text, part), said(TextDelta, part))]


FINALS = pytest.mark.parametrize("finals", [in_order, from_the_end, with_more], ids=lambda finals: finals.__name__)


def folded(finals: Callable[[list[str]], list[Event]], count: int) -> tuple[Event, ...]:
    """What a run of this many parts and their finals come to."""
    parts = [f"part{number}. " for number in range(count)]
    fold = TurnFold("q")
    for event in [said(TextDelta, "".join(parts)), *finals(parts)]:
        fold.add(event)
    return fold.turn.events


@FINALS
def test_finals_of_the_parts_of_one_long_run_each_take_theirs(finals: Callable[[list[str]], list[Event]]) -> None:
    said_once = [event.content for event in folded(finals, MANY) if isinstance(event, Text)]
    assert said_once == [f"part{number}. " for number in range(MANY)]


@pytest.mark.parametrize("finals", [in_order, from_the_end], ids=lambda finals: finals.__name__)
def test_a_final_does_not_copy_what_it_leaves_of_a_long_run(
    finals: Callable[[list[str]], list[Event]], counted: Callable[[Callable[[], object]], int]
) -> None:
    before, after = counted(lambda: folded(finals, FEW)), counted(lambda: folded(finals, MANY))
    # The numbers in the words grow, too.
    assert after <= before * (MANY // FEW + 2), f"{FEW} finals take {before} characters, {MANY} take {after}"


@FINALS
def test_white_space_is_looked_for_once_in_each_word_of_a_long_run(
    finals: Callable[[list[str]], list[Event]], monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at: list[str] = []
    whole = segments.bare

    def looking(words: str) -> str:
        looked_at.append(words)
        return whole(words)

    monkeypatch.setattr(segments, "bare", looking)
    folded(finals, MANY)
    # The run, its finals, and what each cuts off and counts.
    assert sum(map(len, looked_at)) <= 5 * len("part100. ") * MANY


@pytest.mark.parametrize(
    ("live", "stored", "is_live"),
    [
        pytest.param("hello world ", "hellx worlx ", True, id="other words everywhere"),
        pytest.param("aaaaa", "aaaaa", False, id="the same words everywhere"),
    ],
)
def test_words_around_a_gap_are_looked_for_in_a_bounded_number_of_steps(live: str, stored: str, is_live: bool) -> None:
    lost = UnknownEvent(raw={"type": "text_delta", "content": None})

    def steps(count: int) -> int:
        mine: list[Event] = [TextDelta(content=f"b{live * count}z")]
        theirs: list[Event] = [TextDelta(content=stored * count), Stop(usage=Usage(), is_error=False)]
        (mine if is_live else theirs).insert(0, lost)
        return calls_of(lambda: align(mine, theirs))

    assert steps(2000) < 1.5 * steps(1000)


@pytest.mark.parametrize("is_live", [True, False], ids=["live", "session"])
def test_a_place_by_chance_is_not_looked_for_in_the_whole_of_long_words(is_live: bool) -> None:
    lost = UnknownEvent(raw={"type": "text_delta", "content": None})

    def steps(count: int) -> int:
        some: list[Event] = [TextDelta(content="x "), lost, TextDelta(content=" e")]
        whole: list[Event] = [TextDelta(content="x " + "be " * count)]
        mine, theirs = (some, whole) if is_live else (whole, some)
        return calls_of(lambda: align(mine, [*theirs, Stop(usage=Usage(), is_error=False)]))

    assert steps(8000) < 1.5 * steps(2000)
