"""Shows the other processes on one PostgreSQL that this one is alive.

A process holds an advisory lock on its own number for as long as it lives. The lock belongs to a
connection, so that it ends with the process however that ends, and not while the process is merely slow,
as a lease would. When the connection breaks and the process lives on, it takes the lock anew; whoever
looks therefore looks twice, some time apart (`Orphans`).
"""

from __future__ import annotations

import secrets
from collections.abc import Collection

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

__all__ = ["Presence", "is_held_by_nobody", "new_number"]

# PostgreSQL notices within this many seconds that the machine of a process has gone without a word.
_KEEPALIVES = {"tcp_keepalives_idle": 5, "tcp_keepalives_interval": 3, "tcp_keepalives_count": 3}

_HOLD = text("SELECT pg_try_advisory_lock(:number)")
_LOOK = text("SELECT pg_try_advisory_xact_lock_shared(:number)")
_TAKE = text("SELECT pg_try_advisory_xact_lock(:number)")


def new_number() -> int:
    """A number for a process that no other has."""
    return secrets.randbits(62) + 1


class Presence:
    """The lock of one process, on a connection of its own. Its methods block; call them from one thread at a time."""

    def __init__(self, engine: Engine, number: int) -> None:
        self._engine = engine
        self._number = number
        self._connection: Connection | None = None
        self._held = False

    def keep(self) -> Connection:
        """Makes sure that the lock is held, and gives its connection, which commits each statement by itself.

        A lock that the server has not yet let go, of a connection that broke, is tried again at the next call.
        Raises `DBAPIError`.
        """
        if self._connection is None:
            self._connection = self._engine.connect()
            self._held = False
        try:
            if self._held:
                self._connection.exec_driver_sql("SELECT 1")
            else:
                for name, seconds in _KEEPALIVES.items():
                    self._connection.exec_driver_sql(f"SET {name} = {seconds}")
                self._held = bool(self._connection.scalar(_HOLD, {"number": self._number}))
        except DBAPIError:
            self.drop()
            raise
        return self._connection

    def gone(self, numbers: Collection[int]) -> set[int]:
        """Those of the numbers that no living process holds. Raises `DBAPIError`."""
        had_connection = self._connection is not None
        try:
            return self._gone(numbers)
        except DBAPIError:
            if not had_connection:
                raise
            # It broke since the last look. At once, and not at the next one: others may be looking already.
            return self._gone(numbers)

    def _gone(self, numbers: Collection[int]) -> set[int]:
        connection = self.keep()
        try:
            return {number for number in numbers if connection.scalar(_LOOK, {"number": number})}
        except DBAPIError:
            self.drop()
            raise

    def drop(self) -> None:
        """Closes the connection, and lets the lock go with it."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def is_held_by_nobody(connection: Connection, number: int) -> bool:
    """Whether no process holds the number, which none can take then before the transaction ends."""
    return bool(connection.scalar(_TAKE, {"number": number}))
