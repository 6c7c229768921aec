"""After a broken stream: what the session shows decides, and what is missing makes the turn whole."""

from __future__ import annotations

import unicodedata
from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat_sessions.core.alignment import align
from chat_sessions.core.delivery import Delivery, Ended, decide
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
from tests.faces import said, thought

CALL = ToolCall(call_id="1", name="t", arguments={})
RESULT = ToolResult(call_id="1", name="t", result=1)


def live(*events: Event, prompt: str = "q") -> Turn:
    made = TurnFold(prompt)
    for event in events:
        made.add(event)
    return made.turn


def missing_events(mine: Turn, stored: Turn | None) -> tuple[Event, ...]:
    """What `mine` lacks, in order: added to it, it makes the turn whole."""
    assert stored is not None
    return tuple(missing.event for missing in align(mine.events, stored.events).missing)


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
    shown += [new for event in missing_events(made.turn, delivery.turn) for new in made.add(event)]
    assert made.turn.text == Turn("q", canonical).text
    assert made.turn.tool_runs == Turn("q", canonical).tool_runs
    assert made.is_complete
    assert said(shown) == made.turn.text
    assert thought(shown) == made.turn.thinking


@given(st.data())
def test_a_history_that_trails_behind_the_stream_adds_nothing_twice(data: st.DataObject) -> None:
    canonical = data.draw(canonical_turns())
    told = data.draw(tellings(canonical))
    seen = told[: data.draw(st.integers(0, len(told) - 1))]
    trailing = seen[: data.draw(st.integers(0, len(seen)))]
    delivery = decide(live=live(*seen), history=asked("q", *trailing), turns_before=0)
    made = TurnFold.resume(live(*seen))
    shown = [new for event in missing_events(made.turn, delivery.turn) for new in made.add(event)]
    assert [e for e in shown if isinstance(e, TextDelta | ThinkingDelta | ToolCall)] == []


def test_a_prompt_that_the_session_does_not_show_is_not_shown() -> None:
    assert decide(live=live(), history=[], turns_before=0) == Delivery("not_shown")
    assert decide(live=live(), history=asked("other", STOP)) == Delivery("not_shown")
    assert decide(live=live(), history=asked("q", STOP), turns_before=1) == Delivery("not_shown")
    assert decide(live=live(TextDelta(content="a")), history=[]) == Delivery("not_shown")
    for mine, theirs in (("a", "b"), ("b", "a")):
        assert decide(live=live(prompt=mine), history=asked(theirs)) == Delivery("not_shown")


def test_what_was_decided_stays_and_does_not_print_the_whole_turn() -> None:
    delivery = decide(live=live(), history=asked("q", Text(content="Hello"), STOP), turns_before=0)
    assert delivery.turn is not None
    assert repr(delivery.turn) not in repr(delivery)
    with pytest.raises(FrozenInstanceError):
        delivery.outcome = "unknown"  # type: ignore[misc]


def test_a_turn_without_a_stop_is_still_running_and_gives_what_is_new() -> None:
    mine = live(TextDelta(content="a"))
    delivery = decide(live=mine, history=asked("q", TextDelta(content="ab")))
    assert delivery == Delivery("running", 0)
    assert missing_events(mine, delivery.turn) == (TextDelta(content="b"),)


def test_the_same_prompt_sent_earlier_is_not_taken_for_this_one_where_nobody_counted() -> None:
    history = asked("q", Thinking(content="hm, let me see"), Text(content="old answer"), STOP)
    assert decide(live=live(), history=history) == Delivery("unknown")
    # An agent begins to think about the same question in the same way.
    assert decide(live=live(ThinkingDelta(content="hm, ")), history=history) == Delivery("unknown")
    assert decide(live=live(), history=history, turns_before=0).outcome == "finished"


def test_words_of_the_answer_or_a_call_id_tell_this_turn_from_an_earlier_one() -> None:
    history = asked("q", CALL, RESULT, Text(content="An answer"), STOP)
    delivery = decide(live=live(CALL), history=history)
    assert missing_events(live(CALL), delivery.turn) == (RESULT, Text(content="An answer"), STOP)
    assert decide(live=live(CALL, RESULT, TextDelta(content="An ")), history=history).outcome == "finished"
    assert (
        decide(live=live(TextDelta(content="An ")), history=asked("q", Text(content="An answer"), STOP)).position == 0
    )


def test_where_nobody_counted_only_the_last_turn_can_be_this_one() -> None:
    older = asked("q", Text(content="An answer"), STOP)
    assert decide(live=live(TextDelta(content="An ")), history=older + asked("other", STOP)) == Delivery("not_shown")
    found = decide(live=live(TextDelta(content="An ")), history=older + older)
    assert (found.outcome, found.position) == ("finished", 1)


def test_words_of_the_answer_are_evidence_where_only_one_side_shows_its_tools() -> None:
    told = asked("q", CALL, RESULT, Text(content="An answer"), STOP)
    assert decide(live=live(TextDelta(content="An ")), history=told).outcome == "finished"
    hidden = asked("q", Text(content="An answer"), STOP)
    assert decide(live=live(CALL, RESULT, TextDelta(content="An ")), history=hidden).outcome == "finished"


def test_the_same_prompt_still_unanswered_at_the_end_of_the_history_is_this_one() -> None:
    history = asked("q", Text(content="old answer"), STOP) + asked("q")
    assert decide(live=live(), history=history) == Delivery("running", 1)
    assert decide(live=live(), history=asked("other", STOP) + history) == Delivery("running", 2)


def test_a_turn_that_an_earlier_look_found_is_looked_at_in_its_place() -> None:
    history = asked("q", Text(content="old"), STOP) + asked("q", Text(content="new"), STOP) + asked("q", STOP)
    for mine, shown in (
        (live(TextDelta(content="ne")), history),
        (live(), history[:6]),
        (live(), history[:6] + asked("other", STOP)),
    ):
        delivery = decide(live=mine, history=shown, position=1)
        assert delivery.position == 1
        assert missing_events(mine, delivery.turn) == (Text(content="new"), STOP)
    for lost in (3, 9):
        assert decide(live=live(), history=history, position=lost, turns_before=3) == Delivery("not_shown")


@pytest.mark.parametrize(
    "before",
    [
        pytest.param(asked("something else", Text(content="secret"), STOP), id="another turn"),
        pytest.param(asked("q", Text(content="another answer"), STOP), id="the same prompt of somebody else"),
        pytest.param([Text(content="Welcome"), STOP], id="a greeting"),
    ],
)
def test_a_turn_that_was_found_is_found_again_where_others_are_shown_before_it_since(before: list[Event]) -> None:
    older = asked("old", Text(content="older answer"), STOP)
    mine = asked("q", Text(content="my answer"), STOP)
    began = live(TextDelta(content="my "))
    found = decide(live=began, history=[*older, *before, *mine], turns_before=1, position=1)
    assert (found.outcome, found.position) == ("finished", 2)
    assert decide(live=began, history=[*older, *before], turns_before=1, position=1) == (
        # Words that a service corrects are the only ones that may differ.
        Delivery("finished", 1) if before[0] == mine[0] else Delivery("not_shown")
    )


@pytest.mark.parametrize("position", [1, 2])
def test_a_turn_that_was_found_is_none_before_its_place_and_none_after_it_that_only_asks_the_same(
    position: int,
) -> None:
    alike = asked("q", Text(content="my answer"), STOP)
    other = asked("something else", Text(content="secret"), STOP)
    began = live(TextDelta(content="my "))
    history = [*alike * position, *other]
    assert decide(live=began, history=history, position=position) == Delivery("not_shown")
    assert decide(live=live(), history=[*history, *alike], position=position) == Delivery("not_shown")
    assert decide(live=began, history=[*history, *alike], position=position).position == position + 1


def test_a_turn_that_was_found_before_it_had_words_is_not_taken_for_one_of_two_that_ask_the_same() -> None:
    theirs, mine = asked("q", Text(content="their answer"), STOP), asked("q", Text(content="my answer"), STOP)
    assert decide(live=live(), history=asked("q"), turns_before=0) == Delivery("running", 0)
    for history in (theirs + mine, theirs + asked("q")):
        assert decide(live=live(), history=history, turns_before=0, position=0) == Delivery("unknown")
    # Its words tell, where it stands now and where it stood.
    for words, position in (("my ", 1), ("their ", 0)):
        began = live(TextDelta(content=words))
        assert decide(live=began, history=theirs + mine, turns_before=0, position=0) == Delivery("finished", position)


def null(kind: str) -> UnknownEvent:
    return UnknownEvent(raw={"type": kind, "content": None})


@pytest.mark.parametrize("kind", ["text_delta", "text"])
@pytest.mark.parametrize(
    ("seen", "shown", "text"),
    [
        (["one ", None, "three "], ["one two three four"], "one two three four"),
        ([None, "two "], ["one two", " three"], "one two three"),
        (["one ", None], ["one two"], "one two"),
        # What came after the gap is not recognised: the session has the words.
        (["one ", None, "2 "], ["one three"], "one three"),
        (["one two ", "thr"], ["one ", None, "three ", "four"], "one two three four"),
        (["one two "], [None, "two ", "three"], "one two three"),
        (["one 2"], ["one ", None, "three"], "one 2 three"),
        ([], [None, "three"], "three"),
        # The last words come several times, or are a part of others.
        (["A cat, ", None, "dog ", None, "the"], ["A cat, the dog and the bird"], "A cat, the dog and the bird"),
        (["I went to a"], ["I went ", None, "town and back"], "I went to a town and back"),
        (["two"], [None, " ok"], "two ok"),
    ],
)
def test_words_that_cannot_be_read_on_one_side_come_from_the_other(
    kind: str, seen: list[str | None], shown: list[str | None], text: str
) -> None:
    def events(words: list[str | None]) -> list[Event]:
        return [null(kind) if piece is None else TextDelta(content=piece) for piece in words]

    made = TurnFold("q")
    for event in events(seen):
        made.add(event)
    found = decide(live=made.turn, history=asked("q", *events(shown), STOP), turns_before=0)
    assert found.turn is not None
    news = made.adopt(found.turn)
    assert made.is_complete
    assert made.turn.text == text
    # Nothing is shown twice.
    told = "".join(piece or "" for piece in seen) + "".join(one.content for one in news if isinstance(one, TextDelta))
    assert len(told) <= len(text) + 1
    # The words prove nothing if some are lost.
    assert decide(live=live(*events(seen)), history=asked("q", *events(shown), STOP)) == Delivery("unknown")


def test_lost_thoughts_come_from_the_session_and_leave_the_answer_and_its_tools_alone() -> None:
    seen: list[Event] = [ThinkingDelta(content="Hm, "), null("thinking_delta"), CALL, RESULT, TextDelta(content="An ")]
    stored: list[Event] = [Thinking(content="Hm, what now?"), CALL, RESULT, Text(content="An answer"), STOP]
    made = TurnFold("q")
    for event in seen:
        made.add(event)
    found = decide(live=made.turn, history=asked("q", *stored), turns_before=0)
    assert found.turn is not None
    made.adopt(found.turn)
    assert (made.turn.thinking, made.turn.text) == ("Hm, what now?", "An answer")
    assert [run.call_id for run in made.turn.tool_runs] == ["1"]


def test_nothing_is_put_together_with_lost_words_before_the_session_shows_the_end() -> None:
    made = TurnFold("q")
    for event in (TextDelta(content="one "), null("text_delta"), TextDelta(content="three ")):
        made.add(event)
    before = made.turn
    found = decide(live=before, history=asked("q", TextDelta(content="one two")), turns_before=0)
    assert found.outcome == "running"
    assert found.turn is not None
    assert made.adopt(found.turn) == ()
    assert made.turn == before


def test_a_turn_whose_prompt_cannot_be_read_is_known_by_its_answer_where_turns_were_counted() -> None:
    history = asked("", Text(content="An answer"), STOP)
    assert decide(live=live(TextDelta(content="An ")), history=history, turns_before=0).outcome == "finished"
    assert decide(live=live(), history=history, turns_before=0) == Delivery("unknown")
    assert decide(live=live(TextDelta(content="An ")), history=history) == Delivery("unknown")
    # An image by itself is a prompt, and not this one.
    shown = [UserInput(content="", image_urls=("https://example.com/a.png",)), *history[1:]]
    assert decide(live=live(TextDelta(content="An ")), history=shown, turns_before=0) == Delivery("unknown")


def test_an_answer_that_differs_from_what_was_streamed_is_not_this_turn() -> None:
    history = asked("q", Text(content="another answer"), STOP)
    assert decide(live=live(TextDelta(content="This one")), history=history) == Delivery("not_shown")
    thoughts = asked("q", Thinking(content="other thoughts"), STOP)
    assert decide(live=live(ThinkingDelta(content="These")), history=thoughts) == Delivery("not_shown")
    tools = asked("q", ToolCall(call_id="other", name="t", arguments={}), STOP)
    assert decide(live=live(CALL), history=tools).outcome == "not_shown"


def test_a_turn_without_a_prompt_is_none_of_those_that_were_counted() -> None:
    greeting: list[Event] = [UnknownEvent(raw={"type": "created"}), Text(content="Hi")]
    one = asked("q", Text(content="old"), STOP, Thinking(content="late"))
    assert decide(live=live(), history=greeting + one, turns_before=1) == Delivery("not_shown")
    found = decide(live=live(), history=[*greeting, *one, *asked("q", Text(content="new"), STOP)], turns_before=1)
    assert (found.outcome, found.position) == ("finished", 3)
    # Where nobody counted, it is the last with a prompt.
    late: list[Event] = [ToolResult(call_id="9", name="log", result=1)]
    assert decide(live=live(TextDelta(content="ol")), history=[*one, *late]).position == 0


@pytest.mark.parametrize("theirs", ["another", "the other"])
@pytest.mark.parametrize("added", [1, 2])
def test_a_count_that_is_too_low_is_put_right_by_the_last_turn_that_ended(added: int, theirs: str) -> None:
    history = asked("q", Text(content=theirs), STOP) * added + asked("q", Text(content="old"), STOP)
    assert decide(live=live(), history=history, turns_before=1, last=Ended("q", "old ")) == Delivery("not_shown")
    found = decide(live=live(), history=history + asked("q"), turns_before=1, last=Ended("q", "old "))
    assert (found.outcome, found.position) == ("running", added + 1)


@pytest.mark.parametrize("earlier", [[], ["b"], ["q"], ["q", "b"], ["b", "c", "q"]])
def test_a_count_that_is_right_stays_so_though_the_same_words_were_answered_alike(earlier: list[str]) -> None:
    once = asked("q", Text(content="same"), STOP)
    history = [event for prompt in earlier for event in asked(prompt, Text(content="same"), STOP)] + once
    count, last = len(earlier) + 1, Ended("q", "same")
    assert decide(live=live(), history=history, turns_before=count, last=last) == Delivery("not_shown")
    found = decide(live=live(), history=history + once, turns_before=count, last=last)
    assert (found.outcome, found.position) == ("finished", count)


def test_a_count_stays_as_it_is_if_the_history_does_not_show_the_last_turn_that_ended() -> None:
    history = asked("a", Text(content="reworded"), STOP) + asked("q", Text(content="new"), STOP)
    assert decide(live=live(), history=history, turns_before=1, last=Ended("a", "old")).position == 1
    # It shows it late.
    assert decide(live=live(), history=history[:3], turns_before=2, last=Ended("a", "old")) == Delivery("not_shown")


def test_new_turns_that_may_be_this_one_in_other_words_are_unknown() -> None:
    assert decide(live=live(), history=[Text(content="a"), STOP], turns_before=0) == Delivery("unknown")
    assert decide(live=live(), history=asked("other", STOP), turns_before=0) == Delivery("unknown")


def test_where_an_earlier_prompt_may_have_landed_too_only_the_answer_tells_which_turn_is_this_one() -> None:
    one, two = asked("q", Text(content="mine"), STOP), asked("q")
    for history in (one, two):
        assert decide(live=live(), history=history, turns_before=0, in_doubt=True) == Delivery("unknown")
        assert decide(live=live(), history=history, in_doubt=True) == Delivery("unknown")
    for turns_before in (0, None):
        found = decide(live=live(TextDelta(content="mi")), history=one, turns_before=turns_before, in_doubt=True)
        assert found.outcome == "finished"


def test_white_space_in_a_prompt_does_not_make_it_another() -> None:
    history = asked("a\nb", STOP)
    assert decide(live=live(prompt=" a\r\nb\n"), history=history, turns_before=0).outcome == "finished"


@pytest.mark.parametrize(
    ("prompt", "kept"),
    [
        ("  padded \r\n twice ", "padded\ntwice"),
        ("Müller's cafe\u0301", unicodedata.normalize("NFC", "Müller's cafe\u0301")),
        ("ﬁne ①", unicodedata.normalize("NFKC", "ﬁne ①")),
        ("is a < b & \"c\" > 'd'?", "is a &lt; b &amp; &quot;c&quot; &gt; &#x27;d&#x27;?"),
        ("what does &amp; mean?", "what does &amp;amp; mean?"),
        ("what does \uff06amp; mean?", "what does &amp; mean?"),
        ("\ufeffsoft\u00adly, zero\u200bwidth\x00\x07", "softly, zerowidth"),
        pytest.param("is it &#" + "9" * 5000 + ";?", "is it &amp;#" + "9" * 5000 + ";?", id="a long number"),
        pytest.param("a & b", "a &" + "amp;" * 300_000 + " b", id="escaped a thousand times"),
    ],
)
def test_a_prompt_that_was_stored_in_another_form_is_recognised(prompt: str, kept: str) -> None:
    history = asked(kept, Text(content="Hello"), STOP)
    assert decide(live=Turn(prompt), history=history, turns_before=0).outcome == "finished"
    other = asked("something else", Text(content="Hello"), STOP)
    assert decide(live=Turn(prompt), history=other, turns_before=0).outcome == "unknown"


def test_the_same_words_about_other_images_are_another_prompt() -> None:
    one, two = ("data:image/png;base64,AAAA",), ("data:image/png;base64,BBBB",)
    for mine, theirs in (((), one), (one, ()), (one, two), (two, one)):
        history: list[Event] = [UserInput(content="q", image_urls=theirs), Text(content="Hello"), STOP]
        assert decide(live=Turn("q", (), mine), history=history, turns_before=0) == Delivery("unknown")
        assert decide(live=Turn("q", (), theirs), history=history, turns_before=0).outcome == "finished"


def test_where_others_write_too_only_the_answer_tells_which_turn_is_this_one() -> None:
    theirs, mine = asked("q", Text(content="theirs"), STOP), asked("q", Text(content="mine"), STOP)
    assert decide(live=live(), history=theirs + mine, turns_before=0) == Delivery("unknown")
    assert decide(live=live(), history=asked("other", STOP) + mine, turns_before=0) == Delivery("unknown")
    assert decide(live=live(TextDelta(content="mi")), history=theirs + mine, turns_before=0).position == 1
    assert decide(live=live(TextDelta(content="m")), history=mine + mine, turns_before=0) == Delivery("unknown")


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


@pytest.mark.parametrize(
    ("seen", "stored", "missing"),
    [
        # One run of deltas that the history holds as two segments, and the reverse.
        ((TextDelta(content="AB"),), (Text(content="A"), Text(content="B"), CALL), (CALL,)),
        ((TextDelta(content="AB"),), (Text(content="A"), Text(content="BC")), (TextDelta(content="C"),)),
        ((TextDelta(content="A"),), (Text(content="A"), Text(content="B")), (Text(content="A"), Text(content="B"))),
        ((Text(content="A"), Text(content="B")), (Text(content="AB"), CALL), (CALL,)),
        ((Text(content="A"), TextDelta(content="B")), (Text(content="ABC"),), (TextDelta(content="C"),)),
        ((Thinking(content="A"),), (Thinking(content="AB"),), (ThinkingDelta(content="B"),)),
        (
            (TextDelta(content="x"),),
            (Text(content="A"), Text(content="B")),
            (TextDelta(content="A"), TextDelta(content="B")),
        ),
        ((Text(content="A"),), (Text(content="A "), Text(content=" ")), (Text(content=" "),)),
        # A final right after the deltas of what it follows would correct them.
        (
            (Text(content="A"),),
            (Text(content="AB"), Text(content="C")),
            (TextDelta(content="B"), TextDelta(content="C")),
        ),
        # White space that begins a text, or stands alone, as models like to begin with.
        ((TextDelta(content="\n\n"),), (TextDelta(content="\n\n"),), ()),
        ((TextDelta(content="\n"),), (TextDelta(content="\n\n"),), (TextDelta(content="\n"),)),
        ((TextDelta(content="A"),), (TextDelta(content="A \n"),), (TextDelta(content=" \n"),)),
        ((TextDelta(content="A \n"),), (Text(content="A "), Text(content="\nB")), (TextDelta(content="B"),)),
        ((Text(content="A "), Text(content="\n ")), (Text(content="A \n "),), ()),
        (
            (TextDelta(content="B"),),
            (Text(content="\n"), Text(content="B")),
            (TextDelta(content="\n"), Text(content="B")),
        ),
    ],
)
def test_segments_that_are_cut_in_other_places_are_not_shown_twice(
    seen: tuple[Event, ...], stored: tuple[Event, ...], missing: tuple[Event, ...]
) -> None:
    assert missing_events(Turn("q", seen), Turn("q", stored)) == missing


def test_a_final_that_corrects_the_deltas_before_a_cut_is_the_text_of_the_turn() -> None:
    made = TurnFold("q")
    made.add(TextDelta(content="Helo"))
    delivery = decide(live=made.turn, history=asked("q", Text(content="Hello"), STOP), position=0)
    assert delivery.turn is not None
    assert missing_events(made.turn, delivery.turn) == (Text(content="Hello"), STOP)
    assert made.adopt(delivery.turn) == (Text(content="Hello"), STOP)
    assert made.turn.text == "Hello"


def test_what_came_live_as_a_final_stays_one_where_the_session_has_the_beginning_of_it() -> None:
    made = TurnFold("q")
    made.add(Text(content="Hello"))
    assert made.adopt(Turn("q", (TextDelta(content="Hel"),))) == ()
    assert made.turn.events == (Text(content="Hello"),)
    longer = Turn("q", (TextDelta(content="Hello, you"),))
    assert made.adopt(longer) == (TextDelta(content=", you"),)
    assert made.turn == longer


def test_a_stop_is_never_taken_as_seen() -> None:
    stop = Stop(usage=STOP.usage, is_error=True, error="x")
    assert missing_events(Turn("q", (STOP,)), Turn("q", (stop,))) == (stop,)
