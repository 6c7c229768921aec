"""A store of an older version keeps every session, and one of a newer version is left alone."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, inspect

from chat_sessions.core.errors import ConfigurationError
from chat_sessions.server.store import schema
from chat_sessions.server.store.database import address_of
from chat_sessions.server.store.store import Store
from chat_sessions.server.store.tables import Table
from tests.server.postgresql import has_postgresql, new_database
from tests.server.scripted import LocalApi, types

# Made by the first version of the package: a session of two turns, one without messages, and one
# whose turn was running when the process was killed.
SCHEMA_1 = Path(__file__).parent / "schema-1.sqlite"
MIGRATIONS = Path(schema.__file__).with_name("migrations")

Start = Callable[..., LocalApi]


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return Path(shutil.copy(SCHEMA_1, tmp_path / "chat.db"))


@pytest.fixture(params=["sqlite", *(["postgresql"] if has_postgresql() else [])])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a store that has nothing yet."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/new.db"
    else:
        with new_database() as url:
            yield url


def rows(file: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(file)) as connection:
        return connection.execute(query).fetchall()


def migrated_from_nothing(engine: Engine) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


async def test_a_store_of_schema_1_keeps_every_session(old: Path) -> None:
    before = rows(old, "SELECT * FROM sessions"), rows(old, "SELECT * FROM events")
    secret = rows(old, "SELECT value FROM settings WHERE name = 'attachment_links'")
    store = await Store.open(f"sqlite:///{old}")
    try:
        sessions = await store.sessions(limit=10)
        assert [(session.generated_title, session.index_ids) for session in sessions] == [
            ("Cut?", ["idx-docs"]),
            (None, ["idx-a", "idx-b"]),
            ("How many?", ["idx-docs"]),
        ]
        assert len(await store.events(sessions[2].session_id)) == 18
        assert (await store.secret("attachment_links")).hex() == secret[0][0]
    finally:
        await store.close()
    assert (rows(old, "SELECT * FROM sessions"), rows(old, "SELECT * FROM events")) == before
    assert rows(old, "SELECT version_num FROM alembic_version") == [(schema.HEAD,)]


def test_a_turn_that_was_cut_under_schema_1_is_ended_and_its_session_goes_on(start: Start, old: Path) -> None:
    api = start(store=f"sqlite:///{old}")
    session_id = api.http.get("/api/v1/chat").json()["items"][0]["session_id"]
    events = api.retrieve(session_id)["events"]
    assert types(events) == ["user_input", "thinking", "text", "stop"]
    assert (events[2]["content"], events[3]["error"]) == ("Half an ", "the server stopped while it was answering")
    assert api.ask(session_id)[-1]["is_error"] is False


async def test_the_versions_that_know_schema_1_alone_refuse_the_store_afterwards(old: Path) -> None:
    await (await Store.open(f"sqlite:///{old}")).close()
    assert rows(old, "SELECT value FROM settings WHERE name = 'schema_version'") != [("1",)]


async def test_a_migration_that_fails_leaves_the_store_as_it_was(old: Path) -> None:
    with closing(sqlite3.connect(old)) as connection:
        # What the last step of the migration would make is there already, and is something else.
        connection.execute("CREATE INDEX ix_events_turn_id ON sessions (number)")
    before = "\n".join(rows_of_dump(old))
    with pytest.raises(ConfigurationError, match="cannot be opened: index ix_events_turn_id already exists"):
        await Store.open(f"sqlite:///{old}")
    assert "\n".join(rows_of_dump(old)) == before
    with closing(sqlite3.connect(old)) as connection:
        connection.execute("DROP INDEX ix_events_turn_id")
    await (await Store.open(f"sqlite:///{old}")).close()
    assert rows(old, "SELECT version_num FROM alembic_version") == [(schema.HEAD,)]


def rows_of_dump(file: Path) -> list[str]:
    with closing(sqlite3.connect(file)) as connection:
        return list(connection.iterdump())


async def test_a_store_that_was_made_anew_is_as_the_migrations_leave_one(empty: str, tmp_path: Path) -> None:
    await (await Store.open(empty)).close()
    engine = create_engine(address_of(empty))
    made = described(engine)
    with engine.begin() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Table.metadata) == []
        Table.metadata.drop_all(connection)
        connection.exec_driver_sql("DROP TABLE alembic_version")
    migrated_from_nothing(engine)
    assert described(engine) == made
    engine.dispose()


def described(engine: Engine) -> dict[str, Any]:
    """Everything about the tables that decides what they do."""
    inspector = inspect(engine)
    found: dict[str, Any] = {}
    for table in sorted(inspector.get_table_names()):
        columns = inspector.get_columns(table)
        found[table] = {
            "columns": [(column["name"], str(column["type"]), column["nullable"]) for column in columns],
            "key": inspector.get_pk_constraint(table)["constrained_columns"],
            "unique": [constraint["column_names"] for constraint in inspector.get_unique_constraints(table)],
            "foreign": sorted(
                (key["constrained_columns"], key["referred_table"], str(key["options"]))
                for key in inspector.get_foreign_keys(table)
            ),
            "indexes": sorted((str(index["name"]), index["column_names"]) for index in inspector.get_indexes(table)),
        }
    return found


def test_the_newest_schema_is_the_last_migration() -> None:
    assert ScriptDirectory(str(MIGRATIONS)).get_current_head() == schema.HEAD


async def test_processes_that_open_a_new_store_at_once_make_it_once(empty: str) -> None:
    stores = await asyncio.gather(*(Store.open(empty) for _ in range(4)))
    secrets = await asyncio.gather(*(store.secret("attachment_links") for store in stores))
    assert len(set(secrets)) == 1
    for store in stores:
        await store.close()


async def test_processes_that_open_an_old_store_at_once_migrate_it_once(old: Path) -> None:
    for store in await asyncio.gather(*(Store.open(f"sqlite:///{old}") for _ in range(4))):
        assert len(await store.sessions(limit=10)) == 3
        await store.close()


async def test_a_store_of_a_newer_schema_is_refused_and_left_alone(empty: str) -> None:
    await (await Store.open(empty)).close()
    engine = create_engine(address_of(empty))
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '99'")
    with pytest.raises(ConfigurationError, match=r"written by a newer version of chat-sessions \(schema 99\); upgrade"):
        await Store.open(empty)
    with engine.begin() as connection:
        assert connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar() == "99"
    engine.dispose()
