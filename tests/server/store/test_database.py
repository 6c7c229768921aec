"""What is wrong with a store's URL is said clearly, and no password with it."""

from __future__ import annotations

import sys

import pytest

from chat_sessions.core.errors import ConfigurationError
from chat_sessions.server.store.database import address_of, shown
from chat_sessions.server.store.store import Store


@pytest.mark.parametrize("url", ["postgresql://me@host/db", "postgresql+psycopg://me@host/db", "postgres://me@host/db"])
def test_postgresql_is_named_in_any_of_its_forms(url: str) -> None:
    pytest.importorskip("psycopg")
    assert address_of(url).render_as_string() == "postgresql+psycopg://me@host/db"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql+asyncpg://me:secret@host/db", "names the driver asyncpg; leave it out"),
        ("mysql://me:secret@host/db", "is not supported; use sqlite:///chat.db, postgresql://"),
        ("postgresql//me:secret@host/db", "is not a database URL"),
        ("postgresql://me:secret@host:port/db", "is not a database URL"),
        ("mysql://host/db?password=secret", "is not supported"),
        ("mysql://me:se@cr:secret/@host/db", "is not a database URL"),
    ],
)
def test_a_url_that_cannot_be_used_is_told_without_its_password(url: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        address_of(url)
    assert said in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_url_is_shown_with_all_but_its_password() -> None:
    assert shown("postgresql://me:p%40ss@host:1/db?sslmode=require") == "postgresql://me:***@host:1/db?sslmode=require"
    assert shown("postgresql://me@host/db?sslpassword=x&a=b") == "postgresql://me@host/db?sslpassword=***&a=b"
    assert shown("sqlite:///chat.db") == "sqlite:///chat.db"


def test_without_its_driver_postgresql_is_refused_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ConfigurationError, match=r"needs psycopg; install it with: .*'chat-sessions\[postgres\]'"):
        address_of("postgresql://me@host/db")


async def test_a_server_that_does_not_answer_is_told_without_the_password() -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(ConfigurationError) as caught:
        await Store.open("postgresql://me:secret@127.0.0.1:1/db")
    assert "the store 'postgresql://me:***@127.0.0.1:1/db' cannot be opened" in str(caught.value)
    assert "Connection refused" in str(caught.value)
    assert "secret" not in repr(caught.value) + repr(caught.value.__cause__)
    assert "\n" not in str(caught.value)
