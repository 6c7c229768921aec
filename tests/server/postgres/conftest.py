from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest

from chat_sessions.server import ServerThread
from tests.server.postgresql import libpq_url, new_database
from tests.server.scripted import ANSWER, LocalApi, PaperIndex, ScriptedAgent


@pytest.fixture(scope="module")
def shared_database() -> Iterator[str]:
    with new_database() as url:
        yield url


@pytest.fixture
def database(shared_database: str) -> Iterator[str]:
    """A database with nothing in it at the end."""
    yield shared_database
    with psycopg.connect(libpq_url(shared_database), autocommit=True) as connection:
        if connection.execute("SELECT to_regclass('sessions')").fetchone() != (None,):
            connection.execute("TRUNCATE sessions, turns, events, settings RESTART IDENTITY")


@pytest.fixture
def start(database: str) -> Iterator[Callable[..., LocalApi]]:
    """Starts servers on the database; each is closed at the end."""
    with ExitStack() as stack:

        def run(**options: Any) -> LocalApi:
            options.setdefault("indexes", {"idx-docs": PaperIndex()})
            options.setdefault("agent", ScriptedAgent(*ANSWER))
            options.setdefault("store", database)
            api = LocalApi(stack.enter_context(ServerThread(**options)))
            stack.callback(api.http.close)
            return api

        yield run


@pytest.fixture
def api(start: Callable[..., LocalApi]) -> LocalApi:
    """A server whose agent gives one short answer."""
    return start()
