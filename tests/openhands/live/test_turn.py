"""What the reading of frames decides in cases that the captures do not show."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chat_sessions.core.events import Event, Stop, TextDelta, ThinkingDelta, ToolCall, ToolResult, UnknownEvent
from chat_sessions.core.turn import TurnFold
from chat_sessions.openhands import OpenHandsChat
from chat_sessions.openhands.events.history import history_of
from chat_sessions.openhands.events.mapping import events_of
from chat_sessions.openhands.live.reading import Reading
from chat_sessions.openhands.live.turn import LiveTurn
from chat_sessions.openhands.settings import Settings
from chat_sessions.session.backend import ConnectionLost, TurnRequest
from chat_sessions.session.deadlines import EventClock, Timeouts
from tests.openhands.live.captured import Frame, folded


def message(text: str, source: str = "user", event_id: str = "m", **more: Any) -> Frame:
    said = {"role": source, "content": [{"type": "text", "text": text}]}
    return {"kind": "MessageEvent", "id": event_id, "source": source, "llm_message": said, **more}


def state(value: str, key: str = "execution_status", event_id: str = "") -> Frame:
    told: Any = value if key == "execution_status" else {"execution_status": value}
    return {"kind": "ConversationStateUpdateEvent", "id": event_id, "key": key, "value": told}


def delta(order: int, content: str, attempt: int = 1, kind: str = "text") -> Frame:
    return {"type": "delta", "item_id": "i", "attempt": attempt, "order": order, "kind": kind, "content": content}


def running(prompt: str = "Hi") -> LiveTurn:
    live = LiveTurn(prompt)
    live.event(message(prompt))
    live.event(state("running"))
    return live


def shown(live: LiveTurn, *sent: Frame) -> str:
    """What a reader is shown of these frames."""
    events: list[Event] = []
    for frame in sent:
        events += live.envelope(frame) if "type" in frame else live.event(frame)
    fold = TurnFold("Hi")
    return "".join(e.content for event in events for e in fold.add(event) if isinstance(e, TextDelta))


def test_nothing_before_the_turns_own_message_is_part_of_it() -> None:
    live = LiveTurn("Hi")
    assert live.event(message("earlier answer", "agent")) == []
    assert live.event(message("another question", event_id="m2")) == []
    assert live.envelope(delta(0, "earlier")) == []
    assert not live.has_landed
    assert [event.type for event in live.event(message("Hi ", event_id="m3"))] == ["user_input"]


def test_a_state_that_ends_without_a_run_is_not_the_end() -> None:
    live = LiveTurn("Hi")
    live.event(state("finished", "full_state"))
    live.event(message("Hi"))
    live.event(state("finished", "full_state"))
    assert not live.is_over


def test_a_message_that_joins_a_run_ends_with_it() -> None:
    live = LiveTurn("Hi")
    live.event(state("running", "full_state"))
    live.event(message("Hi"))
    live.event(state("finished"))
    assert live.needs_look
    live.event(state("finished", "full_state"))
    assert live.is_over


def test_an_event_that_comes_twice_is_told_once() -> None:
    live = running()
    answer = message("Hello", "agent", "a1")
    assert len(live.event(answer)) == 1
    assert live.event(answer) == []


def test_a_second_attempt_shows_only_what_it_adds() -> None:
    live = running()
    sent = [delta(0, "One "), delta(1, "two "), delta(0, "One ", 2), delta(1, "two three", 2), delta(2, " four", 2)]
    assert shown(live, *sent, message("One two three four", "agent", "i")) == "One two three four"


def test_a_third_attempt_shows_only_what_it_adds_to_all_before() -> None:
    live = running()
    sent = [delta(0, "One two "), delta(0, "One ", 2), delta(0, "One two three", 3)]
    assert shown(live, *sent, message("One two three.", "agent", "i")) == "One two three."


def test_a_second_attempt_that_says_something_else_is_left_to_the_message() -> None:
    live = running()
    events = [
        event
        for frame in (delta(0, "One "), delta(0, "Other ", 2), delta(1, "words", 2))
        for event in live.envelope(frame)
    ]
    events += live.event(message("Other words", "agent", "i"))
    assert [e.content for e in events if isinstance(e, TextDelta)] == ["One "]
    assert folded("Hi", events).text == "Other words"


def test_deltas_after_a_gap_are_left_to_the_message() -> None:
    assert shown(
        running(), delta(0, "One "), delta(2, "three "), delta(3, "four"), message("One two three four", "agent", "i")
    ) == ("One two three four")


def test_a_late_delta_of_an_attempt_that_was_given_up_is_dropped() -> None:
    live = running()
    assert shown(live, delta(0, "One ", 2), delta(1, "lost ", 1), delta(0, "again ", 2)) == "One "


def test_reasoning_and_text_of_one_message_are_counted_together() -> None:
    live = running()
    events = [e for frame in (delta(0, "Hm", kind="reasoning"), delta(1, "Yes")) for e in live.envelope(frame)]
    assert events == [ThinkingDelta(content="Hm"), TextDelta(content="Yes")]


def test_after_a_cut_bare_deltas_wait_for_the_next_message() -> None:
    live = running()
    bare: Frame = {"kind": "StreamingDeltaEvent", "id": "d1", "content": "cut "}
    live.reconnected()
    assert live.event(bare) == []
    live.event(message("whole", "agent", "a1"))
    assert live.event({**bare, "id": "d2", "content": "next"}) == [TextDelta(content="next")]


def test_the_state_that_a_new_socket_tells_may_be_ahead_of_the_events() -> None:
    live = running()
    live.reconnected()
    live.event(state("finished", "full_state"))
    assert not live.is_over
    live.event(message("Hello", "agent", "a1"))
    live.event(state("finished"))
    assert live.is_over


def test_the_state_that_a_new_socket_tells_may_be_behind_the_events() -> None:
    live = running()
    live.reconnected()
    live.event(state("finished"))
    live.event(state("running", "full_state"))
    assert live.needs_look
    live.event(state("finished", "full_state"))
    assert live.is_over


@pytest.mark.parametrize("kind", ["ThinkingBlocksOfTheFuture", "CondensationSummaryEvent", "HookExecutionEvent"])
def test_a_kind_without_a_counterpart_passes_through_under_its_name(kind: str) -> None:
    (event,) = events_of({"kind": kind, "id": "x", "detail": {"a": 1}})
    assert isinstance(event, UnknownEvent)
    assert (event.type, event.raw["detail"]) == (kind, {"a": 1})


def test_a_call_through_the_agent_client_protocol_is_one_run() -> None:
    live = running()
    call = {"kind": "ACPToolCallEvent", "source": "agent", "tool_call_id": "c", "title": "Read notes.md"}
    events = [
        *live.event({**call, "id": "1", "status": "pending", "raw_input": {"path": "notes.md"}}),
        *live.event({**call, "id": "2", "status": "in_progress", "raw_input": {"path": "notes.md", "line": 1}}),
        *live.event({**call, "id": "3", "status": "completed", "raw_output": "text"}),
    ]
    assert [type(event) for event in events] == [ToolCall, ToolResult]
    (run,) = folded("Hi", events).tool_runs
    assert (run.name, run.arguments, run.status) == ("Read notes.md", {"path": "notes.md"}, "completed")


@pytest.mark.parametrize(
    ("arguments", "read"),
    [('{"a": 1}', {"a": 1}), ("[1]", {"input": [1]}), ("{broken", {"input": "{broken"}), (None, {})],
)
def test_arguments_that_are_no_object_are_kept(arguments: str | None, read: dict[str, Any]) -> None:
    call: Frame = {"arguments": arguments}
    (event,) = events_of({"kind": "ActionEvent", "tool_name": "t", "tool_call_id": "c", "tool_call": call})
    assert isinstance(event, ToolCall)
    assert event.arguments == read


def test_thinking_blocks_are_thinking() -> None:
    said = message("Yes", "agent", "a1")
    said["llm_message"]["thinking_blocks"] = [{"type": "thinking", "thinking": "Hm"}]
    assert [event.type for event in events_of(said)] == ["thinking", "text"]


def test_what_comes_before_the_first_message_makes_no_turn_of_its_own() -> None:
    items = [{"kind": "HookExecutionEvent", "id": "h"}, {"kind": "SystemPromptEvent", "id": "s"}, message("Hi")]
    events = history_of(items, {"execution_status": "running"})
    assert [event.type for event in events] == ["user_input", "HookExecutionEvent"]


def test_an_event_that_two_pages_hold_is_read_once() -> None:
    items = [
        message("Hi"),
        state("running", event_id="r"),
        message("Yes", "agent", "a1"),
        message("Yes", "agent", "a1"),
    ]
    events = history_of(items, {"execution_status": "finished"})
    assert [event.type for event in events] == ["user_input", "text", "stop"]


def test_the_reason_of_an_error_that_lay_unread_while_the_server_was_asked_is_told() -> None:
    reading = Reading(_settings(), TurnRequest("s", "Hi", ()), EventClock(Timeouts()))
    reading.kind = "events"
    for frame in (message("Hi"), state("running"), state("error")):
        reading.take(json.dumps(frame))
    reading.looked({"execution_status": "error"})
    assert not reading.turn.is_over
    reading.take(json.dumps({"kind": "ConversationErrorEvent", "id": "e", "code": "LLMError", "detail": "no"}))
    reading.looked({"execution_status": "error"})
    assert reading.turn.is_over
    assert reading.turn.facts.stop(None).error == "LLMError: no"


def test_the_reason_of_an_error_is_told_without_the_key_of_the_model_in_it() -> None:
    settings = _settings(llm={"model": "m", "api_key": "sk-sesame"})
    reading = Reading(settings, TurnRequest("s", "Hi", ()), EventClock(Timeouts()))
    reading.kind = "events"
    error = {"kind": "ConversationErrorEvent", "id": "e", "code": "LLMError", "detail": "no such key: sk-sesame"}
    for frame in (message("Hi"), state("running"), state("error"), error):
        reading.take(json.dumps(frame))
    reading.ready.clear()
    reading.stop({"execution_status": "error"})
    (stop,) = reading.ready
    assert isinstance(stop, Stop)
    assert stop.error == "LLMError: no such key: [secret]"


def test_an_error_without_a_reason_is_not_waited_for_for_ever() -> None:
    reading = Reading(_settings(), TurnRequest("s", "Hi", ()), EventClock(Timeouts()))
    reading.kind = "events"
    for frame in (message("Hi"), state("running"), state("error")):
        reading.take(json.dumps(frame))
    for _ in range(2):
        reading.looked({"execution_status": "error"})
    assert reading.turn.is_over


def test_a_run_that_has_gone_on_when_the_server_is_asked_is_read_on() -> None:
    reading = Reading(_settings(), TurnRequest("s", "Hi", ()), EventClock(Timeouts()))
    for frame in (message("Hi"), state("running"), state("finished")):
        reading.take(json.dumps({"type": "durable", "seq": 1, "event": frame}))
    reading.looked({"execution_status": "running"})
    assert not reading.turn.is_over
    assert not reading.turn.needs_look


def test_a_turn_that_ended_in_a_gap_of_the_older_socket_is_read_from_the_history() -> None:
    reading = Reading(_settings(), TurnRequest("s", "Hi", ()), EventClock(Timeouts()))
    reading.kind = "events"
    reading.take(json.dumps(message("Hi")))
    reading.reconnected()
    with pytest.raises(ConnectionLost, match="ended while"):
        reading.take(json.dumps(state("finished", "full_state")))


def test_an_end_that_the_older_socket_tells_before_what_was_missed_is_looked_up() -> None:
    reading = Reading(_settings(), TurnRequest("s", "Hi", ()), EventClock(Timeouts()))
    reading.kind = "events"
    reading.take(json.dumps(message("Hi")))
    reading.reconnected()
    for frame in (state("running", "full_state"), state("finished")):
        reading.take(json.dumps(frame))
    reading.looked({"execution_status": "finished"})
    assert reading.turn.is_over
    with pytest.raises(ConnectionLost, match="did not bring the whole turn"):
        reading.check_whole()


def test_a_confirmation_that_is_asked_for_after_a_cut_is_answered_live() -> None:
    reading = Reading(_settings(), TurnRequest("s", "Hi", ()), EventClock(Timeouts()))
    reading.kind = "events"
    reading.take(json.dumps(message("Hi")))
    reading.reconnected()
    action = {"kind": "ActionEvent", "id": "a", "source": "agent", "tool_name": "terminal", "tool_call_id": "c"}
    for frame in (state("running", "full_state"), action, state("waiting_for_confirmation")):
        reading.take(json.dumps(frame))
    reading.check_whole()
    assert reading.confirmation is not None


def test_what_the_older_socket_sends_again_in_any_order_is_shown_in_the_order_of_its_times() -> None:
    reading = Reading(_settings(), TurnRequest("s", "Hi", ()), EventClock(Timeouts()))
    reading.kind = "events"
    reading.take(json.dumps(message("Hi")))
    reading.reconnected()
    reading.ready.clear()
    named = {"source": "agent", "tool_name": "terminal", "tool_call_id": "c"}
    action = {"kind": "ActionEvent", "id": "a", "timestamp": "2026-01-01T00:00:01.5", **named}
    result = {"kind": "ObservationEvent", "id": "o", "timestamp": "2026-01-01T00:00:02", **named}
    waits = {**action, "id": "b", "timestamp": "2026-01-01T00:00:03", "tool_call_id": "d"}
    said = message("Done.", "agent", "n", timestamp="2026-01-01T00:00:02.000001")
    # What happens meanwhile comes between, or before, what is sent again.
    for frame in (waits, result, said, state("running", "full_state"), action, state("waiting_for_confirmation")):
        reading.take(json.dumps(frame))
    assert not reading.ready
    assert reading.release()
    assert [event.type for event in reading.ready] == ["tool_call", "tool_result", "text", "tool_call"]
    # The call that has its result does not wait to be allowed.
    assert [one["id"] for one in reading.turn.facts.unanswered] == ["b"]


@pytest.mark.parametrize("source", ["environment", "hook"])
def test_a_message_of_neither_the_user_nor_the_agent_passes_through(source: str) -> None:
    (event,) = events_of(message("Note", source))
    assert isinstance(event, UnknownEvent)
    assert event.type == "MessageEvent"


def test_a_content_that_is_a_plain_string_is_its_text() -> None:
    event = message("", "agent")
    event["llm_message"]["content"] = "Plain"
    assert [e.type for e in events_of(event)] == ["text"]


def _settings(**options: Any) -> Settings:
    chat = OpenHandsChat(base_url="http://127.0.0.1:1", **options)
    return chat._settings


def test_a_run_that_ended_without_a_word_is_read_from_the_history() -> None:
    reading = Reading(_settings(), TurnRequest("s", "Hi", ()), EventClock(Timeouts()))
    reading.kind = "events"
    reading.take(json.dumps(message("Hi")))
    assert reading.wait_limit() == 5.0
    assert not reading.was_silent({"execution_status": "running"})
    assert reading.wait_limit() == 10.0
    # A run of an earlier message took this one in: nothing says that it has begun, and the end is not told.
    reading.take(json.dumps(state("finished")))
    assert reading.wait_limit() == 5.0
    assert not reading.was_silent({"execution_status": "finished"})
    reading.looked({"execution_status": "finished"})
    assert reading.turn.is_over
    with pytest.raises(ConnectionLost):
        reading.check_whole()


def test_a_message_that_was_taken_and_not_run_is_run() -> None:
    reading = Reading(_settings(), TurnRequest("s", "Hi", ()), EventClock(Timeouts()))
    for frame in (message("Hi"), state("idle")):
        reading.take(json.dumps({"type": "durable", "seq": 1, "event": frame}))
    assert reading.was_silent({"execution_status": "idle"})
    assert not reading.turn.needs_look
