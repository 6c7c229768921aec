from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from chat_sessions.core.errors import ConfigurationError
from chat_sessions.core.events import TextDelta
from chat_sessions.server import ServerThread
from chat_sessions.server.store.store import Store
from tests.server.scripted import Api, Gate, LocalApi, ScriptedAgent, types

Start = Callable[..., LocalApi]


def test_sessions_survive_a_restart(start: Start, tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/chat.db"
    first = start(store=store)
    session_id = first.create(index_ids=["idx-docs"], shared_access="query")
    first.ask(session_id)
    before = first.retrieve(session_id)
    first.server.close()
    second = start(store=store)
    assert second.retrieve(session_id) == before
    assert second.ask(session_id)[-1]["is_error"] is False


def test_a_store_without_a_name_is_removed_on_close(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    api = start()
    api.create()
    assert len(list(tmp_path.glob("chat-sessions-*/sessions.db"))) == 1
    api.server.close()
    assert list(tmp_path.iterdir()) == []


# Streams a delta, tells the test where it listens, and waits to be killed.
_KILLED = """
import asyncio, sys
sys.path.insert(0, sys.argv[2])
from tests.server.scripted import PaperIndex, ScriptedAgent, Gate
from chat_sessions.core.events import TextDelta, ToolCall, Thinking
from chat_sessions.server import serve
serve(
    indexes={"idx-docs": PaperIndex()},
    agent=ScriptedAgent(
        Thinking(content="Hm."), ToolCall(call_id="c", name="n", arguments={}), TextDelta(content="Half an "), Gate()
    ),
    store=sys.argv[1], api_key="key", port=0, on_listening=lambda url, key: print(url, flush=True),
)
"""


def test_a_turn_cut_by_a_killed_process_is_an_error_with_all_that_was_streamed(start: Start, tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/chat.db"
    helpers = str(Path(__file__).parents[3])
    process = subprocess.Popen([sys.executable, "-c", _KILLED, store, helpers], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert url

        api = Api(url, "key")
        with api.http:
            session_id = api.create()
            with api.stream(session_id) as stream:
                streamed = [stream.event() for _ in range(4)]
                os.kill(process.pid, signal.SIGKILL)
    finally:
        process.kill()
        process.communicate()
    assert types(streamed) == ["thinking_delta", "thinking", "tool_call", "text_delta"]
    whole = start(store=store).retrieve(session_id)
    assert types(whole["events"]) == ["user_input", "thinking", "tool_call", "text", "stop"]
    assert whole["events"][3]["content"] == "Half an "
    assert whole["events"][4]["error"] == "the server stopped while it was answering"
    assert whole["job_metadata"]["is_error"] is True


def test_a_turn_that_runs_at_close_is_an_error_after_the_restart(start: Start, tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/chat.db"
    api = start(store=store, agent=ScriptedAgent(TextDelta(content="a"), Gate()))
    session_id = api.create()
    with api.stream(session_id) as stream:
        stream.event()
        api.server.close()
        assert types(stream.rest()) == ["text", "stop"]
    assert start(store=store).history(session_id) == ["user_input", "text", "stop"]


@pytest.mark.parametrize(
    ("store", "said"),
    [
        ("chat.db", "'chat.db' is not a database URL; a file is written as sqlite:///chat.db"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("mysql://me:secret@host/db", "'mysql://me:***@host/db' is not supported"),
        ("sqlite:////proc/none/chat.db", "cannot be opened: unable to open database file"),
    ],
)
def test_a_store_that_cannot_be_used_says_why(start: Start, store: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        start(store=store)
    assert said in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_file_that_is_no_database_is_left_alone(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("my notes, long enough to be no empty database\n" * 20)
    with pytest.raises(ConfigurationError, match="file is not a database"):
        start(store=f"sqlite:///{file}")
    assert file.read_text().startswith("my notes")


@pytest.mark.parametrize("damage", ["cut", "table", "schema"])
def test_a_damaged_store_says_what_to_do(start: Start, tmp_path: Path, damage: str) -> None:
    file = tmp_path / "chat.db"
    api = start(store=f"sqlite:///{file}")
    api.ask(api.create())
    api.server.close()
    content = bytearray(file.read_bytes())
    if damage == "cut":
        del content[len(content) // 2 :]
    elif damage == "table":
        # The root of the first table is found at the second page when it is written to, and not before.
        content[4096:8192] = bytes(4096)
    else:
        content = content.replace(b"CREATE TABLE", b"CREATE BABLE")
    file.write_bytes(content)
    with pytest.raises(ConfigurationError, match="is damaged: restore it from a copy, or name another store"):
        start(store=f"sqlite:///{file}")
    assert file.read_bytes() == content


async def test_a_store_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/chat.db"
    await (await Store.open(url)).close()
    with sqlite3.connect(tmp_path / "chat.db") as database:
        database.execute("UPDATE alembic_version SET version_num = '99'")
    database.close()
    with pytest.raises(ConfigurationError, match=r"newer version of chat-sessions \(schema 99\)"):
        await Store.open(url)


async def test_a_secret_of_a_store_stays_the_same(tmp_path: Path) -> None:
    found: list[bytes] = []
    for _ in range(2):
        store = await Store.open(f"sqlite:///{tmp_path}/chat.db")
        found.append(await store.secret("attachment_links"))
        await store.close()
    assert found[0] == found[1]
    assert len(found[0]) == 32


def test_a_server_that_cannot_open_its_store_leaves_the_port_free(start: Start, tmp_path: Path) -> None:
    api = start()
    port = api.server.port
    api.server.close()
    with pytest.raises(ConfigurationError, match="cannot be opened"):
        start(store=f"sqlite:///{tmp_path}/none/chat.db", port=port)
    assert isinstance(start(port=port).server, ServerThread)
