"""How long a broken turn is looked for, and which error is true then: decided without a socket or a real clock."""

from __future__ import annotations

import pytest

from chat_sessions.core.errors import (
    APIConnectionError,
    APIError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    ChatSessionsError,
    InternalServerError,
    NotFoundError,
    ProtocolError,
    RateLimitError,
    TurnError,
    TurnInterrupted,
    TurnOutcomeUnknown,
    TurnStalled,
)
from chat_sessions.core.events import Event, Stop, Text, TextDelta, ToolCall, UnknownEvent, UserInput
from chat_sessions.core.models import Usage
from chat_sessions.core.turn import TurnFold, events_of
from chat_sessions.session.backend import DeadlinePassed, EventUnreadable
from chat_sessions.session.recovery import Recovery, is_evidence

STOP = Stop(usage=Usage(input_tokens=3, output_tokens=5), is_error=False)
ASKED = UserInput(content="q")
CALL = ToolCall(call_id="c", name="search", arguments={})
BROKE = ConnectionError("the stream broke")


class Clock:
    """Seconds, as the test says."""

    def __init__(self) -> None:
        self.now = 7.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def recovery(
    clock: Clock,
    *live: Event,
    cause: Exception = BROKE,
    budget: float | None = 10.0,
    turns_before: int | None = 0,
    in_doubt: bool = False,
) -> tuple[Recovery, TurnFold]:
    fold = TurnFold("q")
    for event in live:
        fold.add(event)
    made = Recovery(
        fold,
        cause=cause,
        session_id="ses-1",
        budget=budget,
        turns_before=turns_before,
        now=clock,
        in_doubt=in_doubt,
    )
    return made, fold


def failure(status: int) -> InternalServerError:
    return InternalServerError(f"POST answered {status}", status_code=status)


# What it delivers.


def test_a_turn_that_its_session_shows_to_the_end_is_whole_and_the_look_up_over(clock: Clock) -> None:
    made, fold = recovery(clock, TextDelta(content="Hel"))
    assert not made.is_over
    assert not made.is_found
    news = made.look([ASKED, Text(content="Hello"), STOP])
    assert list(events_of(news)) == [TextDelta(content="lo"), Text(content="Hello"), STOP]
    assert (fold.turn.text, fold.is_complete, made.is_over, made.is_found) == ("Hello", True, True, True)


def test_a_turn_that_still_runs_is_looked_at_again_in_its_place(clock: Clock) -> None:
    made, fold = recovery(clock, turns_before=1)
    older: list[Event] = [ASKED, Text(content="old"), STOP]
    assert made.look(older) == ()
    assert not made.is_found
    assert made.look([*older, ASKED]) == ()
    assert (made.is_found, made.is_over) == (True, False)
    made.look([*older, ASKED, TextDelta(content="mi")])
    # Somebody else asks the same afterwards: its words tell which turn it is.
    made.look([*older, ASKED, Text(content="mine"), STOP, ASKED, Text(content="theirs"), STOP])
    assert fold.turn.text == "mine"


def test_a_turn_found_without_words_is_none_of_two_that_ask_the_same_but_was_still_found(clock: Clock) -> None:
    made, fold = recovery(clock, turns_before=0)
    made.look([ASKED])
    # A look that lags may have missed the first of them.
    assert made.look([ASKED, Text(content="whose?"), STOP, ASKED, Text(content="mine?"), STOP]) == ()
    assert (made.is_found, made.is_over, fold.is_complete) == (True, False, False)


def test_an_earlier_prompt_in_doubt_makes_an_answer_without_evidence_nobodys(clock: Clock) -> None:
    made, fold = recovery(clock, in_doubt=True)
    assert made.look([ASKED, Text(content="whose?"), STOP]) == ()
    assert not fold.is_complete


@pytest.mark.parametrize(
    ("events", "known"),
    [
        ((), False),
        ((UnknownEvent(raw={"type": "ping"}),), False),
        ((UnknownEvent(raw={"type": "ping"}), CALL), True),
        ((TextDelta(content="a"),), True),
    ],
)
def test_only_an_event_of_a_known_type_is_evidence(clock: Clock, events: tuple[Event, ...], known: bool) -> None:
    made, fold = recovery(clock, *events)
    assert is_evidence(fold.turn) is known
    assert isinstance(made.verdict(), TurnInterrupted if known else TurnOutcomeUnknown)


# How long it looks.


def test_the_first_look_is_at_once_and_the_waits_grow_to_three_seconds(clock: Clock) -> None:
    made, _ = recovery(clock, budget=None)
    assert [round(made.next_wait(), 3) for _ in range(8)] == [0.0, 0.25, 0.4, 0.64, 1.024, 1.638, 2.621, 3.0]
    assert made.next_wait() == 3.0


def test_no_wait_is_longer_than_the_time_that_is_left(clock: Clock) -> None:
    made, _ = recovery(clock, budget=2.0)
    for _ in range(7):
        made.next_wait()
    clock.now += 1.5
    assert (made.time_left, made.next_wait(), made.is_over) == (0.5, 0.5, False)
    clock.now += 1.0
    assert (made.time_left, made.next_wait(), made.is_over) == (0.0, 0.0, True)


def test_without_a_deadline_a_turn_that_the_session_shows_is_waited_for_and_another_for_a_minute(clock: Clock) -> None:
    seen, _ = recovery(clock, budget=None)
    seen.look([ASKED])
    unseen, _ = recovery(clock, budget=None)
    assert seen.time_left is None
    clock.now += 59.75
    assert not unseen.is_over
    clock.now += 0.25
    assert unseen.is_over
    clock.now += 10_000
    assert (seen.is_over, unseen.is_over) == (False, True)


@pytest.mark.parametrize("status", [500, 501, 503])
def test_a_service_that_says_it_failed_is_believed_after_three_seconds(clock: Clock, status: int) -> None:
    made, _ = recovery(clock, cause=failure(status))
    clock.now += 2.75
    made.look([])
    assert not made.is_over
    clock.now += 0.25
    assert made.is_over
    clock.now += 1
    assert made.is_over
    assert made.verdict() is made.cause


def test_it_is_not_believed_while_the_session_could_not_be_read_or_shows_the_prompt(clock: Clock) -> None:
    unread, _ = recovery(clock, cause=failure(500))
    shown, _ = recovery(clock, cause=failure(500))
    shown.look([ASKED])
    clock.now += 4
    assert not unread.is_over
    assert not shown.is_over


@pytest.mark.parametrize("status", [502, 504])
def test_a_gateway_that_says_so_is_not_believed(clock: Clock, status: int) -> None:
    made, _ = recovery(clock, cause=failure(status))
    made.look([])
    clock.now += 9
    assert not made.is_over


def test_another_error_than_a_services_own_is_no_reason_to_stop_early(clock: Clock) -> None:
    made, _ = recovery(clock)
    made.look([])
    clock.now += 9
    assert not made.is_over


@pytest.mark.parametrize(
    ("error", "is_final"),
    [
        (NotFoundError("gone", status_code=404), True),
        (AuthenticationError("refused", status_code=401), True),
        (APIStatusError("odd", status_code=499), True),
        (APIStatusError("slow", status_code=408), False),
        (RateLimitError("busy", status_code=429), False),
        (failure(500), False),
        (failure(503), False),
        (APIConnectionError("no way"), False),
        (ProtocolError("no JSON"), False),
    ],
)
def test_a_refusal_to_show_the_session_ends_the_look_up_and_a_failure_does_not(
    clock: Clock, error: APIError | ProtocolError, is_final: bool
) -> None:
    made, _ = recovery(clock)
    made.failed(error)
    assert made.is_over is is_final
    verdict = made.verdict()
    assert f"session ses-1 could not be read ({error})" in str(verdict)
    assert isinstance(verdict, TurnOutcomeUnknown)


# What it says.


def said(made: Recovery) -> str:
    verdict = made.verdict()
    assert isinstance(verdict, TurnError)
    assert verdict.session_id == "ses-1"
    return f"{type(verdict).__name__}: {verdict}"


def test_a_prompt_that_the_session_does_not_show_may_have_landed(clock: Clock) -> None:
    made, fold = recovery(clock)
    made.look([])
    assert said(made) == (
        "TurnOutcomeUnknown: the stream broke; session ses-1 has not shown the prompt, so whether the prompt landed is "
        "not known: look at the session before sending it again"
    )
    error = made.verdict()
    assert isinstance(error, TurnError)
    assert error.turn == fold.turn


def test_a_session_that_was_not_read_and_one_that_could_not_be_are_told_apart(clock: Clock) -> None:
    not_asked, _ = recovery(clock, budget=0)
    assert not_asked.is_over
    assert "session ses-1 was not looked up (timeouts.recovery is 0), so whether" in said(not_asked)
    in_vain, _ = recovery(clock)
    assert "session ses-1 could not be read, so whether" in said(in_vain)
    landed, _ = recovery(clock, CALL, budget=0)
    assert said(landed) == (
        "TurnInterrupted: the stream broke; the prompt landed, and session ses-1 was not looked up (timeouts.recovery "
        "is 0): read it again later, do not send the prompt again"
    )
    unreadable, _ = recovery(clock, CALL)
    assert "the prompt landed, and session ses-1 could not be read: read it again later" in said(unreadable)
    unreadable.failed(APIConnectionError("no way"))
    assert "session ses-1 could not be read (no way): read it again later" in said(unreadable)


def test_a_read_that_had_no_time_does_not_replace_what_the_service_answered(clock: Clock) -> None:
    made, _ = recovery(clock)
    made.failed(APITimeoutError("silence"), within=0.01)
    assert "session ses-1 could not be read (silence), so whether" in said(made)
    made.failed(failure(503), within=9.0)
    made.failed(APITimeoutError("silence"), within=0.01)
    assert f"session ses-1 could not be read ({failure(503)}), so whether" in said(made)
    made.failed(ProtocolError("another session"), within=0.01)
    assert "session ses-1 could not be read (another session), so whether" in said(made)
    for within in (5.0, None):
        made.failed(failure(503), within=9.0)
        made.failed(APITimeoutError("silence"), within=within)
        assert "session ses-1 could not be read (silence), so whether" in said(made)


def test_turns_that_may_be_this_one_are_said_to_be_there(clock: Clock) -> None:
    made, _ = recovery(clock)
    made.look([UserInput(content="other words"), STOP])
    assert "session ses-1 shows turns that may or may not be this one, so whether" in said(made)
    landed, _ = recovery(clock, CALL, turns_before=None)
    landed.look([ASKED, Text(content="an answer"), STOP])
    assert "session ses-1 shows turns that may or may not be this one: read it" in said(landed)


def test_a_turn_without_an_end_was_interrupted_or_stalled(clock: Clock) -> None:
    for cause, kind in ((BROKE, TurnInterrupted), (DeadlinePassed("nothing for 60 s"), TurnStalled)):
        made, fold = recovery(clock, cause=cause)
        made.look([ASKED, TextDelta(content="Hel")])
        verdict = made.verdict()
        assert type(verdict) is kind
        assert fold.turn.text == "Hel"
        assert said(made).endswith(
            f"{cause}; the prompt landed, and session ses-1 shows no end of the turn yet: read it again later, do not "
            "send the prompt again"
        )


@pytest.mark.parametrize("budget", [10.0, 0])
def test_an_error_that_says_the_prompt_did_not_land_is_the_verdict_itself(clock: Clock, budget: float) -> None:
    cause = APIConnectionError("refused")
    made, _ = recovery(clock, cause=cause, budget=budget)
    if budget:
        assert isinstance(made.verdict(), TurnOutcomeUnknown)
        made.look([])
    assert made.verdict() is cause
    other, _ = recovery(clock, budget=budget)
    other.look([])
    assert isinstance(other.verdict(), TurnOutcomeUnknown)


def test_an_error_of_a_prompt_that_landed_is_not(clock: Clock) -> None:
    made, _ = recovery(clock, cause=failure(502))
    made.look([ASKED])
    assert isinstance(made.verdict(), TurnInterrupted)


def test_an_event_that_cannot_be_read_is_the_verdict_with_the_first_turn_that_it_was_given(clock: Clock) -> None:
    error = ProtocolError("data: nope")
    made, fold = recovery(clock, TextDelta(content="Hel"), cause=EventUnreadable(error))
    assert made.verdict() is error
    first = error.turn
    assert first == fold.turn
    fold.add(TextDelta(content="lo"))
    assert made.verdict() is error
    assert error.turn is first


@pytest.mark.parametrize("name", ["detail", "error", "message"])
def test_the_services_own_reason_is_said(clock: Clock, name: str) -> None:
    made, _ = recovery(clock, UnknownEvent(raw={"type": "error", name: "overloaded"}))
    assert said(made).startswith("TurnOutcomeUnknown: the stream broke; the service said: overloaded; session")


@pytest.mark.parametrize(
    ("reason", "quoted"),
    [
        ("x" * 300, "x" * 300 + "; session"),
        ("x" * 301, "x" * 300 + "…; session"),
        ({"code": "é"}, '{"code": "é"}; session'),
    ],
)
def test_a_reason_is_quoted_in_300_characters(clock: Clock, reason: object, quoted: str) -> None:
    made, _ = recovery(clock, UnknownEvent.model_validate({"raw": {"type": "error", "detail": reason}}))
    assert f"the service said: {quoted}" in said(made)


@pytest.mark.parametrize(
    "events",
    [
        (),
        (UnknownEvent(raw={"type": "error", "detail": ""}),),
        (UnknownEvent(raw={"type": "error", "detail": "before"}), CALL),
    ],
)
def test_what_is_not_the_last_word_is_no_reason(clock: Clock, events: tuple[Event, ...]) -> None:
    made, _ = recovery(clock, *events)
    assert "the service said" not in said(made)


@pytest.mark.parametrize(
    "cause",
    [
        BROKE,
        failure(500),
        EventUnreadable(ProtocolError("nope")),
    ],
)
def test_the_causes_of_what_is_raised_come_to_an_end(clock: Clock, cause: Exception) -> None:
    if isinstance(cause, EventUnreadable):
        cause.__cause__ = cause.error
    made, _ = recovery(clock, cause=cause)
    made.look([])
    with pytest.raises((ChatSessionsError, OSError)) as raised:
        made.fail()
    chain: list[BaseException] = [raised.value]
    while (before := chain[-1].__cause__) is not None:
        assert before not in chain
        chain.append(before)
    assert (cause in chain) is not isinstance(cause, EventUnreadable)
