"""The database beneath the store: its address, its connections, and the threads that use them."""

from __future__ import annotations

import asyncio
import re
import shutil
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from chat_sessions.core.errors import ConfigurationError

__all__ = ["Database", "StoreFailed", "address_of", "opening", "shown"]

_T = TypeVar("_T")

_CONNECT_SECONDS = 10
# How long to retry after a lost connection: a restart of PostgreSQL takes a few seconds.
_PATIENCE = 10.0
_PAUSE = 0.2
_WRITERS = 4
_READERS = 4
_ROLLED_BACK = frozenset(("40001", "40P01"))  # serialization_failure, deadlock_detected
_USES = "use sqlite:///chat.db, postgresql://user@host/database, or None"


class StoreFailed(Exception):
    """The database failed: a full disk, a lost connection. The message is the driver's reason."""


class Database:
    """A database with separate threads for writing and for reading, so that neither waits for the other.

    SQLite has a single writer, which serves its queue in order; PostgreSQL has several.
    """

    def __init__(self, address: URL, temporary: Path | None) -> None:
        self.address = address
        self.is_shared = address.get_backend_name() == "postgresql"
        """Whether several processes may have turns in it at the same time."""
        self._temporary = temporary
        self._closing = threading.Event()
        self._engine = _postgresql(address) if self.is_shared else _sqlite(address)
        self._writing = self._engine.execution_options(begin="IMMEDIATE")
        self._writers = ThreadPoolExecutor(_WRITERS if self.is_shared else 1, "chat-sessions-writer")
        self._readers = ThreadPoolExecutor(_READERS, "chat-sessions-reader")

    @classmethod
    def at(cls, url: str | None) -> Database:
        """Make the database at a URL, or a temporary one that `close` removes. Nothing is opened yet.

        Raises `ConfigurationError` for an invalid URL.
        """
        if url is not None:
            return cls(address_of(url), None)
        temporary = Path(tempfile.mkdtemp(prefix="chat-sessions-"))
        return cls(URL.create("sqlite+pysqlite", database=str(temporary / "sessions.db")), temporary)

    def session_engine(self) -> Engine:
        """Make an engine without pool and transactions, for a separate connection."""
        return create_engine(
            self.address,
            poolclass=NullPool,
            isolation_level="AUTOCOMMIT",
            connect_args=_connect_arguments(self.address),
            hide_parameters=True,
        )

    async def read(self, work: Callable[[Connection], _T]) -> _T:
        """Return the result of `work`, which may be called again. Raises `StoreFailed`."""
        run = asyncio.get_running_loop().run_in_executor
        return await run(self._readers, lambda: self._run(self._engine, work, commit=False))

    async def write(self, work: Callable[[Connection], _T]) -> _T:
        """Return the result of `work`, committed. Raises `StoreFailed`.

        On PostgreSQL, it is called again after a lost connection. If that was lost during the commit, the earlier call
        may have taken effect: `work` must lock what it changes, and then find its own rows.
        """
        run = asyncio.get_running_loop().run_in_executor
        return await run(self._writers, lambda: self._run(self._writing, work, commit=True))

    def write_now(self, work: Callable[[Connection], _T]) -> _T:
        """Write in the caller's thread, without retrying. Raises `DBAPIError`."""
        with self._writing.begin() as connection:
            return work(connection)

    async def close(self) -> None:
        """Finish what is being written, close every connection, and remove a temporary store."""
        self._closing.set()
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._writers.shutdown()
        self._readers.shutdown()
        self._engine.dispose()
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)

    def _run(self, engine: Engine, work: Callable[[Connection], _T], *, commit: bool) -> _T:
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                with engine.connect() as connection:
                    result = work(connection)
                    if commit:
                        connection.commit()
                    return result
            except PoolTimeout as error:
                raise StoreFailed("every connection is in use") from error
            except DBAPIError as error:
                may_repeat = self.is_shared and (_was_rolled_back(error) or _is_lost(error))
                if not may_repeat or time.monotonic() > deadline or self._closing.wait(_PAUSE):
                    raise StoreFailed(reason(error)) from error


def reason(error: DBAPIError) -> str:
    """Return the driver's message in one line, without the statement, whose parameters contain user data."""
    return " ".join(str(error.orig).split())


def _was_rolled_back(error: DBAPIError) -> bool:
    return getattr(error.orig, "sqlstate", None) in _ROLLED_BACK


def _is_lost(error: DBAPIError) -> bool:
    """Return whether the connection to the server failed or was lost."""
    # psycopg sets no SQLSTATE if a connection could not be made.
    state = getattr(error.orig, "sqlstate", None)
    return error.connection_invalidated or (type(error.orig).__name__ == "OperationalError" and state is None)


def address_of(url: str) -> URL:
    """Return the address of a store's URL. Raises `ConfigurationError` if it is invalid."""
    try:
        address = make_url(url)
    except (ArgumentError, ValueError):
        raise ConfigurationError(
            f"the store {shown(url)!r} is not a database URL; a file is written as sqlite:///chat.db, a database "
            "as postgresql://user@host/database"
        ) from None
    kind, _, driver = address.drivername.partition("+")
    if kind in ("postgresql", "postgres"):
        if driver not in ("", "psycopg"):
            raise ConfigurationError(
                f"the store {shown(url)!r} names the driver {driver}; leave it out, as in postgresql://user@host/database"
            )
        _require_psycopg()
        return address.set(drivername="postgresql+psycopg")
    if kind != "sqlite":
        raise ConfigurationError(f"the store {shown(url)!r} is not supported; {_USES}")
    if address.database in (None, "", ":memory:"):
        raise ConfigurationError(
            f"the store {url!r} names no file; use sqlite:///chat.db, or None for a store that is removed on close"
        )
    return address.set(drivername="sqlite+pysqlite")


@contextmanager
def opening(url: str | None) -> Generator[None]:
    """Raise `ConfigurationError`, which says what to do, if the database fails before a store is in use."""
    try:
        yield
    except (StoreFailed, DBAPIError) as error:
        why = reason(error) if isinstance(error, DBAPIError) else str(error)
        advice = "; the file is damaged: restore it from a copy, or name another store" if _is_damage(why) else ""
        raise ConfigurationError(f"the store {shown(str(url))!r} cannot be opened: {why}{advice}") from error


def _is_damage(why: str) -> bool:
    # SQLITE_CORRUPT has these two messages.
    return "disk image is malformed" in why or "malformed database schema" in why


def shown(url: str) -> str:
    """Return the URL to show: with stars for a password, wherever it is."""
    # By regular expression, since a URL that cannot be parsed must be shown too.
    url = re.sub(r"(//[^:/?#]*):.*@", r"\1:***@", url)
    return re.sub(r"(?i)\b(\w*password)=[^&]*", r"\1=***", url)


def _require_psycopg() -> None:
    try:
        import psycopg  # noqa: F401  # pyright: ignore[reportUnusedImport] - SQLAlchemy uses it
    except ImportError as error:
        raise ConfigurationError(
            "a store on PostgreSQL needs psycopg; install it with: pip install 'chat-sessions[postgres]'"
        ) from error


def _sqlite(address: URL) -> Engine:
    engine = create_engine(address, hide_parameters=True)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: object) -> None:
    # Otherwise sqlite3 begins transactions implicitly, but only before some statements.
    connection.isolation_level = None
    # WAL: a history can be read while a turn is written. With synchronous=NORMAL a killed process loses nothing; a
    # power cut may lose the last commits, but corrupts nothing.
    cursor = connection.cursor()
    for pragma in ("busy_timeout=10000", "journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
        _execute(cursor, f"PRAGMA {pragma}")
    cursor.close()


def _execute(cursor: sqlite3.Cursor, statement: str) -> None:
    """Execute a statement, and wait for other connections.

    SQLite's own timeout does not cover the change to WAL when two connections make it at once.
    """
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            cursor.execute(statement)
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE / 10)


def _begin_sqlite(connection: Connection) -> None:
    # IMMEDIATE takes the write lock before anything is read, so that what is read stays true.
    connection.exec_driver_sql(f"BEGIN {connection.get_execution_options().get('begin', '')}")


def _postgresql(address: URL) -> Engine:
    return create_engine(
        address,
        isolation_level="READ COMMITTED",
        pool_size=_WRITERS + _READERS,
        max_overflow=0,
        connect_args=_connect_arguments(address),
        hide_parameters=True,
    )


def _connect_arguments(address: URL) -> dict[str, Any]:
    defaults = {
        "connect_timeout": _CONNECT_SECONDS,
        "application_name": "chat-sessions",
        # A server that silently went away is noticed within a minute; the system's default is two hours.
        "keepalives_idle": 30,
        "keepalives_interval": 10,
        "keepalives_count": 3,
        "tcp_user_timeout": 60_000,
    }
    return {name: value for name, value in defaults.items() if name not in address.query}
