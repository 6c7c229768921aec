"""Hundreds of schedules of faults, in virtual time; `python -m benchmarks.faults` plays 10,000."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chat_sessions.core.delivery import decide
from chat_sessions.llama_cloud.wire import turn_call
from chat_sessions.session import turn_state
from chat_sessions.session.deadlines import EventClock
from tests.simulation.promises import Broken, check
from tests.simulation.schedule import draw


@given(st.randoms(use_true_random=False))
@settings(max_examples=max(300, settings().max_examples), derandomize=True)
@pytest.mark.timeout(600)
def test_any_faults_on_any_service_are_told_truly_and_no_prompt_is_sent_twice(choose: random.Random) -> None:
    check(draw(choose))


def is_caught(*promises: str) -> bool:
    """Whether one of these promises is found to be broken, soon."""
    for seed in range(1000):
        try:
            check(draw(random.Random(seed)))
        except Broken as broken:
            if broken.promise in promises:
                return True
    return False


def test_a_client_that_sends_a_turn_again_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("endpoints", "async_endpoints"):
        monkeypatch.setattr(
            f"chat_sessions.llama_cloud.{module}.turn_call",
            lambda request: replace(turn_call(request), may_repeat=True),
        )
    assert is_caught("duplicate prompts")


def test_a_client_that_takes_the_end_of_a_stream_for_the_end_of_the_turn_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def believe(stream: Any, cause: Exception) -> None:
        stream._is_closed = True

    monkeypatch.setattr(turn_state.TurnState, "_recover", believe)
    assert is_caught("silent truncations")


def test_a_client_that_takes_an_older_answer_for_its_own_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chat_sessions.session.recovery.decide", lambda **known: decide(**{**known, "turns_before": 0}))
    assert is_caught("untrue beginnings", "lost finals", "untrue errors")


def test_a_client_that_waits_for_bytes_and_not_for_events_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EventClock, "remaining", lambda clock: None)
    assert is_caught("hangs", "late errors")
