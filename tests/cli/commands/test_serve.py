"""`serve`: the Chat API over folders, for this program and any other client."""

from __future__ import annotations

import os
import re
import secrets
import signal
import socket
import subprocess
from pathlib import Path

import httpx
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


def read_page(process: subprocess.Popen[str]) -> str:
    """The address of the page, which the server prints after its index."""
    assert process.stdout is not None
    found = re.fullmatch(r"# page (http://127\.0\.0\.1:\d+/\?token=[\w-]{32})\n", process.stdout.readline())
    assert found is not None
    return found[1]


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


def test_it_offers_a_page_over_its_sessions_on_another_port(program: Program) -> None:
    process = program.start("serve", f"idx-docs={DOCUMENTS}", "--port", "0")
    printed = read_until_listening(process)
    url, key, address = printed["LLAMA_CLOUD_BASE_URL"], printed["LLAMA_CLOUD_API_KEY"], read_page(process)
    page = address.partition("/?")[0]
    assert page != url
    with (
        LlamaCloudChat(base_url=url, api_key=key, index_ids=["idx-docs"]) as chat,
        httpx.Client(follow_redirects=True, trust_env=False, base_url=page, timeout=60) as browser,
    ):
        assert browser.get("/").status_code == 401
        chat.session().ask(MARGIN)
        assert "perating margin" in browser.get(address).text
        asked = browser.post("/sessions", data={"message": "How long is the warranty?"}, headers={"origin": page})
        with browser.stream("GET", f"{asked.url.path}/feed") as feed:
            assert any("36 months" in line for line in feed.iter_lines())
        assert len(list(chat.list())) == 2
        # The page shows what the key opens, but neither the key nor a way to the API around it.
        assert key not in browser.get(asked.url.path).text
        assert browser.get("/api/v1/chat").status_code == 404
        assert httpx.get(f"{url}/api/v1/chat", cookies=browser.cookies, trust_env=False, timeout=60).status_code == 401
        assert browser.post(asked.url.path + "/delete", headers={"origin": url}).status_code == 403
        # A page that is open does not keep the server from ending.
        with browser.stream("GET", f"{asked.url.path}/feed"):
            program.interrupt(process)
    ended = program.finish(process)
    assert (ended.code, ended.err.splitlines()[-1]) == (0, "Stopped")


@pytest.mark.parametrize("options", [["--no-page"], ["--api-key", "k"]])
def test_no_page_is_offered_unasked_where_no_secret_is_printed(program: Program, options: list[str]) -> None:
    process = program.start("serve", str(DOCUMENTS), "--port", "0", *options)
    read_until_listening(process)
    program.interrupt(process)
    assert program.finish(process).out == ""


def test_the_page_is_offered_on_this_machine_alone_where_it_is_asked_for(program: Program) -> None:
    key = {"CHAT_SESSIONS_SERVE_KEY": secrets.token_urlsafe(24)}
    process = program.start("serve", str(DOCUMENTS), "--host", "0.0.0.0", "--port", "0", "--page", env=key)
    read_until_listening(process)
    assert (
        "There are no sessions yet"
        in httpx.get(read_page(process), follow_redirects=True, trust_env=False, timeout=60).text
    )
    program.interrupt(process)
    assert program.finish(process).code == 0


def test_a_page_that_cannot_be_offered_says_what_to_do(command: Commands) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = command("serve", str(DOCUMENTS), "--port", "0", "--page-port", port)
    assert result.code == 2
    assert "--page-port 0 takes a free one" in result.err
    result = command("serve", str(DOCUMENTS), "--workers", "2", "--page", "--store", "postgresql://127.0.0.1/none")
    assert result.code == 2
    assert "open the page with: chat-sessions ui --base-url URL" in " ".join(result.err.split())


def test_without_the_extra_of_the_page_it_serves_all_the_same(program: Program) -> None:
    code = (
        "import sys; sys.modules['nh3'] = None\n"
        f"sys.argv = ['chat-sessions', 'serve', {str(DOCUMENTS)!r}, '--port', '0', *{{}}]\n"
        "from chat_sessions.cli import main; main()"
    )
    asked_for = program.python(code.format(["--page"]))
    assert asked_for.code == 2
    assert "pip install 'chat-sessions[web]'" in asked_for.err
    process = program.start_python(code.format([]))
    read_until_listening(process)
    program.interrupt(process)
    assert (program.finish(process).out, process.returncode) == ("", 0)


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
