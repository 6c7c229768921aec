"""A server at its limit of runs: how long a message waits there to be run. No I/O."""

from __future__ import annotations

from collections.abc import Iterator

from chat_sessions.core.errors import TurnStalled
from chat_sessions.core.turn import Turn, TurnFold
from chat_sessions.session.backend import TurnRequest

__all__ = ["not_run", "slot_waits"]

_FIRST_WAIT, _LONGEST_WAIT = 0.25, 2.0


def slot_waits() -> Iterator[float]:
    """The seconds to wait before each try to run, without end."""
    wait = _FIRST_WAIT
    while True:
        yield wait
        wait = min(_LONGEST_WAIT, wait * 1.6)


def not_run(request: TurnRequest, why: str) -> TurnStalled:
    """The error for a message that the conversation has, and that was not run in time."""
    session_id = request.session_id
    return TurnStalled(
        f"the server is at its limit of runs ({why}): session {session_id} has the prompt, and does not run it. Start "
        f"it with run({session_id!r}) when another run has ended; do not send the prompt again",
        turn=_turn(request.prompt),
        session_id=session_id,
    )


def _turn(prompt: str) -> Turn:
    return TurnFold(prompt).turn
