"""Let several commands use one file of local sessions at the same time.

When a local server opens its store, it ends the turns it finds running: it takes them for those of a dead server.
So a store is opened only while no other process has a turn running in it. SQLite's file locks do this:
they work alike on every system and end with their process.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

from chat_sessions.core.errors import ConfigurationError

__all__ = ["StoreLock"]

_TRY = 0.25


class StoreLock:
    """The lock of one store, a file next to it.

    If another process holds it, `on_wait` is called once, and the lock waits `patience` seconds;
    `remedy` is what the user can do if that is not enough. Raises `ConfigurationError` then, and for a
    file that cannot be used.
    """

    def __init__(self, store: Path, *, on_wait: Callable[[], None], remedy: str, patience: float = 30.0) -> None:
        self._store = store
        self._on_wait = on_wait
        self._remedy = remedy
        self._patience = patience

    def opening(self) -> AbstractContextManager[None]:
        """Hold the lock while the store is opened: no process runs a turn meanwhile."""
        return self._held("BEGIN EXCLUSIVE")

    def running(self) -> AbstractContextManager[None]:
        """Hold the lock while a turn may run: no process opens the store meanwhile."""
        # BEGIN alone takes no lock; a read takes SQLite's shared lock.
        return self._held("BEGIN", "SELECT count(*) FROM sqlite_master")

    @contextmanager
    def _held(self, *statements: str) -> Generator[None]:
        deadline = time.monotonic() + self._patience
        with closing(self._connect()) as connection:
            is_waiting = False
            while True:
                try:
                    for statement in statements:
                        connection.execute(statement)
                    break
                except sqlite3.OperationalError as error:
                    if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                        raise self._unusable(error) from error
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
                    if time.monotonic() > deadline:
                        raise ConfigurationError(
                            f"{self._store} is in use by another chat-sessions; end it, or {self._remedy}"
                        ) from error
                    if not is_waiting:
                        self._on_wait()
                        is_waiting = True
            yield

    def _connect(self) -> sqlite3.Connection:
        try:
            return sqlite3.connect(f"{self._store}.lock", timeout=_TRY, isolation_level=None)
        except sqlite3.Error as error:
            raise self._unusable(error) from error

    def _unusable(self, error: sqlite3.Error) -> ConfigurationError:
        return ConfigurationError(f"{self._store}.lock cannot be used: {error}")
