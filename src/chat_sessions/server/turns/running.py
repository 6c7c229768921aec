"""One turn that is being answered."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from chat_sessions.server.store.records import StoredEvent

__all__ = ["RunningTurn"]


class RunningTurn:
    """The live events of a running turn, and the way to end it early."""

    def __init__(self, session_id: str, turn_id: int, order: asyncio.Lock) -> None:
        self.session_id = session_id
        self.turn_id = turn_id
        self.why_cancelled: str | None = None
        self.answering: asyncio.Task[None] | None = None
        self._order: asyncio.Lock | None = order
        self._live: asyncio.Queue[Sequence[StoredEvent] | None] = asyncio.Queue()
        self._is_read = True

    async def shown(self) -> Sequence[StoredEvent] | None:
        """Wait for the next events to stream. For a single reader.

        Returns None at the end of the turn, and no events when a keep-alive is due (`nudge`).
        """
        return await self._live.get()

    def show(self, *events: StoredEvent) -> None:
        """Hand stored events to the reader."""
        self._put(events)

    def end(self) -> None:
        """Tell the reader that the turn has ended."""
        self._put(None)

    def nudge(self) -> None:
        """Wake a reader that waits for events."""
        if self._live.empty():
            self._put(())

    def _put(self, events: Sequence[StoredEvent] | None) -> None:
        if self._is_read:
            self._live.put_nowait(events)

    def abandon(self) -> None:
        """Drop what is shown from here on: the reader has left."""
        self._is_read = False

    def cancel(self, reason: str) -> None:
        """End the turn with an error stop that gives the reason. Does nothing if the turn is already ending."""
        # A second cancellation would hit the task while it closes the turn.
        if self.why_cancelled is None and self.answering is not None:
            self.why_cancelled = reason
            self.answering.cancel()

    def release(self) -> None:
        """Let the session's next message begin."""
        if self._order is not None:
            self._order.release()
            self._order = None
