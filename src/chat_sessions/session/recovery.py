"""How a turn continues after its stream broke: look it up, deliver the rest, wait, or raise a precise error.

Pure but for the clock: the shells in `turn_stream` read the session and sleep, this decides.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Literal, NoReturn

from chat_sessions.core.delivery import Ended, Outcome, decide
from chat_sessions.core.errors import (
    APIError,
    APIStatusError,
    APITimeoutError,
    ChatSessionsError,
    ConfigurationError,
    InternalServerError,
    ProtocolError,
    TurnInterrupted,
    TurnOutcomeUnknown,
    TurnStalled,
)
from chat_sessions.core.events import Event, UnknownEvent
from chat_sessions.core.turn import Turn, TurnFold, Update
from chat_sessions.session.backend import DeadlinePassed, EventUnreadable
from chat_sessions.session.waiting import growing_waits

__all__ = ["Recovery", "is_evidence"]

_FIRST_WAIT = 0.25
_LONGEST_WAIT = 3.0
# How long a prompt is looked for after the service itself said that it failed, in seconds. 502 and 504 come from a
# gateway; the turn may still be running.
_SETTLING = 3.0
_GATEWAY_STATUS = (502, 504)
# How long to look for a turn that the session does not show, in seconds, even if there is no other limit.
_LONGEST_SEARCH = 60.0
# A read given less time than this, in seconds, does not show whether the service answers.
_FAIR_READ = 1.0
# How much of the service's own reason an error repeats, in characters.
_QUOTE_LIMIT = 300


def is_evidence(turn: Turn) -> bool:
    """Whether the live events show that the prompt landed. An unknown event may be a refusal or a ping."""
    return any(not isinstance(event, UnknownEvent) for event in turn.events)


def _reason(turn: Turn) -> str | None:
    """Return what the service said went wrong in an unknown event at the end; None if it said nothing."""
    last = turn.events[-1] if turn.events else None
    if not isinstance(last, UnknownEvent):
        return None
    for name in ("detail", "error", "message"):
        if said := last.raw.get(name):
            text = said if isinstance(said, str) else json.dumps(said, ensure_ascii=False)
            return text if len(text) <= _QUOTE_LIMIT else text[:_QUOTE_LIMIT] + "…"
    return None


class Recovery:
    """The look-up of one broken turn.

    Call `look` with each history read and `failed` for each read that failed; between them wait
    `next_wait` seconds, until `is_over`. Then the fold is complete, or `verdict` is the error to raise.
    """

    def __init__(
        self,
        fold: TurnFold,
        *,
        cause: Exception,
        session_id: str,
        budget: float | None,
        turns_before: int | None,
        last: Ended | None = None,
        in_doubt: bool = False,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fold = fold
        self.cause = cause
        self._session_id = session_id
        self._budget = budget
        self._turns_before = turns_before
        self._last = last
        self._in_doubt = in_doubt
        # Response headers prove nothing: proxies send them, and so do services before they look at the prompt.
        self._landed = is_evidence(fold.turn)
        self._position: int | None = None
        self._now = now
        self._started = now()
        self._waits = chain((0.0,), growing_waits(_FIRST_WAIT, _LONGEST_WAIT))
        self._outcome: Outcome | Literal["unread"] = "unread"
        self._gone = False
        self._not_read: APIError | ConfigurationError | ProtocolError | None = None

    @property
    def is_over(self) -> bool:
        """Whether there is nothing more to look for, or no time to."""
        if self._fold.is_complete or self._gone or self.time_left == 0:
            return True
        if self._position is None and self._now() - self._started >= _LONGEST_SEARCH:
            return True
        is_refusal = isinstance(self.cause, InternalServerError) and self.cause.status_code not in _GATEWAY_STATUS
        settled = self._now() - self._started >= _SETTLING
        return is_refusal and settled and self._outcome == "not_shown"

    @property
    def is_found(self) -> bool:
        """Whether the session has shown the turn."""
        return self._position is not None

    @property
    def time_left(self) -> float | None:
        """Seconds that the look-up may still take; None for no limit."""
        if self._budget is None:
            return None
        return max(0.0, self._started + self._budget - self._now())

    def next_wait(self) -> float:
        """Seconds to wait before the next look: none before the first, then longer each time, up to 3 s."""
        wait = next(self._waits)
        left = self.time_left
        return wait if left is None else min(wait, left)

    def look(self, history: Sequence[Event]) -> tuple[Update, ...]:
        """Take in what the session shows now; return what the reader has not received yet."""
        delivery = decide(
            live=self._fold.turn,
            history=history,
            turns_before=self._turns_before,
            last=self._last,
            in_doubt=self._in_doubt,
            position=self._position,
        )
        self._outcome = delivery.outcome
        if delivery.position is not None:
            # Once found, it has landed, whatever later looks show.
            self._landed, self._position = True, delivery.position
        return () if delivery.turn is None else self._fold.adopt(delivery.turn)

    def failed(self, error: APIError | ConfigurationError | ProtocolError, *, within: float | None = None) -> None:
        """Take in that the session could not be read; `within` is how many seconds the read had, None for no limit.

        A refusal is final, and so is a client that cannot send, such as one that was closed; anything else is not.
        """
        is_cut_short = isinstance(error, APITimeoutError) and within is not None and within < _FAIR_READ
        if self._not_read is None or not is_cut_short:
            # The service's answer to an earlier read says more than a last read that ran out of time.
            self._not_read = error
        is_refused = (
            isinstance(error, APIStatusError) and error.status_code < 500 and error.status_code not in (408, 429)
        )
        if is_refused or isinstance(error, ConfigurationError):
            self._gone = True

    def fail(self) -> NoReturn:
        """Raise the verdict. Its cause is what broke the stream, unless that is the verdict or comes from it."""
        error = self.verdict()
        if error is self.cause or error is self.cause.__cause__:
            raise error
        raise error from self.cause

    def verdict(self) -> ChatSessionsError:
        """Return the error that fits what is known, with the turn so far."""
        turn, session_id, why = self._fold.turn, self._session_id, str(self.cause)
        unread = "could not be read" if self._not_read is None else f"could not be read ({self._not_read})"
        if (said := _reason(turn)) is not None:
            why = f"{why}; the service said: {said}"
        if isinstance(self.cause, EventUnreadable):
            if self.cause.error.turn is None:
                self.cause.error.turn = turn
            return self.cause.error
        if not self._landed:
            if isinstance(self.cause, ChatSessionsError) and (self._budget == 0 or self._outcome == "not_shown"):
                return self.cause
            shows = {
                "not_shown": "has not shown the prompt",
                "unknown": "shows turns that may or may not be this one",
                "unread": "was not looked up (timeouts.recovery is 0)" if self._budget == 0 else unread,
            }[self._outcome]
            return TurnOutcomeUnknown(
                f"{why}; session {session_id} {shows}, so whether the prompt landed is not known: look at the session "
                "before sending it again",
                turn=turn,
                session_id=session_id,
            )
        shows = {
            "unread": unread,
            "unknown": "shows turns that may or may not be this one",
        }.get(self._outcome, "shows no end of the turn yet")
        if self._budget == 0:
            shows = "was not looked up (timeouts.recovery is 0)"
        error = TurnStalled if isinstance(self.cause, DeadlinePassed) else TurnInterrupted
        return error(
            f"{why}; the prompt landed, and session {session_id} {shows}: read it again later, do not send the "
            "prompt again",
            turn=turn,
            session_id=session_id,
        )
