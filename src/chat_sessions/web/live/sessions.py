"""The sessions that are open in pages; each is polled for what other processes do in it."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable
from contextlib import nullcontext, suppress

from chat_sessions.core.models import SessionSummary
from chat_sessions.session.backend import AsyncBackend
from chat_sessions.web.live.confirmation import Action, Answer, Pending, Respond
from chat_sessions.web.live.session import LiveSession, TurnLock
from chat_sessions.web.live.tallies import Tallies, Tally

__all__ = ["Confirmations", "LiveSessions"]

# How many sessions keep what was seen of their turns live.
_KEPT = 50


class Confirmations:
    """Where a client asks for permission, with `ask` as its `on_confirmation`. Made before the page."""

    def __init__(self) -> None:
        self.sessions: LiveSessions | None = None

    async def ask(self, session_id: str, actions: Iterable[Action]) -> Answer:
        """Ask on the session's page. Before the application is made, the actions are refused."""
        if self.sessions is None:
            return False
        return await self.sessions.get(session_id).confirm(actions)


class LiveSessions:
    """Sessions by id; those without a page or a running turn are forgotten, the oldest first.

    A session whose page is open is polled every `look_every` seconds.
    """

    def __init__(
        self,
        backend: AsyncBackend,
        *,
        turn_lock: TurnLock | None,
        look_every: float,
        pending: Pending | None = None,
        respond: Respond | None = None,
    ) -> None:
        self._backend = backend
        self._turn_lock: TurnLock = turn_lock or nullcontext
        self._look_every = look_every
        self._pending = pending
        self._respond = respond
        self._sessions: OrderedDict[str, LiveSession] = OrderedDict()
        self._looking: asyncio.Task[None] | None = None
        self.tallies = Tallies(backend)

    def get(self, session_id: str) -> LiveSession:
        """Return the session; it is not read yet."""
        session = self._sessions.get(session_id)
        if session is None:
            session = LiveSession(
                self._backend,
                session_id,
                turn_lock=self._turn_lock,
                look_every=self._look_every,
                pending=self._pending,
                respond=self._respond,
            )
            self._sessions[session_id] = session
        self._sessions.move_to_end(session_id)
        idle = [known for known in self._sessions.values() if not (known.has_pages or known.running)]
        for known in idle[: max(0, len(self._sessions) - _KEPT)]:
            if known is not session:
                del self._sessions[known.session_id]
        if self._looking is None:
            self._looking = asyncio.create_task(self._look())
        return session

    def tally(self, summary: SessionSummary) -> Tally | None:
        """Count the turns of a session; None if its current state is not known: the service's list has no count."""
        session = self._sessions.get(summary.session_id)
        if session is not None and session.stored is not None:
            is_running = bool(session.running)
            if is_running or session.stored.last_updated_at == summary.last_updated_at:
                return Tally.of([item.turn for item in session.shown], is_running=is_running)
        return self.tallies.known(summary.session_id, summary.last_updated_at)

    async def forget(self, session_id: str) -> None:
        """Stop the turns of a session that is about to be deleted."""
        session = self._sessions.pop(session_id, None)
        if session is not None:
            await session.close()

    async def close(self) -> None:
        """Stop every turn."""
        if self._looking is not None:
            self._looking.cancel()
            with suppress(asyncio.CancelledError):
                await self._looking
        for session in list(self._sessions.values()):
            await session.close()

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(self._look_every)
            for session in list(self._sessions.values()):
                if session.has_pages and not session.running and not session.is_gone:
                    await session.look()
