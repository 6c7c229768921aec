from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from chat_sessions.core.errors import ConfigurationError
from chat_sessions.core.events import Event, Text, TextDelta
from chat_sessions.server import ServerThread
from chat_sessions.server.turns.agent import AgentTurn
from tests.server.scripted import ANSWER, Api, Gate, LocalApi, PaperIndex, ScriptedAgent, types

Start = Callable[..., LocalApi]


def server(**options: Any) -> ServerThread:
    options.setdefault("indexes", {"idx-docs": PaperIndex()})
    options.setdefault("agent", ScriptedAgent(*ANSWER))
    return ServerThread(**options)


def test_a_server_listens_on_this_machine_alone(api: LocalApi) -> None:
    assert api.server.url == f"http://127.0.0.1:{api.server.port}"
    assert api.server.index_ids == ("idx-docs",)
    assert api.http.get("/health").status_code == 200


def test_a_closed_server_has_closed_the_file_in_which_its_indexes_are_kept(tmp_path: Path) -> None:
    """SQLite removes the log of a file that nobody has open any more."""
    documents, kept = tmp_path / "documents", tmp_path / "kept"
    documents.mkdir()
    (documents / "note.txt").write_text("Ferries leave at nine.")
    with server(indexes={"idx-docs": documents}, index_store=kept) as running:
        assert len(list(kept.glob("index-*.db-wal"))) == 1
    assert list(kept.glob("index-*.db-wal")) == []
    assert running.index_ids == ("idx-docs",)


def test_a_taken_port_is_an_error_that_names_it(api: LocalApi) -> None:
    with pytest.raises(ConfigurationError, match=rf"port {api.server.port} is already in use on 127\.0\.0\.1"):
        server(port=api.server.port).start()
    assert api.http.get("/health").status_code == 200


def test_a_port_that_is_none_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match="port 70000 is not between 0 and 65535"):
        server(port=70000).start()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"api_key": 3}, "api_key is a str or a SecretStr, not an int$"),
        ({"faults": 3}, "faults is a list of the faults of chat_sessions.testing, not an int"),
        ({"faults": [3]}, "3 is not a fault"),
        ({"port": "8080"}, "port '8080' is not between 0 and 65535"),
        ({"port": True}, "port True is not between 0 and 65535"),
        ({"indexes": 0}, "indexes=0: name an index"),
        ({"attachment_lifetime": None}, "attachment_lifetime=None: use a number above 0"),
    ],
)
def test_an_argument_of_another_kind_is_an_error_that_names_it_before_anything_starts(
    options: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said):
        server(**options)


@pytest.mark.parametrize("indexes", ["files", ["files"]])
def test_indexes_without_names_are_an_error_that_shows_the_form(indexes: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"files.*name an index.*indexes=\{'idx-docs': 'docs/'\}"):
        server(indexes=indexes)


@pytest.mark.parametrize("source", [None, ["docs/"], b"docs/"])
def test_an_index_that_is_no_path_is_an_error_that_names_it(source: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"indexes\['idx-docs'\] is the path of a folder or a file"):
        server(indexes={"idx-docs": source})


def test_a_server_that_was_not_started_has_no_url() -> None:
    unstarted = server(api_key="secret")
    assert repr(unstarted) == "<ServerThread not started>"
    with pytest.raises(ConfigurationError, match="not running"):
        _ = unstarted.url
    unstarted.close()


def test_start_and_close_may_be_called_again(start: Start) -> None:
    running = server(api_key="secret")
    assert running.start() is running.start()
    url = running.url
    assert repr(running) == f"<ServerThread {url}>"
    running.close()
    running.close()
    assert repr(running) == "<ServerThread closed>"
    with pytest.raises(ConfigurationError, match="the server was closed"):
        running.start()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/health", trust_env=False)


def test_close_ends_open_streams_with_an_error_stop(start: Start) -> None:
    api = start(agent=ScriptedAgent(TextDelta(content="a"), Gate()))
    with api.stream(api.create()) as stream:
        stream.event()
        api.server.close()
        assert stream.rest()[-1]["error"] == "the server is shutting down"


def test_close_does_not_wait_for_a_client_that_does_not_read(start: Start) -> None:
    gate = Gate()
    api = start(agent=ScriptedAgent(*[Text(content="x" * 1_000_000)] * 40, gate))
    session_id = api.create()
    with api.stream(session_id):
        assert gate.reached.wait(20)
        api.server.close()


def test_a_closed_server_leaves_no_thread_and_no_task() -> None:
    before = set(threading.enumerate())
    with server() as running:
        api = Api(running.url, running.api_key)
        with api.http:
            api.ask(api.create())
        assert set(threading.enumerate()) != before
    assert set(threading.enumerate()) == before


def test_an_index_that_cannot_be_opened_is_the_callers_error(tmp_path: Path) -> None:
    missing = server(indexes={"idx-docs": tmp_path / "missing"})
    with pytest.raises(ConfigurationError, match="missing"):
        missing.start()
    assert not [thread for thread in threading.enumerate() if thread.name == "chat-sessions-server"]


def test_documents_are_served_by_the_agent_that_needs_no_model(tmp_path: Path) -> None:
    (tmp_path / "facts.md").write_text("# Facts\n\nThe tower is 330 metres high.\n")
    with ServerThread(indexes={"idx-docs": str(tmp_path)}) as running:
        api = Api(running.url, running.api_key)
        with api.http:
            events = api.ask(api.create(), "How high is the tower?")
    assert "tool_call" in types(events)
    assert "330 metres" in next(event["content"] for event in events if event["type"] == "text")


def test_a_server_in_a_thread_keeps_quiet(capfd: pytest.CaptureFixture[str]) -> None:
    with server(agent=ScriptedAgent(ValueError("boom"))) as running:
        api = Api(running.url, running.api_key)
        with api.http:
            api.ask(api.create())
            api.http.get("/api/v1/none")
    assert capfd.readouterr() == ("", "")


def test_a_failure_of_a_running_server_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise OSError("the disk is on fire")

    monkeypatch.setattr("uvicorn.Server.serve", fail)
    with server() as running:
        assert running._thread is not None
        running._thread.join(20)
    assert "the disk is on fire" in caplog.text
    assert caplog.records[-1].levelno == logging.ERROR


def test_a_port_that_only_root_may_use_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", refuse)
    with pytest.raises(ConfigurationError, match="port 80 may not be used by this user"):
        server(port=80).start()


class Interrupted:
    """An agent that raises what Ctrl-C raises, in a thread that no Ctrl-C reaches."""

    async def run(self, turn: AgentTurn) -> AsyncIterator[Event]:
        yield TextDelta(content="a")
        raise KeyboardInterrupt


def test_a_keyboard_interrupt_of_an_agent_does_not_end_a_server_in_a_thread(start: Start) -> None:
    api = start(agent=Interrupted())
    session_id = api.create()
    for _ in range(2):
        assert api.ask(session_id)[-1]["error"] == "the agent failed: KeyboardInterrupt"


_LEFT_OPEN = """
import sys
sys.path.insert(0, sys.argv[1])
from chat_sessions.core.events import TextDelta
from chat_sessions.server import ServerThread
from tests.server.scripted import Api, Gate, PaperIndex, ScriptedAgent

agent = ScriptedAgent(TextDelta(content="a"), Gate())
server = ServerThread(indexes={"idx-docs": PaperIndex()}, agent=agent, store=sys.argv[2] or None).start()
api = Api(server.url, server.api_key)
stream = api.stream(api.create())
stream.__enter__().event()
"""


@pytest.mark.parametrize("stored", [False, True])
def test_a_server_that_nobody_closed_is_closed_when_the_interpreter_exits(tmp_path: Path, stored: bool) -> None:
    temporary, database = tmp_path / "tmp", tmp_path / "chat.db"
    temporary.mkdir()
    store = f"sqlite:///{database}" if stored else ""
    done = subprocess.run(
        [sys.executable, "-c", _LEFT_OPEN, str(Path(__file__).parents[3]), store],
        env={**os.environ, "TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(temporary.iterdir()) == []
    if stored:
        with contextlib.closing(sqlite3.connect(database)) as connection:
            assert connection.execute("SELECT running FROM turns").fetchall() == [(0,)]
            (stop,) = connection.execute("SELECT body FROM events WHERE type = 'stop'").fetchone()
        assert json.loads(stop)["error"] == "the server is shutting down"
