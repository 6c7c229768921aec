"""The schema of the store: created, or brought up to date step by step with Alembic."""

from __future__ import annotations

import threading
from pathlib import Path

from sqlalchemy import Connection, column, insert, inspect, select, table, text

from chat_sessions.server.store.tables import SettingRow, Table

__all__ = ["HEAD", "NewerSchema", "bring_up_to_date"]

HEAD = "2"
"""The newest schema: the last revision in `migrations/versions`."""

_OLDER = ("1",)
# If two processes open a database at once, the second waits and finds the work done.
_LOCK = 0x6368_6174_7365_7373
# Alembic has a single `op` for the whole process.
_one_at_a_time = threading.Lock()
_versions = table("alembic_version", column("version_num"))


class NewerSchema(Exception):
    """The database was written by a newer version of this package. The argument is the schema's number."""


def bring_up_to_date(connection: Connection) -> None:
    """Create or upgrade the tables within the connection's transaction, so that all of it is committed or nothing.

    Raises `NewerSchema`, and changes nothing then.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    schema = _schema_of(connection)
    if schema is None:
        # The same as the migrations would make, which a test compares, without the time that Alembic takes to load.
        Table.metadata.create_all(connection)
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"))
        connection.execute(insert(_versions).values(version_num=HEAD))
        connection.execute(insert(SettingRow).values(name="schema_version", value=HEAD))
    elif schema in _OLDER:
        with _one_at_a_time:
            _upgrade(connection)
    elif schema != HEAD:
        raise NewerSchema(schema)


def _schema_of(connection: Connection) -> str | None:
    """Return the schema of the database, or None if it has no table of this package."""
    inspector = inspect(connection)
    if inspector.has_table("alembic_version"):
        return connection.execute(select(_versions.c.version_num)).scalar()
    if inspector.has_table(SettingRow.__tablename__):
        # Schema 1 did not use Alembic.
        return connection.execute(select(SettingRow.value).where(SettingRow.name == "schema_version")).scalar()
    return None


def _upgrade(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    # A percent sign would start an interpolation.
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    config.attributes["connection"] = connection
    if not inspect(connection).has_table("alembic_version"):
        command.stamp(config, "1")
    command.upgrade(config, "head")
