"""Lets several commands use one file of local sessions at the same time.

A local server closes, when it opens its store, the turns that it finds running: they are those of
a server that died. So a store is opened only while no other process has a turn running in it.
SQLite's own file locks do this: they work alike on every system, and end with their process.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from pathlib import Path

from chat_sessions.core.errors import ConfigurationError

__all__ = ["StoreLock"]

_TRY = 0.25


class StoreLock:
    """The lock of one store, a file beside it.

    `on_wait` is called once if another process holds it, and `patience` is how long, in seconds, it is
    waited for; `remedy` is what someone can do about one that goes on.
    """

    def __init__(self, store: Path, *, on_wait: Callable[[], None], remedy: str, patience: float = 30.0) -> None:
        self._store = store
        self._on_wait = on_wait
        self._remedy = remedy
        self._patience = patience

    @contextmanager
    def opening(self) -> Generator[None]:
        """While the store is opened: no turn runs in any process. Raises `ConfigurationError` if one goes on."""
        with self._held("BEGIN EXCLUSIVE"):
            yield

    @contextmanager
    def running(self) -> Generator[None]:
        """While a turn may run: nobody opens the store."""
        # Only a read takes SQLite's shared lock; BEGIN alone takes none.
        with self._held("BEGIN", "SELECT count(*) FROM sqlite_master"):
            yield

    @contextmanager
    def _held(self, *statements: str) -> Generator[None]:
        deadline = time.monotonic() + self._patience
        with closing(self._connect()) as connection:
            told = False
            while True:
                try:
                    for statement in statements:
                        connection.execute(statement)
                    break
                except sqlite3.OperationalError as error:
                    if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                        raise ConfigurationError(f"{self._store}.lock cannot be used: {error}") from error
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
                    if time.monotonic() > deadline:
                        raise ConfigurationError(
                            f"{self._store} is in use by another chat-sessions; end it, or {self._remedy}"
                        ) from error
                    if not told:
                        self._on_wait()
                        told = True
            yield

    def _connect(self) -> sqlite3.Connection:
        try:
            return sqlite3.connect(f"{self._store}.lock", timeout=_TRY, isolation_level=None)
        except sqlite3.Error as error:
            raise ConfigurationError(f"{self._store}.lock cannot be used: {error}") from error
