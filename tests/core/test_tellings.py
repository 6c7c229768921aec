"""A turn is the same however it was told and stored, and wherever its stream was cut: see docs/segments.md."""

from __future__ import annotations

import os
from collections.abc import Iterable
from random import Random

import pytest

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
from chat_sessions.core.turn import TurnFold, events_of, replay
from tests.core.tellings import STOP, Happened, Manner, Segment, happened

ASKED = UserInput(content="q")
# Drawn by number, so that a failure is the same one at each run.
CASES = {"long": 1_000_000, "quick": 200}.get(os.environ.get("HYPOTHESIS_PROFILE", ""), 3_000)


def bare(words: str) -> str:
    return "".join(words.split())


def words(events: Iterable[Event], *kinds: type[Event]) -> str:
    return bare("".join(event.content for event in events if isinstance(event, kinds)))  # type: ignore[union-attr]


def order(items: Iterable[Segment | Event], manner: Manner | None = None) -> list[tuple[str, str]]:
    """What came after what, as far as this manner shows it: words of one kind, tool events by their ids."""
    found: list[tuple[str, str]] = []
    for item in items:
        if isinstance(item, Stop | UnknownEvent | UserInput):
            continue
        match item:
            case Segment():
                kind, content = "text" if item.is_text else "thinking", bare(item.words)
            case Text() | TextDelta():
                kind, content = "text", bare(item.content)
            case Thinking() | ThinkingDelta():
                kind, content = "thinking", bare(item.content)
            case ToolCall() | ToolResult():
                kind, content = item.type, item.call_id
        if manner and (manner.hides_thinking if kind == "thinking" else kind != "text" and manner.hides_tools):
            continue
        if found and found[-1][0] == kind in ("text", "thinking"):
            found[-1] = kind, found[-1][1] + content
        else:
            found.append((kind, content))
    return found


def said(items: Happened, *, is_text: bool) -> str:
    return bare("".join(item.words for item in items if isinstance(item, Segment) and item.is_text is is_text))


def check_whole(items: Happened, manner: Manner, told: list[Event]) -> None:
    """Read without a break, the turn is what happened."""
    made = TurnFold("q")
    shown = [new for event in told for new in made.add(event)]
    visible = [item for item in items if manner.shows(item)]
    assert order(made.turn.events) == order(visible)
    assert [made.turn] == replay([ASKED, *told])
    for kind, of_turn in ((TextDelta, made.turn.text), (ThinkingDelta, made.turn.thinking)):
        displayed = words(shown, kind)
        # A final that goes further than its deltas may show its end behind other words.
        assert sorted(displayed) == sorted(bare(of_turn)) if manner.stops_short else displayed == bare(of_turn)


def check_cut(items: Happened, manner: Manner, told: list[Event], stored_manner: Manner, stored: list[Event]) -> None:
    """Cut, and read back from its session, the turn is what both sides together show of what happened."""
    made = TurnFold("q")
    shown = [new for event in told for new in made.add(event)]
    broken = made.turn
    delivery = decide(live=broken, history=[ASKED, *stored], turns_before=0)
    assert (delivery.outcome, delivery.position) == ("finished", 0)
    assert delivery.turn is not None
    shown += events_of(made.adopt(delivery.turn))
    turn = made.turn
    assert turn.is_complete
    assert bare(turn.text) == said(items, is_text=True)
    assert bare(turn.thinking) == (
        bare(broken.thinking) if stored_manner.hides_thinking else said(items, is_text=False)
    )
    assert order(turn.events, stored_manner) == order([item for item in items if stored_manner.shows(item)])
    if not stored_manner.hides_tools:
        whole = replay([ASKED, *(item for item in items if not isinstance(item, Segment)), STOP])
        assert turn.tool_runs == whole[0].tool_runs
    for kind, of_turn in ((TextDelta, turn.text), (ThinkingDelta, turn.thinking)):
        displayed = words(shown, kind)
        assert sorted(displayed) == sorted(bare(of_turn)) if manner.stops_short else displayed == bare(of_turn)
    # The same, event by event, for whoever adds what is missing to a turn that they hold.
    added = TurnFold.resume(broken)
    for missing in align(broken.events, delivery.turn.events).missing:
        added.add(missing.event)
    assert bare(added.turn.text) == bare(turn.text)


def check(number: int) -> None:
    """Draw the case of this number, and compare its tellings."""
    random = Random(number)
    items = happened(random)
    live, other = Manner.draw(random), Manner.draw(random)
    told, stored = live.tell(items, random), other.tell(items, random)
    cut = random.randrange(len(told))
    try:
        check_whole(items, live, told)
        check_whole(items, other, stored)
        # Deltas that lack the end of their segment are no beginning of a history that joins segments.
        if not (live.stops_short and (other.hides_tools or other.hides_thinking)):
            check_cut(items, live, told[:cut], other, stored)
    except AssertionError as error:
        error.add_note(f"case {number}: {items}\nlive, cut at {cut}: {told}\nstored: {stored}")
        raise


@pytest.mark.timeout(7200 if CASES > 100_000 else 60)
def test_text_is_there_once_however_it_was_told_and_stored_and_wherever_it_was_cut() -> None:
    for number in range(CASES):
        check(number)


# Words with white space at their ends, and white space alone: what a reader sees must not hold it twice either.
PIECES = ("It ", "\n\n ", "\u2028 ", "a ", "rose ", " ", "\n")


def check_lagging(number: int) -> None:
    """Look at a session twice before it shows the whole turn: every character is shown once."""
    random = Random(number)
    said = [[random.choice(PIECES) for _ in range(random.randint(1, 4))] for _ in range(random.randint(1, 3))]

    def tell(*, deltas: bool, finals: bool) -> list[Event]:
        told: list[Event] = []
        for at, pieces in enumerate(said):
            delta, final = (ThinkingDelta, Thinking) if at % 2 else (TextDelta, Text)
            told += [delta(content=piece) for piece in pieces] if deltas else []
            told += [final(content="".join(pieces))] if finals else []
        return told

    live = tell(deltas=True, finals=random.random() < 0.5)
    stored = tell(**random.choice(({"deltas": True, "finals": False}, {"deltas": False, "finals": True})))
    cut = random.randint(0, len(live))
    looks = sorted(random.choices(range(len(stored)), k=2))
    made = TurnFold("q")
    shown = [new for event in live[:cut] for new in made.add(event)]
    for look in looks:
        shown += events_of(made.adopt(replay([ASKED, *stored[:look]])[0]))
    shown += events_of(made.adopt(replay([ASKED, *stored, STOP])[0]))
    displayed = "".join(event.content for event in shown if isinstance(event, TextDelta))
    text = "".join(piece for pieces in said[::2] for piece in pieces)
    assert (displayed, made.turn.text) == (text, text), (number, live[:cut], stored, looks)


@pytest.mark.timeout(7200 if CASES > 100_000 else 60)
def test_white_space_is_shown_once_while_the_session_lags_behind() -> None:
    for number in range(CASES):
        check_lagging(number)
