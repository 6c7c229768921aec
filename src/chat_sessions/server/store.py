"""Where the server keeps its sessions: SQLAlchemy over SQLite, written as the events happen."""

from __future__ import annotations

import asyncio
import json
import secrets
import shutil
import tempfile
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import (
    URL,
    Connection,
    Engine,
    ForeignKey,
    Index,
    Text,
    create_engine,
    delete,
    event,
    insert,
    make_url,
    select,
    update,
)
from sqlalchemy.exc import ArgumentError, DatabaseError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from chat_sessions.core.errors import ConfigurationError

__all__ = ["SessionRecord", "SourcesLocked", "Store", "StoredEvent", "UnknownSession"]

_SCHEMA_VERSION = "1"
_T = TypeVar("_T")


class _Table(DeclarativeBase):
    pass


class _Setting(_Table):
    __tablename__ = "settings"
    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[str]


class _Session(_Table):
    __tablename__ = "sessions"
    # The order of creation: a page token that holds it stays right when sessions come and go.
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    session_id: Mapped[str] = mapped_column(unique=True)
    last_updated_at: Mapped[str]
    generated_title: Mapped[str | None]
    index_ids: Mapped[str | None] = mapped_column(Text)
    job_metadata: Mapped[str | None] = mapped_column(Text)
    shared_access: Mapped[str | None]
    __table_args__ = ({"sqlite_autoincrement": True},)


class _Turn(_Table):
    __tablename__ = "turns"
    turn_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    session_id: Mapped[str] = mapped_column(ForeignKey(_Session.session_id, ondelete="CASCADE"), index=True)
    running: Mapped[bool] = mapped_column(index=True)
    __table_args__ = ({"sqlite_autoincrement": True},)


class _Event(_Table):
    __tablename__ = "events"
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    session_id: Mapped[str] = mapped_column(ForeignKey(_Session.session_id, ondelete="CASCADE"))
    turn_id: Mapped[int] = mapped_column(ForeignKey(_Turn.turn_id, ondelete="CASCADE"))
    type: Mapped[str]
    # Text and not a JSON type: a history must give back the bytes that were streamed.
    body: Mapped[str] = mapped_column(Text)
    __table_args__ = (Index("events_in_order", "session_id", "turn_id", "number"),)


_RECORDS = select(
    _Session.number,
    _Session.session_id,
    _Session.last_updated_at,
    _Session.generated_title,
    _Session.index_ids,
    _Session.job_metadata,
    _Session.shared_access,
)


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """A session as stored. `number` counts up with creation; `last_updated_at` is ISO 8601 in UTC without a zone."""

    number: int
    session_id: str
    last_updated_at: str
    generated_title: str | None
    index_ids: list[str] | None
    job_metadata: dict[str, Any] | None
    shared_access: str | None


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event as stored: its type, and its whole body as one line of JSON."""

    type: str
    body: str


class UnknownSession(Exception):
    """There is no session of this id."""


class SourcesLocked(Exception):
    """The session has messages, and they were asked of other indexes: `index_ids`."""

    def __init__(self, index_ids: list[str]) -> None:
        super().__init__(index_ids)
        self.index_ids = index_ids


class Store:
    """Sessions, turns and events. What a method returned is on disk.

    The database is used from threads of the store's own: one that writes, since SQLite has one
    writer and a queue before it is fair, and a few that read.
    """

    def __init__(self, engine: Engine, temporary: Path | None) -> None:
        self._engine = engine
        self._temporary = temporary
        self._writer = ThreadPoolExecutor(1, "chat-sessions-writer")
        self._readers = ThreadPoolExecutor(4, "chat-sessions-reader")

    @classmethod
    async def open(cls, url: str | None) -> Store:
        """The store at a URL such as `sqlite:///chat.db`, or a temporary one that `close` removes.

        Raises `ConfigurationError` for a URL of another form and for a file that cannot be used.
        """
        temporary: Path | None = None
        if url is None:
            temporary = Path(tempfile.mkdtemp(prefix="chat-sessions-"))
            address = URL.create("sqlite+pysqlite", database=str(temporary / "sessions.db"))
        else:
            address = _address(url)
        engine = create_engine(address)
        event.listen(engine, "connect", _prepare_connection)
        store = cls(engine, temporary)
        try:
            await store._write(_Table.metadata.create_all)
            version = await store._setting("schema_version", _SCHEMA_VERSION)
        except DatabaseError as error:
            await store.close()
            raise ConfigurationError(f"the store {url!r} cannot be opened: {error.orig}") from error
        if version != _SCHEMA_VERSION:
            await store.close()
            raise ConfigurationError(
                f"the store {url!r} was written by a newer version of chat-sessions (schema {version}); "
                "upgrade chat-sessions, or name another file"
            )
        return store

    async def close(self) -> None:
        """Ends what is being written, closes every connection, and removes a temporary store."""
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._writer.shutdown()
        self._readers.shutdown()
        self._engine.dispose()
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)

    async def secret(self, name: str) -> bytes:
        """A random secret of this store, made at its first use and the same ever after."""
        return bytes.fromhex(await self._setting(name, secrets.token_hex(32)))

    async def create_session(self, *, index_ids: list[str] | None, shared_access: str | None) -> SessionRecord:
        """A new session without messages."""
        session_id = f"ses-{secrets.token_hex(12)}"

        def work(connection: Connection) -> SessionRecord:
            connection.execute(
                insert(_Session).values(
                    session_id=session_id,
                    last_updated_at=_now(),
                    index_ids=None if index_ids is None else json.dumps(index_ids),
                    shared_access=shared_access,
                )
            )
            return _one(connection, session_id)

        return await self._write(work)

    async def session(self, session_id: str) -> SessionRecord:
        """The session of this id. Raises `UnknownSession`."""
        return await self._read(lambda connection: _one(connection, session_id))

    async def sessions(self, *, limit: int, before: int | None = None) -> list[SessionRecord]:
        """At most `limit` sessions, the newest first, all older than the one of number `before`."""
        query = _RECORDS.order_by(_Session.number.desc()).limit(limit)
        if before is not None:
            query = query.where(_Session.number < before)
        return await self._read(lambda connection: [_record(row) for row in connection.execute(query)])

    async def set_title(self, session_id: str, title: str) -> SessionRecord:
        """The session with its new title. Raises `UnknownSession`."""

        def work(connection: Connection) -> SessionRecord:
            connection.execute(
                update(_Session)
                .where(_Session.session_id == session_id)
                .values(generated_title=title, last_updated_at=_now())
            )
            return _one(connection, session_id)

        return await self._write(work)

    async def delete_session(self, session_id: str) -> None:
        """Removes a session with all its events. Raises `UnknownSession`."""

        def work(connection: Connection) -> None:
            result = connection.execute(delete(_Session).where(_Session.session_id == session_id))
            if result.rowcount == 0:
                raise UnknownSession(session_id)

        await self._write(work)

    async def events(
        self,
        session_id: str,
        *,
        without: Collection[str] = (),
        before_turn: int | None = None,
        running: bool = True,
    ) -> list[StoredEvent]:
        """A session's events, turn by turn, in the order in which they happened.

        `without` leaves out event types, `before_turn` that turn and all later ones, and
        `running=False` the turns that have not ended.
        """
        query = (
            select(_Event.type, _Event.body)
            .where(_Event.session_id == session_id)
            .order_by(_Event.turn_id, _Event.number)
        )
        if without:
            query = query.where(_Event.type.not_in(without))
        if before_turn is not None:
            query = query.where(_Event.turn_id < before_turn)
        if not running:
            query = query.join(_Turn, _Turn.turn_id == _Event.turn_id).where(_Turn.running.is_(False))
        return await self._read(lambda connection: [StoredEvent(*row) for row in connection.execute(query)])

    async def begin_turn(
        self,
        session_id: str,
        user_input: StoredEvent,
        *,
        index_ids: list[str],
        title: str | None,
        locked: bool,
    ) -> int:
        """Records a user's message and gives the number of its turn.

        The first message binds the session to its indexes and gives it `title` if it has none.
        Raises `UnknownSession`, and `SourcesLocked` if `locked` and a message went to other indexes.
        """

        def work(connection: Connection) -> int:
            # A write before any read: the transaction holds the write lock from here on,
            # so that what is read below is still true when it is acted upon.
            connection.execute(update(_Session).where(_Session.session_id == session_id).values(last_updated_at=_now()))
            session = _one(connection, session_id)
            started = connection.scalar(select(_Turn.turn_id).where(_Turn.session_id == session_id).limit(1))
            if started is None:
                connection.execute(
                    update(_Session)
                    .where(_Session.session_id == session_id)
                    .values(
                        index_ids=json.dumps(index_ids) if locked else _Session.index_ids,
                        generated_title=session.generated_title or title,
                    )
                )
            elif locked and session.index_ids is not None and set(session.index_ids) != set(index_ids):
                raise SourcesLocked(session.index_ids)
            turn = insert(_Turn).values(session_id=session_id, running=True).returning(_Turn.turn_id)
            turn_id = connection.execute(turn).scalar_one()
            _insert_events(connection, session_id, turn_id, [user_input])
            return turn_id

        return await self._write(work)

    async def append(
        self,
        session_id: str,
        turn_id: int,
        events: Sequence[StoredEvent],
        *,
        job_metadata: dict[str, Any] | None = None,
    ) -> None:
        """Adds events to a turn, in order; with `job_metadata` the turn has ended."""

        def work(connection: Connection) -> None:
            _insert_events(connection, session_id, turn_id, events)
            if job_metadata is not None:
                connection.execute(update(_Turn).where(_Turn.turn_id == turn_id).values(running=False))
                connection.execute(
                    update(_Session)
                    .where(_Session.session_id == session_id)
                    .values(job_metadata=json.dumps(job_metadata), last_updated_at=_now())
                )

        await self._write(work)

    async def running_turns(self) -> list[tuple[str, int, list[StoredEvent]]]:
        """Every turn that has no end, as (session id, turn number, its events)."""
        turns = select(_Turn.session_id, _Turn.turn_id).where(_Turn.running).order_by(_Turn.turn_id)

        def work(connection: Connection) -> list[tuple[str, int, list[StoredEvent]]]:
            found: list[tuple[str, int, list[StoredEvent]]] = []
            for session_id, turn_id in connection.execute(turns).all():
                query = select(_Event.type, _Event.body).where(_Event.turn_id == turn_id).order_by(_Event.number)
                events = [StoredEvent(*row) for row in connection.execute(query)]
                found.append((session_id, turn_id, events))
            return found

        return await self._read(work)

    async def _setting(self, name: str, default: str) -> str:
        """The stored value of a setting; the default is stored if there is none."""
        query = select(_Setting.value).where(_Setting.name == name)

        def work(connection: Connection) -> str:
            value = connection.scalar(query)
            if value is None:
                connection.execute(insert(_Setting).values(name=name, value=default))
            return default if value is None else value

        return await self._write(work)

    async def _read(self, work: Callable[[Connection], _T]) -> _T:
        def run() -> _T:
            with self._engine.connect() as connection:
                return work(connection)

        return await asyncio.get_running_loop().run_in_executor(self._readers, run)

    async def _write(self, work: Callable[[Connection], _T]) -> _T:
        def run() -> _T:
            with self._engine.begin() as connection:
                return work(connection)

        return await asyncio.get_running_loop().run_in_executor(self._writer, run)


def _address(url: str) -> URL:
    try:
        address = make_url(url)
    except ArgumentError:
        raise ConfigurationError(
            f"the store {url!r} is not a database URL; a file is written as sqlite:///chat.db"
        ) from None
    if address.get_backend_name() != "sqlite":
        raise ConfigurationError(f"the store {address!r} is not supported; use sqlite:///chat.db, or None")
    if address.database in (None, "", ":memory:"):
        raise ConfigurationError(
            f"the store {url!r} names no file; use sqlite:///chat.db, or None for a store that is removed on close"
        )
    return address.set(drivername="sqlite+pysqlite")


def _prepare_connection(connection: Any, _record: object) -> None:
    # WAL: a history can be read while a turn is written. With synchronous=NORMAL a killed
    # process loses nothing; a power cut may lose the last commits, but corrupts nothing.
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "busy_timeout=10000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


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


def _one(connection: Connection, session_id: str) -> SessionRecord:
    row = connection.execute(_RECORDS.where(_Session.session_id == session_id)).one_or_none()
    if row is None:
        raise UnknownSession(session_id)
    return _record(row)


def _insert_events(connection: Connection, session_id: str, turn_id: int, events: Sequence[StoredEvent]) -> None:
    connection.execute(
        insert(_Event),
        [{"session_id": session_id, "turn_id": turn_id, "type": stored.type, "body": stored.body} for stored in events],
    )


def _now() -> str:
    return datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")
