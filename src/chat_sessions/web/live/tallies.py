"""What the list shows of a session besides its summary: the number of turns, and how the last one ended."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from chat_sessions.core.turn import Turn, replay
from chat_sessions.session.backend import AsyncBackend

__all__ = ["Tallies", "Tally"]

_KEPT = 2_000
# A list asks for every session in view at once, which would burden the service.
_AT_ONCE = 2


@dataclass(frozen=True)
class Tally:
    """The number of turns, and the state of the last; "" if it ended well or there is none."""

    turns: int
    state: str = ""

    @classmethod
    def of(cls, turns: Sequence[Turn], *, is_running: bool = False) -> Tally:
        """Count turns."""
        if is_running:
            return cls(len(turns), "answering")
        last = turns[-1] if turns else None
        state = "" if last is None or (last.is_complete and not last.error) else "failed" if last.error else "not ended"
        return cls(len(turns), state)


class Tallies:
    """Tallies of sessions, each for as long as its session does not change."""

    def __init__(self, backend: AsyncBackend) -> None:
        self._backend = backend
        self._known: OrderedDict[str, tuple[datetime, Tally]] = OrderedDict()
        self._turn = asyncio.Semaphore(_AT_ONCE)

    def known(self, session_id: str, last_updated_at: datetime) -> Tally | None:
        """Return what is known of the session as it is now, without asking the service."""
        found = self._known.get(session_id)
        return found[1] if found is not None and found[0] == last_updated_at else None

    async def read(self, session_id: str) -> Tally:
        """Read the session, and count. Raises `APIError`."""
        async with self._turn:
            session = await self._backend.retrieve(session_id)
        tally = Tally.of(replay(session.events))
        self._known[session_id] = session.last_updated_at, tally
        self._known.move_to_end(session_id)
        if len(self._known) > _KEPT:
            self._known.popitem(last=False)
        return tally
