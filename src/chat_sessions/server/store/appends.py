"""Write the events of many turns together: each transaction takes what gathered during the last one."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, bindparam, exists, insert, select, update

from chat_sessions.server.store.database import Database, StoreFailed
from chat_sessions.server.store.records import StoredEvent, TurnLost, now
from chat_sessions.server.store.tables import EventRow, SessionRow, TurnRow

__all__ = ["Append", "Appends", "Recorded", "record"]

# The most events in a transaction: other writes, and the first event of a group, must not wait long.
_TOGETHER = 500

_END_SESSION = (
    update(SessionRow)
    .where(SessionRow.session_id == bindparam("of_session"))
    .values(job_metadata=bindparam("metadata"), last_updated_at=bindparam("at"))
)


@dataclass(frozen=True, slots=True)
class Append:
    """What one turn adds: events in order and, if it has ended, its `job_metadata`."""

    session_id: str
    turn_id: int
    events: Sequence[StoredEvent]
    job_metadata: dict[str, Any] | None = None


class Recorded:
    """The last event that a write recorded, for the case that the connection is lost while it is committed.

    Its number alone does not tell, as PostgreSQL may give a number again that it gave before a crash.
    """

    def __init__(self) -> None:
        self._last: tuple[int, dict[str, Any]] | None = None

    def note(self, number: int, row: dict[str, Any]) -> None:
        """Note the last event of this attempt."""
        self._last = number, row

    def is_stored(self, connection: Connection) -> bool:
        """Whether an earlier attempt was committed after all. What it locked must be locked again."""
        if self._last is None:
            return False
        number, row = self._last
        found = select(
            exists().where(EventRow.number == number, *(EventRow.__table__.c[name] == row[name] for name in row))
        )
        return connection.execute(found).scalar_one()


@dataclass(frozen=True, slots=True)
class _Waiting:
    append: Append
    done: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Appends:
    """Writes what turns append, in the order of arrival.

    A transaction costs far more than an event, and SQLite has a single writer: with a transaction per turn, hundreds of
    turns would wait for each other. PostgreSQL has several writers, and there each turn has transactions of its own,
    since a shared one would hold locks on all its turns.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: deque[_Waiting] = deque()
        self._writing: asyncio.Task[None] | None = None

    async def add(self, append: Append) -> None:
        """Write, and return once it is on disk. Raises `TurnLost`, and what `Database.write` raises."""
        waiting = _Waiting(append)
        if self._database.is_shared:
            await self._write([waiting])
        else:
            self._waiting.append(waiting)
            if self._writing is None:
                self._writing = asyncio.create_task(self._write_all())
        await waiting.done

    async def _write_all(self) -> None:
        try:
            while self._waiting:
                await self._write(self._next())
        finally:
            self._writing = None

    def _next(self) -> list[_Waiting]:
        group = [self._waiting.popleft()]
        size = len(group[0].append.events)
        while self._waiting and (size := size + len(self._waiting[0].append.events)) <= _TOGETHER:
            group.append(self._waiting.popleft())
        return group

    async def _write(self, group: list[_Waiting]) -> None:
        appends = [waiting.append for waiting in group]
        recorded = Recorded()
        try:
            outcomes = await self._database.write(lambda connection: _append(connection, appends, recorded))
        except Exception as error:  # noqa: BLE001 (it is raised in `add`)
            if len(group) > 1 and not isinstance(error, StoreFailed):
                # One turn's bad data must not end the others. A failing store, however, fails for all, and each
                # attempt on a locked file takes ten seconds.
                for waiting in group:
                    await self._write([waiting])
                return
            outcomes = [error] * len(group)
        for waiting, outcome in zip(group, outcomes, strict=True):
            if waiting.done.done():
                continue  # cancelled meanwhile
            if outcome is None:
                waiting.done.set_result(None)
            else:
                waiting.done.set_exception(outcome)


def _append(connection: Connection, appends: Sequence[Append], recorded: Recorded) -> list[Exception | None]:
    """Write the appends of all turns but lost ones. Returns the error of each, or None."""
    turns = select(TurnRow.turn_id, TurnRow.running).where(TurnRow.turn_id.in_([each.turn_id for each in appends]))
    # Locked: no other process changes these before the transaction ends.
    rows = connection.execute(turns.with_for_update(key_share=True))
    found = {row.turn_id: row.running for row in rows}
    if recorded.is_stored(connection):
        # Only PostgreSQL asks twice, and there a group is one turn.
        return [None] * len(appends)
    outcomes = [_loss(found.get(each.turn_id)) for each in appends]
    record(connection, [each for each, loss in zip(appends, outcomes, strict=True) if loss is None], recorded)
    return outcomes


def _loss(running: bool | None) -> Exception | None:
    if running is None:
        return TurnLost("the session was deleted")
    if not running:
        return TurnLost("another process of the server ended the turn, to which this one showed no sign of life")
    return None


def record(connection: Connection, appends: Sequence[Append], recorded: Recorded) -> None:
    """Write what these turns add, and note it. They must be known to be running."""
    rows = [
        {"session_id": each.session_id, "turn_id": each.turn_id, "type": stored.type, "body": stored.body}
        for each in appends
        for stored in each.events
    ]
    if rows and connection.dialect.name == "postgresql":
        recorded.note(max(connection.scalars(insert(EventRow).returning(EventRow.number), rows)), rows[-1])
    elif rows:
        connection.execute(insert(EventRow), rows)
    ended = [each for each in appends if each.job_metadata is not None]
    if ended:
        connection.execute(
            update(TurnRow).where(TurnRow.turn_id.in_([each.turn_id for each in ended])).values(running=False)
        )
        at = now()
        connection.execute(
            _END_SESSION,
            [{"of_session": each.session_id, "metadata": json.dumps(each.job_metadata), "at": at} for each in ended],
        )
