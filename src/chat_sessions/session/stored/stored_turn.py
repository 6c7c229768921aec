# Generated from async_stored_turn.py by scripts/generate_sync.py: edit that file, then run `make format`.
"""A turn that its session already holds, read like a stream. It is not sent again."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from typing import Self

from chat_sessions.core.delivery import asked, find_again
from chat_sessions.core.errors import APIError, ProtocolError, TurnFailed, TurnInterrupted, failed_turn
from chat_sessions.core.turn import RunEnded, Turn, TurnFold, Update, replay
from chat_sessions.session.chat_session import ChatSession
from chat_sessions.session.waiting import growing_waits, sleep

__all__ = ["StoredTurn"]


class StoredTurn:
    """The turn at this position of the session's turns, as the session shows it now.

    If the turn still runs, this waits for it, at most `timeouts.recovery` seconds, and its events come as the session
    shows them. Raises `TurnFailed` if it failed, `TurnInterrupted` if it has not ended in time.
    """

    def __init__(self, session: ChatSession, turns: Sequence[Turn], position: int) -> None:
        turn = turns[position]
        self._session = session
        self._position = position
        self._turns_before = len(asked(turns[:position]))
        self._fold = TurnFold(turn.prompt, turn.image_urls)
        self._ready: deque[Update] = deque(self._fold.adopt(turn))
        budget = session.client.timeouts.recovery
        self._deadline = None if budget is None else time.monotonic() + budget
        self._waits = growing_waits()
        self._is_closed = False

    @property
    def turn(self) -> Turn:
        """The turn so far."""
        return self._fold.turn

    @property
    def session_id(self) -> str | None:
        """The session's id."""
        return self._session.id

    @property
    def turns_before(self) -> int:
        """How many turns with a prompt there are before it."""
        return self._turns_before

    @property
    def landed(self) -> bool:
        """True: the session holds it."""
        return True

    def open(self) -> Self:
        """Do nothing: the prompt was sent before."""
        return self

    def abandon(self) -> None:
        """Do nothing: no turn waits for this one."""

    def take(self) -> Update | None:
        """Return what is ready; None if nothing is."""
        return self._ready.popleft() if self._ready else None

    def next_update(self) -> Update | None:
        """Return the next update, waiting for it if the turn still runs; None at the end."""
        while not self._ready and not self._is_closed:
            if self._fold.is_complete:
                self.close()
                self._raise_failure()
                return None
            self._look()
        return self.take()

    def _look(self) -> None:
        left = None if self._deadline is None else self._deadline - time.monotonic()
        if left is not None and left <= 0:
            raise TurnInterrupted(
                f"the prompt was sent before and is not sent again; its turn has not ended in session "
                f"{self.session_id}: read it again later",
                turn=self.turn,
                session_id=self.session_id or "",
            )
        wait = next(self._waits)
        sleep(wait if left is None else min(wait, left))
        try:
            events = self._session.client.transport.read_back(self.session_id or "", timeout=left)
        except (APIError, ProtocolError):
            return
        turns = replay(events)
        places = find_again(self._fold.turn, turns, self._position)
        if len(places) == 1:
            self._ready.extend(self._fold.adopt(turns[places[0]]))

    def _raise_failure(self) -> None:
        if self.turn.error is not None:
            raise failed_turn(self.turn, self.session_id or "")

    def wait(self) -> None:
        """Wait for the turn's end, whatever it is."""
        try:
            while self.next_update() is not None:
                pass
        except (TurnFailed, TurnInterrupted):
            pass

    def end_runs(self) -> tuple[RunEnded, ...]:
        """End the tool runs that are still open, the last one first."""
        return self._fold.end_runs()

    def close(self) -> None:
        """Read no more. Idempotent."""
        self._is_closed = True
