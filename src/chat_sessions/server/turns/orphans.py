"""Turns without an end: their process was killed, or could not store it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable

from chat_sessions.server.store.database import StoreFailed
from chat_sessions.server.store.records import Closing, RunningRecord
from chat_sessions.server.store.store import Store

__all__ = ["Orphans"]

_log = logging.getLogger(__name__)

# Seconds between two checks, and how long a process must show no sign of life before its turns are ended. That is
# enough to reconnect for a process whose connection broke.
_EVERY = 1.0
_GRACE = 3.0


class Orphans:
    """Finds turns that will never end by themselves, as long as the server runs, and ends them.

    `answered` returns the numbers of the turns that this process is answering; `is_beginning` tells whether it is
    starting one in a session. `lost` is called with the number of an answered turn that is no longer running according
    to the store. `closing` makes the events that end a turn.
    """

    def __init__(
        self,
        store: Store,
        *,
        answered: Callable[[], Iterable[int]],
        is_beginning: Callable[[str], bool],
        lost: Callable[[int], None],
        closing: Closing,
    ) -> None:
        self._store = store
        self._answered = answered
        self._is_beginning = is_beginning
        self._lost = lost
        self._closing = closing
        self._suspected = False
        self._gone_since: dict[int, float] = {}

    def suspect(self) -> None:
        """Note that a turn of this process may have been left without an end."""
        self._suspected = True

    async def end_all(self) -> None:
        """End every running turn, in a store that no other process has open."""
        for turn in await self._store.running_turns():
            await self._store.close_turn(turn, self._closing)

    async def watch(self) -> None:
        """Check again and again, until cancelled."""
        while True:
            # Only in a shared store can other processes leave turns behind.
            if self._store.is_shared or self._suspected:
                try:
                    await self.look()
                except StoreFailed as error:
                    _log.warning("the store cannot be checked for turns without an end: %s", error)
                except Exception:  # noqa: BLE001 (without this watch, a session could stay busy forever)
                    _log.exception("the check for turns without an end failed")
            await asyncio.sleep(_EVERY)

    async def look(self, now: Callable[[], float] = time.monotonic) -> None:
        """Check once. Raises `StoreFailed`."""
        self._suspected = False
        try:
            # Read before the store: otherwise a turn that begins in between would look lost.
            answered = set(self._answered())
            running = await self._store.running_turns()
            for turn_id in answered.difference(turn.turn_id for turn in running):
                self._lost(turn_id)
            gone = {turn.turn_id for turn in running if turn.is_orphan}
            self._gone_since = {turn_id: self._gone_since.get(turn_id, now()) for turn_id in gone}
            for turn in running:
                if self._is_over(turn, now()) and await self._store.close_turn(turn, self._closing):
                    _log.warning("ended turn %s of session %s, which no process answers", turn.turn_id, turn.session_id)
        except BaseException:
            self._suspected = True
            raise

    def _is_over(self, turn: RunningRecord, now: float) -> bool:
        if turn.is_own:
            return turn.turn_id not in self._answered() and not self._is_beginning(turn.session_id)
        return turn.is_orphan and now - self._gone_since[turn.turn_id] >= _GRACE
