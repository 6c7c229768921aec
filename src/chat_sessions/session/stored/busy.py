"""How a turn waits for the one that its session still runs.

Pure but for the clock: the shells in `turn_stream` read the session, sleep and post again, `Busy` decides. A turn that
was refused with a 409 was not taken, so posting it again does no harm.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import chain
from typing import NoReturn

from chat_sessions.core.delivery import asked
from chat_sessions.core.errors import ConfigurationError, ConflictError
from chat_sessions.core.turn import Turn
from chat_sessions.session.waiting import growing_waits

__all__ = ["Busy", "check_wait", "described"]

_FIRST_WAIT = 0.25
_LONGEST_WAIT = 3.0
# How long a session may still be busy after it shows that its last turn has ended, in seconds.
_SETTLING = 3.0
_LONGEST_QUOTE = 60


def described(prompt: str) -> str:
    """Describe a turn in a message."""
    return f"the turn {prompt if len(prompt) <= _LONGEST_QUOTE else prompt[:_LONGEST_QUOTE] + '…'!r}"


def check_wait(wait_if_busy: object) -> None:
    """Raise `ConfigurationError` unless this is True, False or seconds."""
    if not isinstance(wait_if_busy, int | float) or not wait_if_busy >= 0:
        raise ConfigurationError(f"wait_if_busy must be True, False or seconds, 0 or more; got {wait_if_busy!r}")


class Busy:
    """One wait: after each refusal call `refused`, then `look` or `not_read`, until `may_post`.

    `left` describes the turn that this process left in the session, None if it left none; `turns` is how many
    turns the session holds as far as is known. Each of the methods raises the refusal when waiting is no use, or when
    `limit` seconds are over.
    """

    def __init__(
        self, *, left: str | None, turns: int | None, limit: float, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._left = left
        self._turns = turns
        self._limit = limit
        self._now = now
        self._started = now()
        self._wait = 0.0
        self._waits = chain((0.0,), growing_waits(_FIRST_WAIT, _LONGEST_WAIT))
        self._idle_since: float | None = None
        self._awaited = left
        self._refusal: ConflictError | None = None
        self.may_post = False

    @property
    def is_waiting(self) -> bool:
        """Whether there is a turn to wait for."""
        return self._awaited is not None

    @property
    def limit(self) -> float:
        """How many seconds the wait may take."""
        return self._limit

    def refused(self, error: ConflictError) -> None:
        """The session refused the turn."""
        self._refusal, self.may_post = error, False
        if not error.may_pass:
            self.fail()

    def next_wait(self) -> float:
        """Seconds to wait before the next look: none before the first, then longer each time, up to 3 s."""
        self._wait = next(self._waits)
        return min(self._wait, self.time_left)

    @property
    def time_left(self) -> float:
        """Seconds that the wait may still take."""
        return max(0.0, self._started + self._limit - self._now())

    def look(self, turns: Sequence[Turn]) -> None:
        """Take in the turns that the session shows now."""
        places = asked(turns)
        last = turns[places[-1] if places else -1] if turns else None
        if last is not None and not last.is_complete:
            self._awaited = self._left or described(last.prompt or "")
            self._idle_since = None
            self._check_time()
            return
        is_all = self._turns is not None and len(places) >= self._turns
        if self._left is None or is_all:
            # The turn that ran has ended, if one did run.
            if self._awaited is None:
                self.fail()
            if self._idle_since is None:
                self._idle_since = self._now()
            if self._wait > 0 and self._now() - self._idle_since >= _SETTLING:
                self.fail()
        self._check_time()
        self._let_post()

    def not_read(self) -> None:
        """The session could not be read."""
        if self._awaited is None:
            self.fail()
        self._check_time()
        self._let_post()

    def _let_post(self) -> None:
        self.may_post = True
        # A refusal's traceback keeps the stream alive, which must close as soon as it is dropped.
        if self._refusal is not None:
            self._refusal = self._refusal.with_traceback(None)

    def _check_time(self) -> None:
        if self.time_left == 0:
            self.fail()

    def fail(self) -> NoReturn:
        """Raise the refusal, with the turn that was waited for."""
        error = self._refusal
        assert error is not None  # noqa: S101 - nothing is waited for without a refusal
        if self._awaited is None or not error.may_pass:
            raise error
        if self._idle_since is not None:
            waited = f"{self._awaited} has ended there, and the session still refuses the next one"
        else:
            waited = (
                f"waited {self._limit:g} s for {self._awaited}, which still runs there: wait_if_busy= or "
                "timeouts.total allow more"
            )
        raise ConflictError(
            f"{error}; {waited}", status_code=error.status_code, body=error.body, request_id=error.request_id
        ) from error
