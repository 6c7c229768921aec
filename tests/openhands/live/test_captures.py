"""Turns of a real server, replayed through the pure reading of its frames."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat_sessions.core.events import Event, Text, TextDelta, UnknownEvent
from chat_sessions.core.turn import TurnFold, replay
from chat_sessions.openhands.events.history import history_of, is_settled, summary_of
from chat_sessions.openhands.live.turn import LiveTurn
from tests.openhands.live.captured import body, feed, folded, frames, read, turn_in

_PROMPTS = ("Please run a command.", "TEXT please", "FINISH now")


def kinds(turn_events: object) -> list[str]:
    assert isinstance(turn_events, tuple)
    return [type(event).__name__ for event in turn_events]


@pytest.mark.parametrize("prompt", _PROMPTS)
def test_both_sockets_tell_the_same_turn(prompt: str) -> None:
    assert turn_in("ws-session-3-turns", prompt) == turn_in("ws-events-3-turns", prompt)


@pytest.mark.parametrize("position", range(3))
def test_a_turn_read_live_equals_the_same_turn_read_from_the_history(position: int) -> None:
    info = body("rest-get-conversation")
    stored = replay(history_of(body("rest-events-search")["items"], info))
    assert [turn.prompt for turn in stored] == list(_PROMPTS)
    assert turn_in("ws-session-3-turns", _PROMPTS[position], info) == stored[position]


def test_a_tool_turn_is_thinking_text_call_result_and_the_answer() -> None:
    turn = turn_in("ws-session-3-turns", "Please run a command.")
    assert kinds(turn.events) == ["Thinking", "Text", "ToolCall", "ToolResult", "Thinking", "Text", "Stop"]
    (run,) = turn.tool_runs
    assert (run.name, run.arguments, run.status) == ("terminal", {"command": "echo hello-from-terminal"}, "completed")
    assert isinstance(run.result, dict)
    assert (run.result["content"], run.result["exit_code"]) == ("hello-from-terminal", 0)


def test_the_message_of_the_finish_tool_is_text_and_no_tool_run() -> None:
    turn = turn_in("ws-session-3-turns", "FINISH now")
    assert [e.content for e in turn.events if isinstance(e, Text)] == ["Wrapping up. ", "Finished via the finish tool."]
    assert turn.tool_runs == ()


def test_usage_is_that_of_the_turns_own_calls_of_the_model() -> None:
    info = body("rest-get-conversation")
    usages = [turn_in("ws-session-3-turns", prompt, info).usage for prompt in _PROMPTS]
    assert [(u.input_tokens, u.output_tokens, u.turns) for u in usages if u] == [
        (200, 40, 2),
        (100, 20, 1),
        (100, 20, 1),
    ]
    # The conversation has made a fifth call, for its title.
    spent = summary_of(info).job_metadata
    assert spent is not None
    assert spent.input_tokens == 500


def test_usage_that_cannot_be_read_is_none_and_never_zero() -> None:
    usage = turn_in("ws-session-3-turns", "TEXT please", None).usage
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens) == (None, None)
    assert usage.duration_ms == pytest.approx(723.66, abs=0.01)


def test_parallel_calls_are_runs_of_their_own() -> None:
    turn = turn_in("ws-parallel-tools", "PARALLEL please")
    assert [(run.name, run.arguments, run.status) for run in turn.tool_runs] == [
        ("think", {"thought": "one"}, "completed"),
        ("think", {"thought": "two"}, "completed"),
    ]
    assert turn.thinking.startswith("Two thoughts. ")


@pytest.mark.parametrize(
    ("capture", "prompt", "says"),
    [("ws-badtool", "BADTOOL please", "not found"), ("ws-badargs", "BADARGS please", "Error validating tool")],
)
def test_a_call_that_the_server_refuses_is_a_failed_run_and_the_turn_goes_on(
    capture: str, prompt: str, says: str
) -> None:
    turn = turn_in(capture, next(p for p in (prompt, prompt.split()[0]) if read(capture, p).has_landed))
    (run,) = turn.tool_runs
    assert run.status == "failed"
    assert says in str(run.result)
    assert turn.error is None
    assert turn.text


def test_a_model_that_does_not_stream_gives_the_same_turn_without_deltas() -> None:
    prompt = next(f for f in frames("ws-nostream") if f.get("kind") == "MessageEvent" and f["source"] == "user")
    live = LiveTurn(prompt["llm_message"]["content"][0]["text"])
    events = feed(live, frames("ws-nostream"))
    assert not any(isinstance(event, TextDelta) for event in events)
    assert folded("", events).text


def test_a_failing_model_ends_the_turn_with_the_servers_reason() -> None:
    turn = turn_in("ws-llm-401", "FAIL401")
    assert turn.error == "LLMAuthenticationError: Your LLM API key appears to be invalid or has expired."


def test_a_run_cut_by_its_limit_keeps_what_it_had() -> None:
    turn = turn_in("ws-max-iterations", "Please run a command.")
    assert turn.error == "MaxIterationsReached: Agent reached maximum iterations limit (1)."
    assert turn.tool_runs[0].status == "completed"


@pytest.mark.parametrize("capture", ["ws-interrupt", "ws-session-interrupt"])
def test_an_interrupted_run_is_a_failed_turn_with_what_was_shown(capture: str) -> None:
    turn = turn_in(capture, "SLOW please")
    assert (turn.text, turn.error) == ("slow ", "the run was interrupted")
    assert [e.type for e in turn.events if isinstance(e, UnknownEvent)] == ["InterruptEvent"]


def test_a_run_that_waits_for_a_confirmation_says_for_what() -> None:
    live = read("ws-confirmation", "Please run a command.")
    assert live.is_over
    assert live.facts.waits_for_confirmation
    assert [action["tool_name"] for action in live.facts.unanswered] == ["terminal"]
    assert "confirmation of terminal" in (turn_in("ws-confirmation", "Please run a command.").error or "")


def test_a_refused_action_is_a_failed_run_in_the_history() -> None:
    items = [frame for frame in frames("ws-confirmation-reject") if frame.get("key") != "full_state"]
    (turn,) = replay(history_of(items, {"execution_status": "idle"}))
    assert turn.tool_runs[0].status == "failed"
    assert turn.error == "the action terminal was rejected, and the run has not continued"


def test_finished_alone_is_not_the_end_when_another_message_lets_the_run_go_on() -> None:
    live = LiveTurn("SLOW please")
    looks = 0
    for frame in frames("ws-send-while-running-clean"):
        live.event(frame)
        looks += live.needs_look
        if live.is_over:
            break
    assert live.is_over
    assert frame["key"] == "full_state"
    # Once when it said so and went on in the same breath, once at the end.
    assert looks == 2


def test_a_server_killed_in_a_run_ends_the_turn_as_an_error() -> None:
    turn = turn_in("ws-session-after-crash", "SLOW please")
    assert turn.error is not None
    assert "stopped during the run" in turn.error


def test_a_cut_stream_goes_on_without_a_word_twice_or_lost() -> None:
    live = LiveTurn("SLOW please")
    first = feed(live, frames("ws-session-midrun-before-drop"))
    assert live.last_seq == 4
    live.reconnected()
    rest = feed(live, frames("ws-session-midrun-after-reconnect"))
    assert live.is_over
    # Nothing was missed in this gap, so the deltas go on as well.
    assert "".join(e.content for e in [*first, *rest] if isinstance(e, TextDelta)) == "slow " * 60
    assert folded("SLOW please", [*first, *rest]).text == "slow " * 60


@given(st.integers(0, 80), st.integers(0, 80), st.sampled_from(_PROMPTS))
def test_a_stream_cut_anywhere_and_resumed_by_number_makes_the_same_turn(cut: int, lost: int, prompt: str) -> None:
    sent = frames("ws-session-3-turns")
    live = LiveTurn(prompt)
    events = feed(live, sent[:cut])
    if not live.is_over:
        live.reconnected()
        seq = -1 if live.last_seq is None else live.last_seq
        # Deltas that were sent meanwhile are lost; numbered events come again from where it stopped.
        after = [f for i, f in enumerate(sent) if (f["type"] == "durable" and f["seq"] > seq) or i >= cut + lost]
        # Whoever connects is told the state, after what was missed.
        events += feed(live, [*after, sent[-1]])
    assert live.is_over
    whole = turn_in("ws-session-3-turns", prompt)
    made = folded(prompt, [*events, live.facts.stop(None)])
    assert (made.text, made.thinking, made.tool_runs) == (whole.text, whole.thinking, whole.tool_runs)
    shown = "".join(e.content for e in _shown(prompt, events) if isinstance(e, TextDelta))
    assert shown == whole.text


def _shown(prompt: str, events: list[Event]) -> list[Event]:
    fold = TurnFold(prompt)
    return [new for event in events for new in fold.add(event)]


def test_a_history_read_before_the_end_of_its_run_is_not_settled() -> None:
    items = body("rest-events-search")["items"]
    info = body("rest-get-conversation")
    assert is_settled(items, info)
    assert not is_settled(items[:-3], info)
    assert is_settled(items[:-3], {**info, "execution_status": "running"})


def test_a_run_that_goes_on_has_no_stop_in_the_history() -> None:
    items = body("rest-events-search")["items"][:-3]
    turns = replay(history_of(items, {"execution_status": "running"}))
    assert [turn.is_complete for turn in turns] == [True, True, False]


def test_the_events_of_a_turn_are_of_the_vocabulary() -> None:
    known = {"user_input", "thinking_delta", "thinking", "text_delta", "text", "tool_call", "tool_result"}
    live = LiveTurn("Please run a command.")
    assert {event.type for event in feed(live, frames("ws-events-3-turns"))} == known
