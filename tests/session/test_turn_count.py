"""How many turns a session holds, and what is not certain about it."""

from __future__ import annotations

import pytest

from chat_sessions.session.stored.turn_count import TurnCount


@pytest.fixture
def count() -> TurnCount:
    made = TurnCount()
    made.created()
    return made


def run(count: TurnCount, landed: bool | None) -> int | None:
    before = count.begin()
    count.end(landed=landed)
    return before


def test_turns_that_landed_are_counted_and_refused_ones_are_not(count: TurnCount) -> None:
    assert [run(count, True), run(count, False), run(count, True)] == [0, 1, 1]
    assert (count.begin(), count.in_doubt) == (2, False)


def test_a_prompt_of_which_nobody_knows_leaves_the_count_in_doubt_until_the_session_shows_it(count: TurnCount) -> None:
    run(count, None)
    assert count.in_doubt
    count.read(count.reading(), 1)
    assert (count.begin(), count.in_doubt) == (1, False)


def test_a_session_that_shows_no_more_than_was_known_may_show_the_prompt_later(count: TurnCount) -> None:
    run(count, None)
    count.read(count.reading(), 0)
    assert count.in_doubt
    # Turns come one after the other: when a later one has ended, the earlier one is there or never was.
    run(count, True)
    count.read(count.reading(), 1)
    assert (count.begin(), count.in_doubt) == (1, False)


def test_a_session_that_shows_fewer_turns_than_landed_is_late_and_not_believed(count: TurnCount) -> None:
    run(count, True)
    count.read(count.reading(), 0)
    assert count.begin() == 1


def test_a_session_that_nobody_counted_is_counted_when_it_is_read() -> None:
    count = TurnCount()
    assert run(count, True) is None
    run(count, None)
    count.read(count.reading(), 5)
    assert (count.begin(), count.in_doubt) == (5, False)


def test_what_was_read_while_a_turn_ran_does_not_count(count: TurnCount) -> None:
    reading = count.reading()
    count.begin()
    count.read(reading, 9)
    count.read(count.reading(), 9)
    count.end(landed=True)
    assert count.begin() == 1
