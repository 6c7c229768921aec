"""A database of a test's own on a real PostgreSQL."""

from __future__ import annotations

import os
import secrets
from collections.abc import Generator
from contextlib import contextmanager

import psycopg
import pytest
from sqlalchemy import make_url

VARIABLE = "CHAT_SESSIONS_POSTGRES_URL"
_REQUIRED = "CHAT_SESSIONS_REQUIRE_POSTGRES"


def has_postgresql() -> bool:
    """Whether there is a PostgreSQL to test with; a failure if there has to be one."""
    if os.environ.get(VARIABLE):
        return True
    if os.environ.get(_REQUIRED):
        raise pytest.UsageError(f"{_REQUIRED} is set, and {VARIABLE} is not")
    return False


def require_postgresql() -> None:
    """Skips the module that calls it, in one line, where there is no PostgreSQL."""
    if not has_postgresql():
        pytest.skip(f"needs PostgreSQL: set {VARIABLE}, as in postgresql://me@127.0.0.1/db", allow_module_level=True)


def libpq_url(url: str) -> str:
    """The URL as psycopg itself takes it."""
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


@contextmanager
def new_database() -> Generator[str]:
    """The URL of an empty database, which is dropped at the end, whoever is still connected."""
    server = os.environ[VARIABLE]
    name = f"chat_sessions_{secrets.token_hex(8)}"
    with psycopg.connect(libpq_url(server), autocommit=True) as connection:
        # No client is ever connected to template0, and a template in use cannot be copied.
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE template0')
        try:
            yield make_url(server).set(database=name).render_as_string(hide_password=False)
        finally:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
