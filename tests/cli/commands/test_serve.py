"""`serve`: the Chat API over folders, for this program and any other client."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from chat_sessions import LlamaCloudChat
from tests.cli.conftest import DOCUMENTS, Commands, Program
from tests.server.postgresql import VARIABLE, has_postgresql, new_database

MARGIN = "What was the operating margin in Q3 2025?"


def read_until_listening(process: subprocess.Popen[str]) -> dict[str, str]:
    """The lines of the environment file that the server prints, up to its index."""
    assert process.stdout is not None
    found: dict[str, str] = {}
    for line in process.stdout:
        name, _, value = line.strip().partition("=")
        if name.startswith("# index"):
            found["index"] = name
            return found
        found[name] = value
    raise AssertionError("the server ended before it listened")


def test_it_prints_what_a_client_needs_and_ends_with_ctrl_c(program: Program) -> None:
    process = program.start("serve", f"idx-docs={DOCUMENTS}", "--port", "0")
    printed = read_until_listening(process)
    assert printed["index"] == f"# index idx-docs: 7 documents in {DOCUMENTS}"
    url, key = printed["LLAMA_CLOUD_BASE_URL"], printed["LLAMA_CLOUD_API_KEY"]
    with LlamaCloudChat(base_url=url, api_key=key, index_ids=["idx-docs"]) as chat:
        assert "14.3 %" in chat.session().ask(MARGIN).text
    asked = program("ask", MARGIN, "-i", "idx-docs", env={k: v for k, v in printed.items() if k != "index"})
    assert "14.3 %" in asked.out
    assert asked.err.startswith(f"Chat API at {url}\n")
    program.interrupt(process)
    assert program.finish(process).code == 0


def test_its_sessions_outlive_it(program: Program, tmp_path: Path) -> None:
    store = str(tmp_path / "chat.db")
    ids: list[list[str]] = []
    for _ in range(2):
        process = program.start("serve", str(DOCUMENTS), "--port", "0", "--api-key", "k", "--store", store)
        printed = read_until_listening(process)
        assert "LLAMA_CLOUD_API_KEY" not in printed
        with LlamaCloudChat(base_url=printed["LLAMA_CLOUD_BASE_URL"], api_key="k") as chat:
            chat.create()
            ids.append([summary.session_id for summary in chat.list()])
        program.interrupt(process)
        program.finish(process)
    assert len(ids[1]) == 2
    assert ids[0][0] in ids[1]


def test_two_servers_do_not_share_a_file(program: Program) -> None:
    first = program.start("serve", str(DOCUMENTS), "--port", "0")
    read_until_listening(first)
    second = program("serve", str(DOCUMENTS), "--port", "0")
    assert second.code == 2
    assert "is in use by another chat-sessions; end it, or name another file with --store" in second.err


def test_two_folders_with_one_id_are_refused(command: Commands, tmp_path: Path) -> None:
    result = command("serve", f"docs={DOCUMENTS}", f"docs={tmp_path}")
    assert result.code == 2
    assert "two folders have the index id 'docs'" in result.err


def test_several_processes_are_refused_on_a_file(command: Commands) -> None:
    result = command("serve", str(DOCUMENTS), "--workers", "2", "--store", "chat.db")
    assert result.code == 2
    assert "--workers 2: several processes need a store on PostgreSQL" in result.err


def test_a_database_that_cannot_be_used_is_told_without_its_password(command: Commands) -> None:
    for url, said in (
        ("postgresql://me:secret@127.0.0.1:1/db", "Connection refused"),
        ("mysql://me:secret@host/db", "name a file, such as --store chat.db, or postgresql://user@host/database"),
    ):
        result = command("serve", str(DOCUMENTS), "--port", "0", "--store", url)
        assert result.code == 2
        assert said in " ".join(result.err.split())
        assert "secret" not in result.err


@pytest.mark.skipif(not has_postgresql(), reason=f"needs PostgreSQL: set {VARIABLE}")
def test_several_processes_serve_one_database_and_their_sessions_outlive_them(program: Program) -> None:
    with new_database() as store:
        ids: list[list[str]] = []
        for _ in range(2):
            # In the variable and not among the arguments, which others on the machine can read.
            process = program.start(
                "serve",
                f"idx-docs={DOCUMENTS}",
                "--port",
                "0",
                "--workers",
                "2",
                "--drain",
                "5",
                env={"CHAT_SESSIONS_STORE": store},
            )
            printed = read_until_listening(process)
            url, key = printed["LLAMA_CLOUD_BASE_URL"], printed["LLAMA_CLOUD_API_KEY"]
            with LlamaCloudChat(base_url=url, api_key=key, index_ids=["idx-docs"]) as chat:
                assert "14.3 %" in chat.session().ask(MARGIN).text
                ids.append([summary.session_id for summary in chat.list()])
            program.interrupt(process)
            ended = program.finish(process)
            assert (ended.code, ended.err.splitlines()[-1]) == (0, "Stopped")
            assert "Sessions are kept in PostgreSQL by 2 processes." in ended.err
        assert ids[1][1:] == ids[0]


@pytest.mark.skipif(not has_postgresql(), reason=f"needs PostgreSQL: set {VARIABLE}")
def test_a_worker_that_died_is_told_in_a_line(program: Program) -> None:
    with new_database() as store:
        process = program.start(
            "serve", str(DOCUMENTS), "--port", "0", "--workers", "2", env={"CHAT_SESSIONS_STORE": store}
        )
        read_until_listening(process)
        assert process.stderr is not None
        workers = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        if not workers.exists():
            pytest.skip("the system does not tell which processes a process has")
        os.kill(int(workers.read_text().split()[0]), signal.SIGKILL)
        while "Warning: worker" not in (line := process.stderr.readline()):
            assert process.poll() is None
        assert line.endswith("ended: killed by SIGKILL; another takes its place\n")
        program.interrupt(process)
        assert program.finish(process).code == 0
