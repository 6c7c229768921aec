"""A turn is the same however it was told: live or stored, in deltas, finals or both."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

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
from chat_sessions.core.turn import RunBegan, RunEnded, ToolRun, Turn, TurnFold, events_of, fold, replay, words_of
from tests.core.turns import STOP, Told, canonical_turns, tellings, told_turns
from tests.faces import apart


def read(*events: Event, prompt: str | None = "q") -> tuple[Turn, list[Event]]:
    made = TurnFold(prompt)
    shown = [new for event in events for new in made.add(event)]
    return made.turn, shown


def displayed(shown: list[Event], kind: type[TextDelta | ThinkingDelta] = TextDelta) -> str:
    """What a reader is shown."""
    return words_of(shown, (kind,))


@given(told_turns())
def test_a_turn_folded_live_is_what_happened_whichever_way_it_was_told(told: Told) -> None:
    turn, _ = read(*told.told)
    assert turn == Turn("q", told.canonical)


@given(told_turns())
def test_printing_the_deltas_prints_every_text_once_and_loses_none(told: Told) -> None:
    turn, shown = read(*told.told)
    assert displayed(shown) == turn.text == apart(told.canonical, Text)
    assert displayed(shown, ThinkingDelta) == turn.thinking == apart(told.canonical, Thinking)


@given(st.data())
def test_replaying_a_history_gives_the_turns_that_folding_live_gave(data: st.DataObject) -> None:
    happened = data.draw(st.lists(canonical_turns(), max_size=3))
    live = [read(*data.draw(tellings(events)), prompt=f"q{n}")[0] for n, events in enumerate(happened)]
    history: list[Event] = [
        event
        for n, events in enumerate(happened)
        for event in (UserInput(content=f"q{n}"), *data.draw(tellings(events)))
    ]
    assert replay(history) == live


@given(st.data())
def test_any_events_in_any_order_fold_without_an_error_and_lose_no_text(data: st.DataObject) -> None:
    words = st.text(st.sampled_from("ab \n"), max_size=3)
    event = st.one_of(
        st.builds(TextDelta, content=words),
        st.builds(ThinkingDelta, content=words),
        st.builds(Text, content=words),
        st.builds(Thinking, content=words),
        st.builds(UserInput, content=words),
        st.builds(ToolCall, call_id=st.sampled_from("xy"), name=st.just("t"), arguments=st.just({})),
        st.builds(ToolResult, call_id=st.sampled_from("xy"), name=st.just("t"), result=st.integers(0, 1)),
        st.just(UnknownEvent(raw={"type": "new"})),
        st.just(STOP),
    )
    events = data.draw(st.lists(event, max_size=14))
    made = TurnFold("q")
    stepwise = Turn("q")
    for item in events:
        made.add(item)
        stepwise = fold(stepwise, item)
        assert stepwise == made.turn
    finals = [e.content.strip() for e in events[: events.index(STOP) if STOP in events else None] if type(e) is Text]
    assert all(final in made.turn.text for final in finals)


@pytest.mark.parametrize(
    "events",
    [
        (
            ThinkingDelta(content=" "),
            TextDelta(content="a"),
            ThinkingDelta(content="a"),
            Thinking(content="a"),
            TextDelta(content="b"),
        ),
        (
            TextDelta(content="a"),
            ThinkingDelta(content="b"),
            TextDelta(content="c"),
            Thinking(content="d"),
            TextDelta(content="e"),
            Text(content="ef"),
            Thinking(content="bg"),
        ),
    ],
)
def test_what_a_final_brings_together_goes_on_as_if_it_had_never_been_apart(events: tuple[Event, ...]) -> None:
    made = TurnFold("q")
    stepwise = Turn("q")
    for event in events:
        made.add(event)
        stepwise = fold(stepwise, event)
        assert stepwise == made.turn


def test_a_delta_only_history_gives_the_same_turn_as_one_of_finals() -> None:
    deltas: list[Event] = [UserInput(content="q"), TextDelta(content="He"), TextDelta(content="llo"), STOP]
    finals: list[Event] = [UserInput(content="q"), Text(content="Hello"), STOP]
    assert replay(deltas) == replay(finals) == [Turn("q", (Text(content="Hello"), STOP))]


def test_a_final_that_goes_further_than_its_deltas_shows_the_rest_once() -> None:
    turn, shown = read(TextDelta(content="Hel"), Text(content="Hello"), STOP)
    assert shown == [TextDelta(content="Hel"), TextDelta(content="lo"), Text(content="Hello"), STOP]
    assert turn.text == "Hello"


def test_a_final_without_deltas_is_shown_as_one_delta_and_itself() -> None:
    _, shown = read(Thinking(content="hm"), Text(content="Hi"))
    assert shown == [ThinkingDelta(content="hm"), Thinking(content="hm"), TextDelta(content="Hi"), Text(content="Hi")]


def test_a_final_that_corrects_its_deltas_is_the_text_of_the_turn() -> None:
    turn, shown = read(TextDelta(content="Helo"), Text(content="Hello"), STOP)
    assert turn.text == "Hello"
    assert displayed(shown) == "Helo"


def test_white_space_that_the_final_trims_is_not_taken_for_another_text() -> None:
    turn, shown = read(TextDelta(content=" Hi "), TextDelta(content="there \n"), Text(content="Hi there, you"))
    assert displayed(shown) == " Hi there \n, you"
    assert turn.text == "Hi there, you"


def test_thinking_in_the_middle_of_a_text_does_not_double_the_text_whose_final_holds_it_whole() -> None:
    turn, shown = read(
        TextDelta(content="one "),
        ThinkingDelta(content="hm"),
        TextDelta(content="two"),
        Text(content="one two three"),
        Thinking(content="hm"),
        STOP,
    )
    assert displayed(shown) == "one two three"
    assert turn.events == (Text(content="one two three"), Thinking(content="hm"), STOP)


def test_runs_of_deltas_that_come_to_stand_side_by_side_become_one() -> None:
    turn, _ = read(
        ThinkingDelta(content="t"),
        TextDelta(content="a"),
        ThinkingDelta(content="u"),
        TextDelta(content="b"),
        Thinking(content="tu"),
    )
    assert turn.events == (Thinking(content="tu"), TextDelta(content="ab"))


def test_the_same_words_said_twice_are_kept_twice() -> None:
    turn, shown = read(
        TextDelta(content="ok"),
        Text(content="ok"),
        ToolCall(call_id="1", name="t", arguments={}),
        TextDelta(content="ok"),
        Text(content="ok"),
        STOP,
    )
    assert turn.text == displayed(shown) == "ok\n\nok"


def test_overlapping_tool_runs_are_told_apart_by_their_call_id() -> None:
    turn, _ = read(
        ToolCall(call_id="1", name="search", arguments={"q": "a"}),
        ToolCall(call_id="2", name="read", arguments={"page": 3}),
        ToolResult(call_id="2", name="read", result="page three"),
        ToolResult(call_id="1", name="search", result={"error": "no index"}),
        STOP,
    )
    assert turn.tool_runs == (
        ToolRun("1", "search", {"q": "a"}, {"error": "no index"}, status="failed"),
        ToolRun("2", "read", {"page": 3}, "page three", status="completed"),
    )


def test_a_tool_call_without_result_is_running_and_then_unanswered() -> None:
    call = ToolCall(call_id="1", name="search", arguments={})
    assert read(call)[0].tool_runs[0].status == "running"
    assert read(call, STOP)[0].tool_runs[0].status == "unanswered"
    assert read(call, STOP)[0].sources == ()


def test_a_call_id_that_is_used_twice_leaves_no_run_running() -> None:
    first, second = (ToolCall(call_id="1", name="t", arguments={"n": n}) for n in (1, 2))
    turn, _ = read(first, second, ToolResult(call_id="1", name="t", result=2), STOP)
    assert [run.status for run in turn.tool_runs] == ["unanswered", "completed"]


def test_a_result_without_a_call_is_a_tool_run_of_its_own() -> None:
    turn, _ = read(ToolResult(call_id="9", name="grep", result=[]), STOP)
    assert turn.tool_runs == (ToolRun("9", "grep", {}, [], status="completed"),)


def test_a_tool_event_that_is_delivered_twice_counts_once() -> None:
    call = ToolCall(call_id="1", name="t", arguments={})
    result = ToolResult(call_id="1", name="t", result=1)
    turn, shown = read(call, call, result, result)
    assert shown == [call, result]
    assert len(turn.tool_runs) == 1


@pytest.mark.parametrize("result", [{"is_error": True}, {"isError": True}, {"status": "error"}, {"error": "x"}])
def test_a_result_that_calls_itself_an_error_is_a_failed_run(result: dict[str, JsonValue]) -> None:
    turn, _ = read(ToolResult(call_id="1", name="t", result=result))
    assert turn.tool_runs[0].status == "failed"


def test_what_comes_after_the_stop_is_ignored() -> None:
    turn, shown = read(Text(content="a"), STOP, Text(content="b"), STOP)
    assert turn.text == "a"
    assert shown[-1] == STOP


def test_a_stop_tells_usage_error_and_skipped_indexes() -> None:
    stop = Stop(usage=Usage(input_tokens=1), is_error=True, error="quota", skipped_index_ids=["idx-2"])
    turn, _ = read(stop)
    assert (turn.is_complete, turn.usage, turn.error) == (True, Usage(input_tokens=1), "quota")
    assert turn.skipped_index_ids == ("idx-2",)
    assert read(Stop(usage=Usage(), is_error=True))[0].error == "the service gave no reason"


def test_a_turn_without_a_stop_is_not_complete_and_has_no_usage() -> None:
    turn, _ = read(TextDelta(content="a"))
    assert (turn.is_complete, turn.usage, turn.error, turn.skipped_index_ids) == (False, None, None, ())
    assert Turn().stop is None


def test_an_echo_of_the_user_input_is_the_prompt_where_none_was_known() -> None:
    assert read(UserInput(content="hi"), prompt=None)[0].prompt == "hi"
    assert read(UserInput(content="hi"), prompt="q")[0].prompt == "q"


def test_a_history_without_user_inputs_is_cut_at_its_stops() -> None:
    history: list[Event] = [Text(content="a"), STOP, UnknownEvent(raw={"type": "x"}), STOP, Text(content="b")]
    assert [turn.text for turn in replay(history)] == ["a", "b"]
    assert [turn.prompt for turn in replay(history)] == [None, None]


def test_a_turn_that_was_cut_ends_at_the_next_user_input() -> None:
    history: list[Event] = [
        UserInput(content="1"),
        TextDelta(content="a"),
        UserInput(content="2"),
        Text(content="b"),
        STOP,
    ]
    first, second = replay(history)
    assert (first.text, first.is_complete) == ("a", False)
    assert (second.text, second.is_complete) == ("b", True)


def test_thousands_of_deltas_are_kept_as_one_text() -> None:
    turn, _ = read(*(TextDelta(content="ab") for _ in range(5000)), STOP)
    assert turn.events == (Text(content="ab" * 5000), STOP)


def test_sources_of_all_tool_runs_are_those_of_the_turn_each_once() -> None:
    hit: dict[str, JsonValue] = {"content": "x", "score": 0.5, "file_name": "a.pdf", "page": 3}
    turn, _ = read(
        ToolResult(call_id="1", name="retrieve", result={"results": [hit]}),
        ToolResult(call_id="2", name="retrieve", result={"results": [{**hit, "score": 0.9}, {**hit, "page": 4}]}),
    )
    assert [(s.file_name, s.page, s.score) for s in turn.sources] == [("a.pdf", 3, 0.9), ("a.pdf", 4, 0.5)]


def test_a_page_that_was_read_has_the_file_name_that_the_search_gave() -> None:
    turn, _ = read(
        ToolResult(call_id="1", name="retrieve", result=[{"text": "x", "file_id": "f1", "file_name": "a.pdf"}]),
        ToolCall(call_id="2", name="read", arguments={"file_id": "f1", "page": 3}),
        ToolResult(call_id="2", name="read", result={"content": "page three"}),
        ToolResult(call_id="3", name="read", result={"content": "other", "file_id": "f2"}),
    )
    assert [(s.file_name, s.page) for s in turn.sources] == [("a.pdf", None), ("a.pdf", 3), (None, None)]


def test_a_short_final_after_a_long_segment_without_one_is_a_segment_of_its_own() -> None:
    long = TextDelta(content="x" * 500)
    call = ToolCall(call_id="1", name="t", arguments={})
    turn, shown = read(long, call, long, ThinkingDelta(content="hm"), Text(content="x"), STOP)
    assert turn.text == displayed(shown) == "x" * 500 + "\n\n" + "x" * 501
    corrected, _ = read(long, ThinkingDelta(content="hm"), TextDelta(content="y"), Text(content="z"), STOP)
    assert corrected.text == "x" * 500 + "z"


CALL = ToolCall(call_id="1", name="t", arguments={})


def test_a_final_that_holds_the_end_of_a_run_leaves_what_came_before_it() -> None:
    turn, shown = read(
        TextDelta(content="Let me look. "), TextDelta(content="It is five."), Text(content="It is five."), STOP
    )
    assert turn.events == (Text(content="Let me look. "), Text(content="It is five."), STOP)
    assert displayed(shown) == turn.text
    longer, shown = read(TextDelta(content="Let me look. It is"), CALL, Text(content="It is five."), STOP)
    assert longer.events == (Text(content="Let me look. "), Text(content="It is five."), CALL, STOP)
    assert displayed(shown) == "Let me look. It is five."


def test_late_finals_divide_a_run_in_which_two_segments_met() -> None:
    turn, shown = read(TextDelta(content="One. Two."), CALL, Text(content="One. "), Text(content="Two."), STOP)
    assert turn.events == (Text(content="One. "), Text(content="Two."), CALL, STOP)
    assert displayed(shown) == "One. Two."


def test_a_late_final_takes_a_run_and_the_beginning_of_the_next() -> None:
    turn, shown = read(
        TextDelta(content="One"), CALL, TextDelta(content=" two. Three."), Text(content="One two."), STOP
    )
    assert turn.events == (Text(content="One two."), CALL, Text(content=" Three."), STOP)
    assert displayed(shown) == "One two. Three."


def test_late_finals_find_runs_that_begin_with_the_same_words() -> None:
    runs = [f"The price of {fruit}." for fruit in ("figs", "plums")]
    told: list[Event] = []
    for number, run in enumerate(runs):
        told += [TextDelta(content=run), ToolCall(call_id=str(number), name="t", arguments={})]
    turn, _ = read(*told, Text(content=runs[1] + " It rose."), Text(content=runs[0]), STOP)
    assert [event.content for event in turn.events if isinstance(event, Text)] == [runs[0], runs[1] + " It rose."]


def test_a_final_of_white_space_completes_white_space_alone() -> None:
    turn, _ = read(TextDelta(content="\n"), CALL, TextDelta(content="a"), Text(content="\n"), STOP)
    assert turn.events == (Text(content="\n"), CALL, Text(content="a"), STOP)
    turn, _ = read(TextDelta(content="a"), Text(content="\n"), STOP)
    assert turn.text == "a\n"


def test_a_user_input_among_the_events_of_a_turn_is_no_part_of_its_answer() -> None:
    held = Turn("q", (UserInput(content="q"), TextDelta(content="a")))
    assert fold(held, Text(content="ab")) == Turn("q", (Text(content="ab"),))


def test_tool_runs_are_numbered_as_they_begin_and_end_with_their_result_or_without_one() -> None:
    made = TurnFold("q")
    orphan = ToolResult(call_id="2", name="t", result="x")
    began, (other_began, other_ended) = made.updates(CALL), made.updates(orphan)
    assert began == (RunBegan(0, ToolRun("1", "t", {}), CALL),)
    assert other_began == RunBegan(1, ToolRun("2", "t", {}), None)
    assert other_ended == RunEnded(1, ToolRun("2", "t", {}, "x", status="completed"), orphan)
    assert made.updates(STOP) == (RunEnded(0, ToolRun("1", "t", {}, status="unanswered"), None), STOP)


def test_results_of_a_call_id_that_is_used_again_end_the_latest_run_first() -> None:
    first, second = (ToolCall(call_id="1", name="t", arguments={"n": n}) for n in (1, 2))
    turn, _ = read(first, second, *(ToolResult(call_id="1", name="t", result=n) for n in (2, 1)), STOP)
    assert [(run.arguments, run.result) for run in turn.tool_runs] == [({"n": 1}, 1), ({"n": 2}, 2)]


def test_the_runs_of_a_turn_that_was_left_end_unanswered_the_last_one_first() -> None:
    made = TurnFold("q")
    for number in range(3):
        made.add(ToolCall(call_id=str(number), name="t", arguments={}))
    made.add(ToolResult(call_id="1", name="t", result=1))
    assert [(ended.number, ended.run.status) for ended in made.end_runs()] == [(2, "unanswered"), (0, "unanswered")]
    assert made.end_runs() == ()


def test_a_turn_that_is_complete_adopts_nothing() -> None:
    made = TurnFold("q")
    made.add(STOP)
    assert made.adopt(Turn("q", (Text(content="a"), STOP))) == ()


def test_a_turn_read_back_is_in_the_order_of_its_session_with_what_came_live_alone_in_its_place() -> None:
    made = TurnFold("q")
    progress = UnknownEvent(raw={"type": "progress"})
    for event in (CALL, TextDelta(content="The price is "), progress):
        made.add(event)
    stored = Turn("q", (Thinking(content="Let me see."), Text(content="The price is five."), STOP))
    assert list(events_of(made.adopt(stored))) == [
        ThinkingDelta(content="Let me see."),
        Thinking(content="Let me see."),
        TextDelta(content="five."),
        Text(content="The price is five."),
        STOP,
    ]
    assert made.turn.events == (CALL, *stored.events[:2], progress, STOP)
