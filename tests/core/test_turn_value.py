"""A turn is a value that nobody changes, and a fold goes on from any of them."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

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
from chat_sessions.core.turn import (
    RunBegan,
    RunEnded,
    TextRest,
    ThinkingRest,
    Turn,
    TurnFold,
    events_of,
    fold,
    gap,
    replay,
    turn_fields,
)

STOP = Stop(usage=Usage(input_tokens=3, output_tokens=5), is_error=False)
CALL = ToolCall(call_id="1", name="t", arguments={})
RESULT = ToolResult(call_id="1", name="t", result=1)
ODD = UnknownEvent(raw={"type": "x"})


@pytest.mark.parametrize(
    ("before", "after", "between"),
    [
        ("Let me look.", "Revenue was", "\n\n"),
        ("a", "b", "\n\n"),
        ("Let me look. ", "Revenue was", ""),
        ("Let me look.", " Revenue was", ""),
        ("Let me look.\n", "\nRevenue was", ""),
        ("", "Revenue was", ""),
        ("Let me look.", "", "\n\n"),
        ("a b", "c", "\n\n"),
        ("a", "c d", "\n\n"),
    ],
)
def test_two_pieces_with_a_tool_between_them_do_not_run_together(before: str, after: str, between: str) -> None:
    assert gap(before, after) == between


def test_nobody_changes_a_turn() -> None:
    turn = Turn("q", (Text(content="a"), STOP))
    with pytest.raises(FrozenInstanceError):
        turn.prompt = "other"  # type: ignore[misc]
    assert hash(Turn("q")) == hash(Turn("q"))
    longer = fold(Turn("q", (TextDelta(content="a"),)), TextDelta(content="b"))
    assert longer == Turn("q", (TextDelta(content="ab"),))


def test_a_turn_does_not_print_the_images_of_its_prompt() -> None:
    turn = Turn("q", image_urls=("data:image/png;base64,AAAA",))
    assert "AAAA" not in repr(turn)
    assert turn != Turn("q")


@pytest.mark.parametrize(
    ("stop", "error"),
    [
        (STOP, None),
        (Stop(usage=Usage(), is_error=True), "the service gave no reason"),
        (Stop(usage=Usage(), is_error=True, error="quota"), "quota"),
    ],
)
def test_a_failed_turn_has_a_reason_even_if_the_service_gave_none(stop: Stop, error: str | None) -> None:
    turn = Turn("q", (stop,))
    assert (turn.error, turn.stop, turn.is_complete, turn.usage) == (error, stop, True, stop.usage)
    assert Turn("q", (stop, ODD)).stop is None


def test_a_fold_goes_on_from_a_turn_with_its_open_tools_prompt_and_images() -> None:
    made = TurnFold.resume(Turn("q", (CALL, TextDelta(content="a")), ("data:image/png;base64,AAAA",)))
    (ended,) = made.updates(RESULT)
    assert isinstance(ended, RunEnded)
    assert (ended.number, ended.run.result) == (0, 1)
    made.add(STOP)
    assert made.turn.events == (CALL, Text(content="a"), RESULT, STOP)
    assert (made.turn.prompt, made.turn.image_urls) == ("q", ("data:image/png;base64,AAAA",))
    again = TurnFold.resume(made.turn)
    assert again.is_complete
    assert again.add(TextDelta(content="late")) == ()
    assert again.turn == made.turn


@pytest.mark.parametrize(
    "empty", [TextDelta(content=""), ThinkingDelta(content=""), Text(content=""), Thinking(content="")]
)
def test_an_empty_piece_adds_nothing(empty: Event) -> None:
    made = TurnFold("q")
    assert made.updates(empty) == ()
    assert made.turn == Turn("q")


def test_each_event_says_what_it_adds() -> None:
    made = TurnFold()
    asked = UserInput(content="q", image_urls=("data:image/png;base64,AAAA",))
    assert made.updates(asked) == (asked,)
    assert made.updates(UserInput(content="another")) == (UserInput(content="another"),)
    assert (made.turn.prompt, made.turn.image_urls) == ("q", asked.image_urls)
    assert made.updates(ThinkingDelta(content="h")) == (ThinkingDelta(content="h"),)
    assert made.updates(Thinking(content="hm")) == (ThinkingDelta(content="m"), Thinking(content="hm"))
    assert made.updates(ODD) == (ODD,)
    (began,) = made.updates(CALL)
    assert isinstance(began, RunBegan)
    assert made.updates(CALL) == ()
    assert made.updates(Text(content="a")) == (TextDelta(content="a"), Text(content="a"))
    unanswered, stop = made.updates(STOP)
    assert isinstance(unanswered, RunEnded)
    assert (unanswered.run.status, stop) == ("unanswered", STOP)
    assert made.updates(TextDelta(content="late")) == ()
    assert [update for update in made.turn.updates if not isinstance(update, RunBegan | RunEnded)] == [
        Thinking(content="hm"),
        ODD,
        Text(content="a"),
        STOP,
    ]


@pytest.mark.parametrize(
    ("delta", "final", "rest"), [(TextDelta, Text, TextRest), (ThinkingDelta, Thinking, ThinkingRest)]
)
@pytest.mark.parametrize("words", ["hello", "olleh"])
def test_the_rest_of_a_segment_is_told_from_a_segment_that_was_not_shown_at_all(
    delta: type[TextDelta | ThinkingDelta],
    final: type[Text | Thinking],
    rest: type[TextRest | ThinkingRest],
    words: str,
) -> None:
    whole, _ = TurnFold("q").updates(final(content=words))
    assert type(whole) is delta
    cut = TurnFold("q")
    cut.add(delta(content=words[:3]))
    missing, _ = cut.updates(final(content=words))
    assert (type(missing), missing) == (rest, delta(content=words[3:]))
    # By what it says, it is a delta like any other.
    assert {missing, delta(content=words[3:])} == {rest(content=words[3:])}
    for other in (delta(content="!"), delta(content="~"), final(content=words[3:])):
        assert missing != other


def test_what_is_missing_is_adopted_as_what_a_reader_has_not_had() -> None:
    made = TurnFold("q")
    for event in (ThinkingDelta(content="h"), CALL):
        made.add(event)
    stored = Turn("q", (ThinkingDelta(content="hm"), CALL, RESULT, TextDelta(content="an answer")))
    thought, ended, said = made.adopt(stored)
    assert (thought, said) == (ThinkingDelta(content="m"), TextDelta(content="an answer"))
    assert isinstance(ended, RunEnded)
    assert made.turn == stored
    # It runs on, and is read again.
    whole = Turn("q", (Thinking(content="hm"), CALL, RESULT, Text(content="an answer."), STOP))
    assert list(events_of(made.adopt(whole))) == [
        Thinking(content="hm"),
        TextDelta(content="."),
        Text(content="an answer."),
        STOP,
    ]
    assert (made.turn, made.is_complete) == (whole, True)
    assert made.adopt(Turn("q", (Text(content="other"), STOP))) == ()
    assert made.turn == whole


def test_what_comes_between_two_turns_begins_none() -> None:
    history: list[Event] = [Text(content="a"), STOP, STOP, ODD, Text(content="b"), STOP]
    assert replay(history) == [Turn(None, (Text(content="a"), STOP)), Turn(None, (Text(content="b"), STOP))]
    assert replay([STOP]) == [Turn(None, (STOP,))]
    assert replay([UserInput(content="q"), STOP, UserInput(content="r")]) == [Turn("q", (STOP,)), Turn("r")]


def test_a_report_of_a_turn_has_its_images_only_if_it_has_any() -> None:
    assert "image_urls" not in turn_fields(Turn("q", (STOP,)))
    assert turn_fields(Turn("q", (STOP,), ("data:image/png;base64,AAAA",)))["image_urls"] == [
        "data:image/png;base64,AAAA"
    ]
