"""The store of sessions, turns and events: SQLAlchemy over SQLite or PostgreSQL."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError

from chat_sessions.core.errors import ConfigurationError
from chat_sessions.server.store.appends import Append, Appends, Recorded, record
from chat_sessions.server.store.database import Database, StoreFailed, opening, reason, shown
from chat_sessions.server.store.presence import Presence, is_free, new_number
from chat_sessions.server.store.records import (
    Closing,
    RunningRecord,
    SessionRecord,
    SourcesLocked,
    StoredEvent,
    TurnRunning,
    UnknownSession,
    now,
)
from chat_sessions.server.store.schema import NewerSchema, bring_up_to_date
from chat_sessions.server.store.tables import EventRow, SessionRow, SettingRow, Table, TurnRow

__all__ = ["Store"]

_RECORDS = select(
    SessionRow.number,
    SessionRow.session_id,
    SessionRow.last_updated_at,
    SessionRow.generated_title,
    SessionRow.index_ids,
    SessionRow.job_metadata,
    SessionRow.shared_access,
)


class Store:
    """Sessions, turns and events. Once a method has returned, its change is on disk.

    Every method raises `StoreFailed` if the database fails. Several processes may share a store on PostgreSQL; an
    SQLite file belongs to one server at a time.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._appends = Appends(database)
        self._number = new_number()
        self._presence = Presence(database.session_engine(), self._number) if database.is_shared else None
        self._watcher = ThreadPoolExecutor(1, "chat-sessions-watcher")

    @classmethod
    async def open(cls, url: str | None) -> Store:
        """Open the store at a URL, or a temporary one that `close` removes. An older schema is brought up to date.

        A URL is `sqlite:///chat.db`, or `postgresql://user@host/database` (extra: `postgres`).
        Raises `ConfigurationError` for an invalid URL and for a store that cannot be used.
        """
        store = cls(Database.at(url))
        try:
            with opening(url):
                await asyncio.to_thread(store._prepare)
        except NewerSchema as error:
            await store.close()
            raise ConfigurationError(
                f"the store {shown(str(url))!r} was written by a newer version of chat-sessions (schema {error}); "
                "upgrade chat-sessions, or name another store"
            ) from None
        except BaseException:
            await store.close()
            raise
        return store

    def _prepare(self) -> None:
        self._database.write_now(bring_up_to_date)
        if self._presence is not None:
            self._presence.keep()

    @property
    def is_shared(self) -> bool:
        """Whether other processes may have turns in the store at the same time."""
        return self._database.is_shared

    async def close(self) -> None:
        """Finish what is being written, close every connection, and remove a temporary store."""
        await asyncio.to_thread(self._watcher.shutdown)
        await self._database.close()
        # Last: until here, this process is alive for the others.
        if self._presence is not None:
            await asyncio.to_thread(self._presence.drop)

    async def secret(self, name: str) -> bytes:
        """Return a random secret of this store. It is made at its first use, then the same in every process."""
        made = secrets.token_hex(32)

        def work(connection: Connection) -> str:
            connection.execute(self._insert(SettingRow).values(name=name, value=made).on_conflict_do_nothing())
            return connection.execute(select(SettingRow.value).where(SettingRow.name == name)).scalar_one()

        return bytes.fromhex(await self._database.write(work))

    def _insert(self, table: type[Table]) -> postgresql.Insert | sqlite.Insert:
        return postgresql.insert(table) if self.is_shared else sqlite.insert(table)

    async def create_session(self, *, index_ids: list[str] | None, shared_access: str | None) -> SessionRecord:
        """Create a session without messages."""
        session_id = f"ses-{secrets.token_hex(12)}"

        def work(connection: Connection) -> SessionRecord:
            connection.execute(
                self._insert(SessionRow)
                .values(
                    session_id=session_id,
                    last_updated_at=now(),
                    index_ids=None if index_ids is None else json.dumps(index_ids),
                    shared_access=shared_access,
                )
                .on_conflict_do_nothing()
            )
            return _one(connection, session_id)

        return await self._database.write(work)

    async def session(self, session_id: str) -> SessionRecord:
        """Return the session with this id. Raises `UnknownSession`."""
        return await self._database.read(lambda connection: _one(connection, session_id))

    async def sessions(self, *, limit: int, before: int | None = None) -> list[SessionRecord]:
        """Return at most `limit` sessions, the newest first, all older than number `before`."""
        query = _RECORDS.order_by(SessionRow.number.desc()).limit(limit)
        if before is not None:
            query = query.where(SessionRow.number < before)
        return await self._database.read(lambda connection: [_record(row) for row in connection.execute(query)])

    async def count_sessions(self) -> int:
        """Count the sessions."""
        query = select(func.count()).select_from(SessionRow)
        return await self._database.read(lambda connection: connection.execute(query).scalar_one())

    async def set_title(self, session_id: str, title: str) -> SessionRecord:
        """Set a session's title, and return the session. Raises `UnknownSession`."""

        def work(connection: Connection) -> SessionRecord:
            _check(session_id)
            connection.execute(
                update(SessionRow)
                .where(SessionRow.session_id == session_id)
                .values(generated_title=title, last_updated_at=now())
            )
            return _one(connection, session_id)

        return await self._database.write(work)

    async def delete_session(self, session_id: str) -> None:
        """Delete a session with all its events. Raises `UnknownSession`.

        A turn of it that runs in another process ends there with `TurnLost`.
        """
        found = False

        def work(connection: Connection) -> None:
            nonlocal found
            _check(session_id)
            # The turns before the session: `append` takes their locks in the same order.
            connection.execute(delete(TurnRow).where(TurnRow.session_id == session_id))
            if connection.execute(delete(SessionRow).where(SessionRow.session_id == session_id)).rowcount:
                found = True
            elif not found:
                raise UnknownSession(session_id)

        await self._database.write(work)

    async def events(
        self,
        session_id: str,
        *,
        without: Collection[str] = (),
        before_turn: int | None = None,
        running: bool = True,
    ) -> list[StoredEvent]:
        """Return a session's events, turn by turn, in the order in which they happened.

        `without` leaves out event types, `before_turn` that turn and all later ones, and `running=False` turns that
        have not ended.
        """
        query = (
            select(EventRow.type, EventRow.body)
            .where(EventRow.session_id == session_id)
            .order_by(EventRow.turn_id, EventRow.number)
        )
        if without:
            query = query.where(EventRow.type.not_in(without))
        if before_turn is not None:
            query = query.where(EventRow.turn_id < before_turn)
        if not running:
            query = query.join(TurnRow, TurnRow.turn_id == EventRow.turn_id).where(TurnRow.running.is_(False))
        return await self._database.read(lambda connection: [StoredEvent(*row) for row in connection.execute(query)])

    async def begin_turn(
        self,
        session_id: str,
        user_input: StoredEvent,
        *,
        index_ids: list[str],
        title: str | None,
        locked: bool,
        alone: bool = False,
    ) -> int:
        """Record a user's message, and return the number of its turn.

        The first message binds the session to its indexes, and gives it `title` if it has no title.
        Raises `UnknownSession`; `SourcesLocked` if `locked` and an earlier message went to other indexes; and
        `TurnRunning` if the turn must be `alone` and, on a shared store, another one is running.
        """
        recorded = Recorded()
        turn_id = 0

        def work(connection: Connection) -> int:
            nonlocal turn_id
            _check(session_id)
            # A write before any read locks the session, so that what is read below stays true until the end.
            connection.execute(
                update(SessionRow).where(SessionRow.session_id == session_id).values(last_updated_at=now())
            )
            session = _one(connection, session_id)
            if recorded.is_stored(connection):
                return turn_id
            turns = select(TurnRow.turn_id).where(TurnRow.session_id == session_id).limit(1)
            started = connection.scalar(turns)
            if started is None:
                connection.execute(
                    update(SessionRow)
                    .where(SessionRow.session_id == session_id)
                    .values(
                        index_ids=json.dumps(index_ids) if locked else SessionRow.index_ids,
                        generated_title=session.generated_title or title,
                    )
                )
            elif locked and session.index_ids is not None and set(session.index_ids) != set(index_ids):
                raise SourcesLocked(session.index_ids)
            elif alone and self.is_shared and connection.scalar(turns.where(TurnRow.running)) is not None:
                raise TurnRunning(session_id)
            turn = insert(TurnRow).values(session_id=session_id, running=True, owner=self._number)
            turn_id = connection.execute(turn.returning(TurnRow.turn_id)).scalar_one()
            record(connection, [Append(session_id, turn_id, [user_input])], recorded)
            return turn_id

        return await self._database.write(work)

    async def append(
        self,
        session_id: str,
        turn_id: int,
        events: Sequence[StoredEvent],
        *,
        job_metadata: dict[str, Any] | None = None,
    ) -> None:
        """Append events to a turn, in order; `job_metadata` ends the turn. Raises `TurnLost`."""
        await self._appends.add(Append(session_id, turn_id, events, job_metadata))

    async def running_turns(self) -> list[RunningRecord]:
        """Return every turn without an end, the oldest first."""
        query = select(TurnRow.session_id, TurnRow.turn_id, TurnRow.owner).where(TurnRow.running)
        query = query.order_by(TurnRow.turn_id)
        found = await self._database.read(lambda connection: connection.execute(query).all())
        gone = await self._gone({owner for _, _, owner in found if owner is not None and owner != self._number})
        return [
            RunningRecord(
                session_id,
                turn_id,
                is_own=owner == self._number,
                # Only schema 1, on SQLite, had turns without an owner.
                is_orphan=self.is_shared and (owner is None or owner in gone),
            )
            for session_id, turn_id, owner in found
        ]

    async def _gone(self, owners: set[int]) -> set[int]:
        """Return those of the owners that show no sign of life. This process shows the others that it is alive."""
        if self._presence is None:
            return set()
        try:
            return await asyncio.get_running_loop().run_in_executor(self._watcher, self._presence.gone, owners)
        except DBAPIError as error:
            raise StoreFailed(reason(error)) from error

    async def close_turn(self, turn: RunningRecord, closing: Closing) -> bool:
        """End a turn on behalf of the process that began it. Returns whether it did.

        It does nothing if the turn has ended or, on a shared store, if that process shows a sign of life.
        """
        recorded = Recorded()

        def work(connection: Connection) -> bool:
            # Locked: no other process changes this before the transaction ends.
            running = select(TurnRow.running).where(TurnRow.turn_id == turn.turn_id)
            if not connection.scalar(running.with_for_update(key_share=True)):
                return recorded.is_stored(connection)
            owner = connection.scalar(select(TurnRow.owner).where(TurnRow.turn_id == turn.turn_id))
            if self.is_shared and owner not in (None, self._number) and not is_free(connection, owner):
                return False
            query = select(EventRow.type, EventRow.body).where(EventRow.turn_id == turn.turn_id)
            stored = [StoredEvent(*row) for row in connection.execute(query.order_by(EventRow.number))]
            events, job_metadata = closing(stored)
            record(connection, [Append(turn.session_id, turn.turn_id, events, job_metadata)], recorded)
            return True

        return await self._database.write(work)


def _record(row: Sequence[Any]) -> SessionRecord:
    number, session_id, last_updated_at, generated_title, index_ids, job_metadata, shared_access = row
    return SessionRecord(
        number=number,
        session_id=session_id,
        last_updated_at=last_updated_at,
        generated_title=generated_title,
        index_ids=None if index_ids is None else json.loads(index_ids),
        job_metadata=None if job_metadata is None else json.loads(job_metadata),
        shared_access=shared_access,
    )


def _check(session_id: str) -> None:
    """Raise `UnknownSession` for an id that PostgreSQL cannot even look for."""
    if "\0" in session_id:
        raise UnknownSession(session_id)


def _one(connection: Connection, session_id: str) -> SessionRecord:
    _check(session_id)
    row = connection.execute(_RECORDS.where(SessionRow.session_id == session_id)).one_or_none()
    if row is None:
        raise UnknownSession(session_id)
    return _record(row)
