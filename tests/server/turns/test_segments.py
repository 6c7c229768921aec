from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given

from chat_sessions.core.events import (
    Event,
    Stop,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ToolCall,
    UnknownEvent,
)
from chat_sessions.core.models import Usage
from chat_sessions.core.segments import bare
from chat_sessions.core.turn import TextRest, Turn, TurnFold, fold
from chat_sessions.server.turns.segments import Segments
from tests.core.turns import Told, told_turns

CALL = ToolCall(call_id="c", name="retrieve", arguments={})


def completed(*events: Event) -> list[str]:
    """The events with what was added, each written as `type content`."""
    segments = Segments()
    out = [done for event in events for done in segments.add(event)] + segments.close()
    return [f"{event.type} {getattr(event, 'content', '')}".strip() for event in out]


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([], []),
        ([TextDelta(content="a"), TextDelta(content="b")], ["text_delta a", "text_delta b", "text ab"]),
        ([TextDelta(content="ab"), Text(content="ab")], ["text_delta ab", "text ab"]),
        ([Text(content="ab")], ["text_delta ab", "text ab"]),
        ([Text(content="")], ["text"]),
        ([TextDelta(content="a"), Text(content="abc")], ["text_delta a", "text_delta bc", "text abc"]),
        ([TextDelta(content="teh"), Text(content="the")], ["text_delta teh", "text the"]),
        ([TextDelta(content="a"), CALL], ["text_delta a", "text a", "tool_call"]),
        (
            [ThinkingDelta(content="h"), TextDelta(content="a")],
            ["thinking_delta h", "thinking h", "text_delta a", "text a"],
        ),
        (
            [TextDelta(content="a"), Thinking(content="h"), TextDelta(content="b")],
            ["text_delta a", "text a", "thinking_delta h", "thinking h", "text_delta b", "text b"],
        ),
    ],
)
def test_each_segment_gets_its_deltas_and_then_its_whole(events: list[Event], expected: list[str]) -> None:
    assert completed(*events) == expected


def test_a_final_that_comes_after_a_tool_call_is_not_given_twice() -> None:
    assert completed(TextDelta(content="a"), CALL, Text(content="a")) == ["text_delta a", "text a", "tool_call"]


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        # A service trims a final.
        (
            [TextDelta(content="Let me look.\n"), CALL, Text(content="Let me look.")],
            ["text_delta Let me look.", "text Let me look.", "tool_call"],
        ),
        # One final for several runs.
        (
            [TextDelta(content="One. "), CALL, TextDelta(content="Two."), Text(content="One. Two.")],
            ["text_delta One.", "text One.", "tool_call", "text_delta Two.", "text Two."],
        ),
        (
            [TextDelta(content="Reve"), ThinkingDelta(content="h"), TextDelta(content="nue"), Text(content="Revenue")],
            ["text_delta Reve", "text Reve", "thinking_delta h", "thinking h", "text_delta nue", "text nue"],
        ),
        # It has more than its deltas.
        (
            [TextDelta(content="One. "), CALL, TextDelta(content="Two."), Text(content="One. Two. Three.")],
            [
                "text_delta One.",
                "text One.",
                "tool_call",
                "text_delta Two.",
                "text_delta  Three.",
                "text Two. Three.",
            ],
        ),
        (
            [TextDelta(content="Let me"), CALL, Text(content="Let me look.")],
            ["text_delta Let me", "text Let me", "tool_call", "text_delta  look.", "text  look."],
        ),
        # Both kinds at the end.
        (
            [ThinkingDelta(content="h"), TextDelta(content="Five."), Thinking(content="h"), Text(content="Five.")],
            ["thinking_delta h", "thinking h", "text_delta Five.", "text Five."],
        ),
        # While the next segment grows.
        (
            [
                *(TextDelta(content="Let me look."), CALL, TextDelta(content="Fi"), Text(content="Let me look.")),
                *(TextDelta(content="ve."), Text(content="Five.")),
            ],
            [
                *("text_delta Let me look.", "text Let me look.", "tool_call"),
                *("text_delta Fi", "text_delta ve.", "text Five."),
            ],
        ),
        # For the first, or the last, of two segments without a gap.
        (
            [TextDelta(content="Look.Fi"), Text(content="Look."), TextDelta(content="ve.")],
            ["text_delta Look.Fi", "text Look.", "text_delta ve.", "text Five."],
        ),
        (
            [TextDelta(content="Look.Five"), Text(content="Five.")],
            ["text_delta Look.Five", "text_delta .", "text Look.", "text Five."],
        ),
        (
            [TextDelta(content="Look.Five."), CALL, Text(content="Five."), Text(content="Look.")],
            ["text_delta Look.Five.", "text Look.Five.", "tool_call"],
        ),
    ],
)
def test_a_final_gives_only_what_its_deltas_did_not(events: list[Event], expected: list[str]) -> None:
    assert completed(*events) == expected


def test_an_event_of_an_unknown_type_splits_no_segment() -> None:
    progress = UnknownEvent(raw={"type": "progress"})
    expected = ["text_delta teh", "progress", "text the"]
    assert completed(TextDelta(content="teh"), progress, Text(content="the")) == expected


def test_a_delta_or_a_final_without_words_ends_nothing_and_takes_nothing() -> None:
    assert completed(TextDelta(content="a"), ThinkingDelta(content=""), TextDelta(content="b")) == [
        *("text_delta a", "thinking_delta", "text_delta b", "text ab")
    ]
    assert completed(TextDelta(content="a"), Text(content="")) == ["text_delta a", "text a", "text"]


@given(told_turns())
def test_however_an_agent_tells_a_turn_each_word_is_streamed_and_stored_once(told: Told) -> None:
    segments = Segments()
    *events, stop = told.told
    both = [*(done for event in events for done in segments.add(event)), *segments.close(), stop]
    wanted = folded(told.canonical)
    for shown in (
        both,
        [event for event in both if not isinstance(event, TextDelta | ThinkingDelta)],
        [event for event in both if not isinstance(event, Text | Thinking)],
    ):
        turn = folded(shown)
        assert (bare(turn.text), bare(turn.thinking)) == (bare(wanted.text), bare(wanted.thinking))
        assert [run.call_id for run in turn.tool_runs] == [run.call_id for run in wanted.tool_runs]
    deltas = "".join(event.content for event in both if isinstance(event, TextDelta))
    assert bare(deltas) == bare(wanted.text)


def folded(events: Iterable[Event]) -> Turn:
    fold = TurnFold("?")
    for event in events:
        fold.add(event)
    return fold.turn


def test_a_final_of_other_words_after_a_tool_call_is_a_segment_of_its_own() -> None:
    assert completed(TextDelta(content="a"), CALL, Text(content="b"))[3:] == ["text_delta b", "text b"]


def test_an_agent_may_pass_on_what_a_session_of_its_own_shows() -> None:
    shown = (TextRest(content="a"), Text(content="a"))
    assert completed(*shown) == ["text_delta a", "text a"]
    assert completed(TextRest(content="a"), TextDelta(content="b")) == ["text_delta a", "text_delta b", "text ab"]


def test_the_same_words_said_twice_are_two_segments() -> None:
    assert completed(Text(content="a"), CALL, Text(content="a")).count("text a") == 2


def test_folding_deltas_finals_or_both_gives_the_same_turn() -> None:
    stop = Stop(usage=Usage(), is_error=False)
    segments = Segments()
    script: list[Event] = [ThinkingDelta(content="h"), CALL, TextDelta(content="a"), TextDelta(content="b"), stop]
    both = [done for event in script for done in segments.add(event)]
    variants: list[list[Event]] = [
        both,
        [event for event in both if not isinstance(event, TextDelta | ThinkingDelta)],
        [event for event in both if not isinstance(event, Text | Thinking)],
    ]
    turns: list[Turn] = []
    for variant in variants:
        turn = Turn("?")
        for event in variant:
            turn = fold(turn, event)
        turns.append(turn)
    assert {(turn.text, turn.thinking, turn.is_complete) for turn in turns} == {("ab", "h", True)}
