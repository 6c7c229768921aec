"""The store of local sessions, read without a server."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from chat_sessions import ConfigurationError
from chat_sessions.cli.where.session_names import stored_sessions


def test_a_store_whose_damage_shows_when_it_is_read_says_what_to_do(tmp_path: Path) -> None:
    file = tmp_path / "sessions.db"
    assert stored_sessions(file) == []
    with closing(sqlite3.connect(file)) as database:
        (page,) = database.execute("SELECT rootpage FROM sqlite_master WHERE name = 'sessions'").fetchone()
        (size,) = database.execute("PRAGMA page_size").fetchone()
    content = bytearray(file.read_bytes())
    content[(page - 1) * size : page * size] = bytes(size)
    file.write_bytes(content)
    with pytest.raises(ConfigurationError, match="is damaged: restore it from a copy, or name another store"):
        stored_sessions(file)
