"""Deadlines count the time that the service takes for an event, not the reader's."""

from __future__ import annotations

import pytest

from chat_sessions import ConfigurationError, Timeouts
from chat_sessions.session.deadlines import EventClock


class Time:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_first_event_has_a_deadline_of_its_own() -> None:
    time = Time()
    clock = EventClock(Timeouts(first_event=10, idle=3), time)
    time.now += 4
    assert clock.remaining() == 6
    assert clock.describe() == "no event within 10 s of sending the prompt (timeouts.first_event)"
    clock.event_arrived()
    assert clock.remaining() == 3
    assert clock.describe() == "no event within 3 s (timeouts.idle)"
    time.now += 5
    assert clock.remaining() == 0


def test_time_that_the_reader_takes_does_not_count() -> None:
    time = Time()
    clock = EventClock(Timeouts(first_event=10, idle=3), time)
    time.now += 4
    clock.pause()
    time.now += 1000
    clock.start()
    assert clock.remaining() == 6
    clock.event_arrived()
    time.now += 1000
    clock.start()
    assert clock.remaining() == 3


def test_a_request_that_is_sent_again_has_the_whole_time_again() -> None:
    time = Time()
    clock = EventClock(Timeouts(first_event=10), time)
    time.now += 9
    clock.pause()
    clock.start(afresh=True)
    assert clock.remaining() == 10


def test_the_total_counts_everything_and_comes_first_where_it_is_nearer() -> None:
    time = Time()
    clock = EventClock(Timeouts(first_event=10, total=12), time)
    time.now += 5
    clock.pause()
    time.now += 4
    clock.start()
    assert clock.remaining() == 3
    assert clock.describe() == "the turn took longer than 12 s (timeouts.total)"


def test_the_total_is_over_with_the_first_event_after_it() -> None:
    time = Time()
    clock = EventClock(Timeouts(total=12), time)
    clock.start(afresh=True)
    time.now += 11
    clock.event_arrived()
    time.now += 100
    assert not clock.is_over
    clock.start()
    clock.event_arrived()
    assert clock.is_over
    assert clock.describe() == "the turn took longer than 12 s (timeouts.total)"


def test_without_a_total_a_turn_is_never_over() -> None:
    time = Time()
    clock = EventClock(Timeouts(idle=3), time)
    time.now += 1000
    clock.event_arrived()
    assert not clock.is_over


def test_a_total_that_is_further_away_is_not_the_next_deadline() -> None:
    clock = EventClock(Timeouts(first_event=10, total=12), Time())
    assert (clock.remaining(), clock.describe()[:22]) == (10, "no event within 10 s o")
    only_total = EventClock(Timeouts(first_event=None, total=12), Time())
    assert (only_total.remaining(), only_total.describe()[:8]) == (12, "the turn")


def test_without_deadlines_there_is_nothing_to_wait_for() -> None:
    clock = EventClock(Timeouts(first_event=None, idle=None))
    assert clock.remaining() is None
    assert clock.describe() == "the service did not answer in time"
    clock.event_arrived()
    assert clock.remaining() is None


@pytest.mark.parametrize("value", [float("inf"), 1e10])
def test_a_deadline_that_no_socket_can_hold_is_refused(value: float) -> None:
    with pytest.raises(ConfigurationError, match=r"timeouts\.idle must be 2,000,000 s at most, or None"):
        Timeouts(idle=value)


@pytest.mark.parametrize("name", ["connect", "first_event", "idle", "total"])
def test_only_the_look_up_of_a_broken_turn_may_have_no_time_at_all(name: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"timeouts\.{name} must be more than 0"):
        Timeouts(**{name: 0})
    assert Timeouts(recovery=0).recovery == 0
