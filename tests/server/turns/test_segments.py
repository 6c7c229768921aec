from __future__ import annotations

import pytest

from chat_sessions.core.events import Event, Stop, Text, TextDelta, Thinking, ThinkingDelta, ToolCall
from chat_sessions.core.models import Usage
from chat_sessions.core.turn import TextRest, Turn, fold
from chat_sessions.server.turns.segments import Segments

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
