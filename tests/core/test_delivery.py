"""After a broken stream: what the session shows decides, and what is missing makes the turn whole."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat_sessions.core.delivery import Delivery, decide, missing_events
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
from chat_sessions.core.turn import Turn, TurnFold
from tests.core.turns import STOP, canonical_turns, tellings

CALL = ToolCall(call_id="1", name="t", arguments={})
RESULT = ToolResult(call_id="1", name="t", result=1)


def live(*events: Event, prompt: str = "q") -> Turn:
    made = TurnFold(prompt)
    for event in events:
        made.add(event)
    return made.turn


def asked(prompt: str, *events: Event) -> list[Event]:
    return [UserInput(content=prompt), *events]


@given(st.data())
def test_a_turn_cut_anywhere_is_made_whole_from_its_history_and_shows_nothing_twice(data: st.DataObject) -> None:
    canonical = data.draw(canonical_turns())
    told = data.draw(tellings(canonical))
    cut = told[: data.draw(st.integers(0, len(told) - 1))]
    history = asked("before", Text(content="x"), STOP) + asked("q", *data.draw(tellings(canonical)))
    made = TurnFold("q")
    shown = [new for event in cut for new in made.add(event)]
    delivery = decide(live=made.turn, history=history, turns_before=1)
    assert delivery.outcome == "finished"
    shown += [new for event in delivery.missing for new in made.add(event)]
    assert made.turn.text == Turn("q", canonical).text
    assert made.turn.tool_runs == Turn("q", canonical).tool_runs
    assert made.is_complete
    assert "".join(e.content for e in shown if isinstance(e, TextDelta)) == made.turn.text
    assert "".join(e.content for e in shown if isinstance(e, ThinkingDelta)) == made.turn.thinking


@given(st.data())
def test_a_history_that_trails_behind_the_stream_adds_nothing_twice(data: st.DataObject) -> None:
    canonical = data.draw(canonical_turns())
    told = data.draw(tellings(canonical))
    seen = told[: data.draw(st.integers(0, len(told) - 1))]
    trailing = seen[: data.draw(st.integers(0, len(seen)))]
    delivery = decide(live=live(*seen), history=asked("q", *trailing), turns_before=0, accepted=True)
    made = TurnFold.resume(live(*seen))
    shown = [new for event in delivery.missing for new in made.add(event)]
    assert [e for e in shown if isinstance(e, TextDelta | ThinkingDelta | ToolCall)] == []


def test_a_prompt_that_the_session_does_not_show_did_not_land() -> None:
    assert decide(live=live(), history=[], turns_before=0) == Delivery("not_landed")
    assert decide(live=live(), history=asked("other", STOP)) == Delivery("not_landed")
    assert decide(live=live(), history=asked("q", STOP), turns_before=1) == Delivery("not_landed")


def test_a_prompt_that_the_service_had_begun_to_answer_landed_though_the_history_is_late() -> None:
    assert decide(live=live(), history=[], turns_before=0, accepted=True) == Delivery("running")
    assert decide(live=live(TextDelta(content="a")), history=[]) == Delivery("running")


def test_a_turn_without_a_stop_is_still_running_and_gives_what_is_new() -> None:
    delivery = decide(live=live(TextDelta(content="a")), history=asked("q", TextDelta(content="ab")))
    assert delivery == Delivery("running", (TextDelta(content="b"),))


def test_the_same_prompt_sent_earlier_is_not_taken_for_this_one_where_nobody_counted() -> None:
    history = asked("q", Text(content="old answer"), STOP)
    assert decide(live=live(), history=history) == Delivery("unknown")
    assert decide(live=live(), history=history, turns_before=0).outcome == "finished"


def test_the_same_prompt_still_unanswered_at_the_end_of_the_history_is_this_one() -> None:
    history = asked("q", Text(content="old answer"), STOP) + asked("q")
    assert decide(live=live(), history=history) == Delivery("running")


def test_an_answer_that_differs_from_what_was_streamed_is_not_this_turn() -> None:
    history = asked("q", Text(content="another answer"), STOP)
    assert decide(live=live(TextDelta(content="This one")), history=history) == Delivery("running")
    tools = asked("q", ToolCall(call_id="other", name="t", arguments={}), STOP)
    assert decide(live=live(CALL), history=tools).missing == ()


def test_new_turns_of_a_history_without_user_inputs_cannot_be_told_apart() -> None:
    assert decide(live=live(), history=[Text(content="a"), STOP], turns_before=0) == Delivery("unknown")


def test_white_space_around_a_prompt_does_not_make_it_another() -> None:
    assert decide(live=live(prompt=" q\n"), history=asked("q", STOP), turns_before=0).outcome == "finished"


def test_another_writers_turn_in_between_is_passed_over() -> None:
    history = asked("other", Text(content="x"), STOP) + asked("q", Text(content="y"), STOP)
    assert decide(live=live(), history=history, turns_before=0).missing == (Text(content="y"), STOP)


@pytest.mark.parametrize(
    ("seen", "stored", "missing"),
    [
        ((TextDelta(content="Hel"),), (Text(content="Hello"), STOP), (Text(content="Hello"), STOP)),
        ((Text(content="Hello"),), (TextDelta(content="Hel"),), ()),
        ((Text(content="Hello"),), (Text(content="Hello"), CALL), (CALL,)),
        ((ThinkingDelta(content="h"),), (Thinking(content="hm"),), (Thinking(content="hm"),)),
        ((TextDelta(content="same"),), (TextDelta(content="same"),), ()),
        ((CALL,), (CALL, RESULT), (RESULT,)),
        ((CALL, RESULT), (CALL, RESULT, STOP), (STOP,)),
        ((UnknownEvent(raw={"type": "x"}),), (UnknownEvent(raw={"type": "x"}), STOP), (STOP,)),
        ((Text(content="a"),), (Text(content="b"),), (Text(content="b"),)),
        ((Text(content="a"),), (Thinking(content="a"),), (Thinking(content="a"),)),
    ],
)
def test_only_what_was_not_seen_is_missing(
    seen: tuple[Event, ...], stored: tuple[Event, ...], missing: tuple[Event, ...]
) -> None:
    assert missing_events(Turn("q", seen), Turn("q", stored)) == missing


def test_a_stop_is_never_taken_as_seen() -> None:
    stop = Stop(usage=STOP.usage, is_error=True, error="x")
    assert missing_events(Turn("q", (STOP,)), Turn("q", (stop,))) == (stop,)
