"""Signs of life between the processes that share a store on PostgreSQL.

A process holds an advisory lock on its own number as long as it lives. The lock belongs to a connection, so it ends
with the process, however that ends. Unlike a lease, it does not end while the process is merely slow. If the connection
breaks and the process lives on, the process takes the lock again; so others check twice, some time apart (`Orphans`).
"""

from __future__ import annotations

import secrets
from collections.abc import Collection

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

__all__ = ["Presence", "is_free", "new_number"]

# With these, PostgreSQL notices within seconds that a process's machine has silently gone.
_KEEPALIVES = {"tcp_keepalives_idle": 5, "tcp_keepalives_interval": 3, "tcp_keepalives_count": 3}

_HOLD = text("SELECT pg_try_advisory_lock(:number)")
_LOOK = text("SELECT pg_try_advisory_xact_lock_shared(:number)")
_TAKE = text("SELECT pg_try_advisory_xact_lock(:number)")


def new_number() -> int:
    """Return a number for a process that no other has."""
    return secrets.randbits(62) + 1


class Presence:
    """The lock of one process, on a separate connection. Its methods block; call them from a single thread."""

    def __init__(self, engine: Engine, number: int) -> None:
        self._engine = engine
        self._number = number
        self._connection: Connection | None = None
        self._held = False

    def keep(self) -> Connection:
        """Make sure that the lock is held. Returns its connection, which commits each statement separately.

        After a broken connection, the server may still hold the lock for it; then the next call tries again.
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
        """Return those of the numbers that no living process holds. Raises `DBAPIError`."""
        had_connection = self._connection is not None
        try:
            return self._gone(numbers)
        except DBAPIError:
            if not had_connection:
                raise
            # The connection broke since the last check. Retry at once: others may be checking this process already.
            return self._gone(numbers)

    def _gone(self, numbers: Collection[int]) -> set[int]:
        connection = self.keep()
        try:
            return {number for number in numbers if connection.scalar(_LOOK, {"number": number})}
        except DBAPIError:
            self.drop()
            raise

    def drop(self) -> None:
        """Close the connection, and release the lock with it."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def is_free(connection: Connection, number: int) -> bool:
    """Return whether no process holds the number. If so, none can take it before the transaction ends."""
    return bool(connection.scalar(_TAKE, {"number": number}))
