"""Whatever is wrong is named in a line or two, with its exit code, and never as a traceback."""

from __future__ import annotations

import os
import socket
import sys
import threading
from pathlib import Path

import pytest

from chat_sessions import LocalServer
from chat_sessions.core.events import Stop, TextDelta
from chat_sessions.core.models import Usage
from tests.cli.conftest import DOCUMENTS, KEY, Commands, Program, ScriptedAgent, Serving, at
from tests.wire_server import Connection, Request, WireServer

ELSEWHERE = ("--base-url", "http://127.0.0.1:9", "--api-key", "k")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["ask", "hello", "--cloud", "-i", "idx-a"], 2, "no API key: set LLAMA_CLOUD_API_KEY"),
        (["ask", "", "-i", str(DOCUMENTS)], 2, "the question is empty"),
        (["ask", "x" * 1001, "-i", str(DOCUMENTS)], 2, "1,001 characters long; the Chat API takes 1,000"),
        (["ask", "hello"], 2, "--index"),
        (["ask", "hello", "-i", "nowhere"], 4, "no folder or file 'nowhere'"),
        (["ask", "hello", "-i", "idx-nowhere"], 4, "no index 'idx-nowhere' on this machine"),
        (["ask", "hello", "-s", "ses-nowhere"], 4, "no session 'ses-nowhere' on this machine"),
        (["sessions", "show", "ses-nowhere"], 4, "no session 'ses-nowhere' on this machine"),
        (["ask", "hello", "--nonsense"], 2, "--nonsense"),
        ([], 2, "Usage: chat-sessions"),
    ],
)
def test_bad_input_is_named(program: Program, arguments: list[str], code: int, said: str) -> None:
    result = program(*arguments)
    assert result.code == code
    assert said in (result.err or result.out)
    assert len([line for line in result.err.splitlines() if line.startswith("Error")]) <= 1


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["ask", "hello", "--base-url", "http://127.0.0.1:9", "-i", "idx-a"], 2, "no API key"),
        (["sessions", "list", "--region", "eu"], 2, "no API key"),
        (["sessions", "list", "--region", "mars", "--api-key", "k"], 2, "the regions are us and eu"),
        (["ask", "hello", "--api-key", "two words", "-i", "idx-a"], 2, "white space"),
        (["ask", "hello", "--api-key", "k", "--base-url", "ftp://host", "-i", "idx-a"], 2, "http or https"),
        (["ask", "hello", "--local", "--api-key", "k"], 2, "--local cannot be combined with --api-key"),
        (["ask", " \n ", "-i", str(DOCUMENTS)], 2, "the question is empty"),
        (["ask", "-", "-i", str(DOCUMENTS)], 2, "the question is empty"),
        (["ask", "hello", *ELSEWHERE], 2, "name an index with --index ID, or a session with --session ID"),
        (
            ["ask", "hello", "-i", str(DOCUMENTS), *ELSEWHERE],
            2,
            "leave out --api-key and --base-url to ask your own files",
        ),
        (
            ["ask", "hello", "-i", str(DOCUMENTS), "--json", "--json-events"],
            2,
            "--json and --json-events cannot be combined",
        ),
        (["chat", "-s", "ses-nowhere"], 4, "no session 'ses-nowhere' on this machine"),
        (["sessions", "title", "ses-nowhere"], 4, "no session 'ses-nowhere' on this machine"),
        (["sessions", "delete", "ses-nowhere", "--yes"], 4, "no session 'ses-nowhere' on this machine"),
        (["serve", "nowhere"], 4, "no folder or file 'nowhere'"),
        (["serve", "a/b=" + str(DOCUMENTS)], 2, "is not an index id"),
        (["serve", str(DOCUMENTS), "--host", "0.0.0.0"], 2, "choose the key that they must send with --api-key"),
        (["serve", str(DOCUMENTS), "--store", "mysql://host/db"], 2, "name a file"),
        (["serve", str(DOCUMENTS), "--port", "99999"], 2, "'--port': "),
        (["ask", "hello", "-i", str(DOCUMENTS), "--region", "mars"], 2, "--region mars: the regions are us and eu"),
        (["ask", "hello", "-i", str(DOCUMENTS), "--region", "eu"], 2, "leave out --region to ask your own files"),
        (["ask", "hello", "--local", "--region", "eu"], 2, "--local cannot be combined with --region"),
        (["ask", "how", "long", "-i", str(DOCUMENTS)], 2, "put the question in quotes"),
        (["ask", "hello", "-i", str(DOCUMENTS), "--timeout", "abc"], 2, "'--timeout': "),
        (["demo", "nowhere"], 4, "no folder or file 'nowhere'"),
        (["demo", str(DOCUMENTS)], 2, "--question"),
    ],
)
def test_contradictions_and_other_bad_input_are_named(
    command: Commands, arguments: list[str], code: int, said: str
) -> None:
    result = command(*arguments)
    assert result.code == code
    assert said in (result.err or result.out)
    assert len([line for line in result.err.splitlines() if line.startswith("Error")]) <= 1


def test_a_folder_without_documents_is_named(program: Program, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    result = program("ask", "hello", "-i", str(tmp_path / "empty"))
    assert result.code == 2
    assert "there are no files in it" in result.err


def test_a_pdf_that_cannot_be_read_is_named_with_the_reason(program: Program, tmp_path: Path) -> None:
    broken = tmp_path / "broken.pdf"
    broken.write_bytes(b"%PDF-1.7\nthis is no PDF")
    result = program("ask", "hello", "-i", str(broken))
    assert result.code == 2
    assert "broken.pdf" in result.err


def test_a_pdf_that_cannot_be_read_is_left_out_with_a_warning_where_others_can(
    command: Commands, tmp_path: Path
) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7\nthis is no PDF")
    (folder / "tea.md").write_text("# Tea\n\nGreen tea is brewed with water of 80 degrees.\n")
    result = command("ask", "How is green tea brewed?", "-i", str(folder))
    assert result.code == 0
    assert "Warning: broken.pdf: left out" in result.err
    assert "80 degrees" in result.out


def test_files_left_out_are_not_named_with_quiet_and_are_in_the_json(command: Commands, tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7\nthis is no PDF")
    (folder / "tea.md").write_text("# Tea\n\nGreen tea is brewed with water of 80 degrees.\n")
    ask = ("ask", "How is green tea brewed?", "-i", str(folder))
    assert command(*ask, "--quiet").err == ""
    assert command("chat", "--quiet", "-i", str(folder), stdin="How is green tea brewed?\n").err == ""

    assert "Warning: broken.pdf: left out" in command(*ask, "--json-events").err
    for quiet, said in ((), True), (("--quiet",), False):
        result = command(*ask, "--json", *quiet)
        (warning,) = result.json["warnings"]
        assert warning.startswith("broken.pdf: left out")
        assert (warning in result.err) is said


def test_a_wrong_key_is_named_with_its_own_code(program: Program, serving: Serving) -> None:
    result = program("ask", "hello", "-i", "idx-docs", *at(serving(), key="llx-wrong"))
    assert result.code == 3
    assert "the API key was refused" in result.err
    assert "llx-wrong" not in result.err


def test_a_session_that_the_service_does_not_know_is_named(program: Program, serving: Serving) -> None:
    result = program("ask", "hello", "-s", "ses-nowhere", *at(serving()))
    assert result.code == 4
    assert "ses-nowhere" in result.err


def test_an_index_that_the_service_does_not_know_is_named(program: Program, serving: Serving) -> None:
    result = program("ask", "hello", "-i", "idx-nowhere", *at(serving()))
    assert result.code == 1
    assert "idx-nowhere" in result.err


def test_a_prompt_that_the_service_refuses_is_told_with_the_services_reason(
    command: Commands, serving: Serving
) -> None:
    server = serving()
    first = command("ask", "What is the operating margin?", "-i", "idx-docs", *at(server))
    other = command("ask", "hello", "-s", first.session_id, "-i", "idx-other", *at(server))
    assert other.code == 2
    assert "Error: this session asks idx-docs, not idx-other; leave out --index" in other.err


def test_a_session_over_another_folder_is_named_with_what_to_do(command: Commands, tmp_path: Path) -> None:
    for name in ("mine", "other"):
        (tmp_path / "work" / name).mkdir()
        (tmp_path / "work" / name / "tea.md").write_text("# Tea\n\nGreen tea is brewed with water of 80 degrees.\n")
    command("ask", "How is green tea brewed?", "-i", "mine")
    result = command("ask", "And black tea?", "-i", "other", "-c", "-q")
    assert result.code == 2
    assert result.err == (
        "Error: this session asks mine, not other; leave out --index, or leave out --session and --continue to begin a "
        "new session\n"
    )


def test_a_server_with_one_index_is_asked_without_naming_it(command: Commands, serving: Serving) -> None:
    assert "14.3 %" in command("ask", "What was the operating margin in Q3 2025?", *at(serving())).out


def test_a_server_with_several_indexes_lists_them(command: Commands) -> None:
    with LocalServer(indexes={"idx-a": DOCUMENTS, "idx-b": DOCUMENTS}, api_key=KEY) as server:
        unnamed = command("ask", "hello", *at(server))
        unknown = command("ask", "hello", "-i", "idx-docs", *at(server))
    assert unnamed.code == 2
    assert "or a session with --session ID; the service has idx-a, idx-b" in unnamed.err
    assert unknown.code == 1
    assert "Warning: the service has these indexes: idx-a, idx-b" in unknown.err


def test_a_folder_that_may_not_be_read_is_named(command: Commands, tmp_path: Path) -> None:
    (tmp_path / "work" / "locked").mkdir(mode=0)
    result = command("ask", "hello", "-i", "locked")
    if os.access(tmp_path / "work" / "locked", os.R_OK):
        pytest.skip("this user may read everything")
    assert "no file in it can be read" in result.err
    assert "no permission to read it" in result.err


def test_a_port_that_is_taken_is_named(program: Program) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = program("serve", str(DOCUMENTS), "--port", port)
    assert result.code == 2
    assert f"port {port} is already in use" in result.err


def test_a_service_that_cannot_be_reached_is_named(program: Program) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    result = program("ask", "hello", "-i", "idx-docs", "--base-url", url, "--api-key", "k")
    assert result.code == 5
    assert f"cannot reach {url}" in result.err
    assert "stamina" not in result.err


def test_an_address_that_is_no_chat_api_is_named(command: Commands) -> None:
    with WireServer() as server:
        server.on("POST", "/chat", _a_page)
        result = command("ask", "hello", "-i", "idx-docs", "--base-url", server.url, "--api-key", "k")
    assert result.code == 5
    assert "body that is not a SessionSummary" in result.err


def test_a_server_that_dies_in_mid_answer_leaves_the_text_so_far_and_the_truth_about_the_turn(
    program: Program,
) -> None:
    shown, told = threading.Event(), threading.Event()

    def begin_and_die(_request: Request, connection: Connection) -> None:
        connection.start_stream()
        connection.events(TextDelta(content="The answer begins"))
        shown.wait()
        connection.reset()

    def read_back(_request: Request, connection: Connection) -> None:
        told.wait()
        connection.reset()

    with WireServer() as server:
        server.on("POST", "/chat", _create)
        server.on("POST", "/messages/stream", begin_and_die)
        server.on("GET", "/chat/ses-1", read_back)
        process = program.start(
            "ask", "hello", "-i", "idx-1", "--base-url", server.url, "--api-key", "k", "--timeout", "5"
        )
        assert process.stdout is not None
        assert process.stdout.read(len("The answer begins")) == "The answer begins"
        shown.set()
        assert process.stderr is not None
        # While the session is read, and not when that has been given up.
        assert any("looking it up there, for up to 5 s" in line for line in process.stderr)
        told.set()
        result = program.finish(process)
    assert result.code == 1
    assert "the prompt landed, and session ses-1 could not be read" in result.err
    assert "do not send the prompt again" in result.err


def test_a_question_that_may_or_may_not_have_arrived_has_a_code_of_its_own(program: Program) -> None:
    with WireServer() as server:
        server.on("POST", "/chat", _create)
        server.on("POST", "/messages/stream", lambda _request, connection: connection.reset())
        server.on("GET", "/chat/ses-1", lambda _request, connection: connection.reset())
        result = program("ask", "hello", "-i", "idx-1", "--base-url", server.url, "--api-key", "k", "--timeout", "0.5")
        assert len(server.posts()) == 1
    assert result.code == 6
    assert "look at the session before sending it again" in result.err


def test_a_turn_that_fails_keeps_its_text_and_says_why(command: Commands, serving: Serving) -> None:
    failed = Stop(usage=Usage(), is_error=True, error="the disk is gone")
    agent = ScriptedAgent([TextDelta(content="Half an answer"), failed])
    result = command("ask", "hello", "-i", "idx-docs", *at(serving(agent)))
    assert result.code == 1
    assert result.out.startswith("Half an answer")
    assert "the disk is gone" in result.err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full is Linux's")
@pytest.mark.parametrize("arguments", [["ask", "warranty", "-i", str(DOCUMENTS)], ["doctor"], ["--help"]])
def test_an_output_that_cannot_be_written_is_named(program: Program, arguments: list[str]) -> None:
    result = program.redirected(">/dev/full", *arguments)
    assert result.code == 2
    assert result.err.endswith("Error: stdout cannot be written: No space left on device\n")
    assert program.redirected("2>/dev/full", "ask", "warranty", "-i", str(DOCUMENTS)).code == 2


@pytest.mark.skipif(sys.platform == "win32", reason="a POSIX shell closes the streams")
def test_a_stream_that_is_closed_is_an_empty_one(program: Program) -> None:
    asked = ("ask", "How long is the warranty?", "-i", str(DOCUMENTS))
    assert program.redirected("<&-", "ask", "-", "-i", str(DOCUMENTS)).err == "Error: the question is empty\n"
    assert program.redirected("<&-", "chat", "-i", str(DOCUMENTS)).code == 0
    for closed in ("<&-", ">&-", "2>&-", "<&- >&- 2>&-"):
        result = program.redirected(closed, *asked)
        assert (result.code, "36 months" in result.out) == (0, " >&-" not in f" {closed}"), closed
        assert program.redirected(closed, *asked, "--json").code == 0


def test_a_wrong_key_is_named_after_one_of_several_piped_questions(program: Program, serving: Serving) -> None:
    result = program("chat", "-i", "idx-docs", *at(serving(), key="no"), stdin="one\n" * 5000)
    assert (result.code, result.out) == (3, "")
    assert "the API key was refused" in result.err


def test_a_folder_for_sessions_that_cannot_be_made_is_named(command: Commands, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = command("sessions", "list", env={"CHAT_SESSIONS_DATA": str(tmp_path / "file" / "data")})
    assert result.code == 2
    assert "CHAT_SESSIONS_DATA" in result.err


def test_a_file_of_sessions_that_is_damaged_is_named(command: Commands, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "sessions.db").write_bytes(b"this is no database" * 100)
    result = command("sessions", "list")
    assert result.code == 2
    assert "sessions.db' cannot be opened" in result.err


def test_a_lock_that_cannot_be_used_is_named(command: Commands, tmp_path: Path) -> None:
    (tmp_path / "data" / "sessions.db.lock").mkdir(parents=True)
    result = command("sessions", "list")
    assert result.code == 2
    assert "sessions.db.lock cannot be used" in result.err


@pytest.mark.parametrize(("module", "extra"), [("typer", "cli"), ("rich", "cli"), ("starlette", "server")])
def test_a_missing_extra_is_named_in_one_line(program: Program, module: str, extra: str) -> None:
    result = program.python(
        f"import sys; sys.modules[{module!r}] = None\n"
        f"sys.argv = ['chat-sessions', 'ask', 'hello', '-i', {str(DOCUMENTS)!r}]\n"
        "from chat_sessions.cli import main; main()"
    )
    assert result.code == 2
    assert f"pip install 'chat-sessions[{extra}]'" in result.err
    assert len(result.err.splitlines()) == 1


def test_a_missing_model_library_is_named_before_its_endpoint_and_key(program: Program) -> None:
    result = program.python(
        "import sys; sys.modules['llama_index.llms.openai_like'] = None\n"
        f"sys.argv = ['chat-sessions', 'ask', 'hello', '-i', {str(DOCUMENTS)!r}, '--llm', 'small']\n"
        "from chat_sessions.cli import main; main()"
    )
    assert result.code == 2
    assert "pip install 'chat-sessions[llm]'" in result.err


def test_a_fault_of_the_program_is_one_line_too(program: Program) -> None:
    result = program.python(
        "import sys, chat_sessions.cli.app as app, chat_sessions.cli.commands.sessions as sessions\n"
        "sessions.open_service = None\n"
        "sys.argv = ['chat-sessions', 'sessions', 'list']\n"
        "app.run()"
    )
    assert result.code == 70
    assert "This is a fault of chat-sessions; CHAT_SESSIONS_DEBUG=1 shows where" in result.err
    assert len(result.err.splitlines()) == 1


def _create(_request: Request, connection: Connection) -> None:
    connection.respond(201, {"session_id": "ses-1", "last_updated_at": "2026-04-22T12:34:41", "index_ids": ["idx-1"]})


def _a_page(_request: Request, connection: Connection) -> None:
    connection.respond(200, b"<html>Welcome</html>", headers={"Content-Type": "text/html"})
