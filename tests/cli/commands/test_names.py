"""Sessions named by the beginning of their id, or as the last one."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from chat_sessions.cli.errors import UnknownName
from chat_sessions.cli.where.session_names import full_id
from tests.cli.conftest import DOCUMENTS, KEY, Commands, Program, Serving, at

MARGIN = "What was the operating margin in Q3 2025?"
IDS = ["ses-abc1", "ses-abd2", "ses-b"]


@pytest.mark.parametrize(
    ("name", "meant"),
    [("last", "ses-abc1"), ("ses-b", "ses-b"), ("ses-abd", "ses-abd2"), ("ses-x", "ses-x"), ("", "")],
)
def test_a_name_means_the_one_session_that_begins_with_it(name: str, meant: str) -> None:
    assert full_id(name, IDS) == meant


def test_the_beginning_of_several_ids_is_an_error_that_names_them() -> None:
    with pytest.raises(UnknownName, match="2 sessions begin with 'ses-a': ses-abc1, ses-abd2; type more of the id"):
        full_id("ses-a", IDS)


def test_an_id_that_is_also_the_beginning_of_another_means_itself() -> None:
    assert full_id("ses-a", ["ses-ab", "ses-a"]) == "ses-a"


def test_a_whole_id_is_not_looked_for() -> None:
    def unread() -> str:
        raise AssertionError

    name = "ses-d7fcced133fa994146fb3283"
    assert full_id(name, (unread() for _ in range(1))) == name


def test_the_newest_session_is_continued_over_its_own_folder(command: Commands) -> None:
    first = command("ask", MARGIN, "-i", str(DOCUMENTS))
    again = command("ask", "And in Q4?", "-c")
    assert "11.8 %" in again.out
    assert again.session_id == first.session_id
    chat = command("chat", "--continue", stdin="/session\n")
    assert chat.out == f"{first.session_id}\n"


def test_every_command_takes_the_beginning_of_an_id(command: Commands) -> None:
    session_id = command("ask", MARGIN, "-i", str(DOCUMENTS)).session_id
    beginning = session_id[:9]
    assert command("ask", "And in Q4?", "-s", beginning).session_id == session_id
    assert session_id in command("sessions", "show", beginning).out
    assert MARGIN in command("sessions", "export", "last").out
    assert command("sessions", "title", beginning).code == 0
    deleted = command("sessions", "delete", beginning, session_id, "--yes")
    assert deleted.err.count("Deleted") == 1


def test_a_session_of_another_service_is_found_by_its_beginning(command: Commands, serving: Serving) -> None:
    server = serving()
    with server.client() as chat:
        session_id = chat.create(index_ids=["idx-docs"]).session_id
    shown = command("sessions", "show", session_id[:10], *at(server))
    assert (shown.code, session_id in shown.out) == (0, True)
    assert command("sessions", "show", "ses-nowhere", *at(server)).code == 4


def test_there_is_nothing_to_continue_on_a_new_machine(command: Commands) -> None:
    result = command("ask", MARGIN, "-c")
    assert (result.code, result.err) == (4, "Error: there is no session to continue yet\n")
    assert "cannot be combined" in command("chat", "-c", "-s", "ses-a").err


class Tab:
    """Presses TAB at the end of a command line, as the completion of bash does."""

    def __init__(self, program: Program) -> None:
        self._program = program

    def __call__(self, *words: str, env: dict[str, str] | None = None) -> list[str]:
        line = {"COMP_WORDS": " ".join(["chat-sessions", *words]), "COMP_CWORD": str(len(words))}
        code = "from chat_sessions.cli.app import app; app(prog_name='chat-sessions')"
        process = self._program.start_python(code, {"_CHAT_SESSIONS_COMPLETE": "complete_bash", **line, **(env or {})})
        done = self._program.finish(process)
        assert done.err == ""
        return done.out.split()


@pytest.fixture
def tab(program: Program) -> Tab:
    return Tab(program)


def test_tab_offers_the_sessions_of_this_machine(command: Commands, tab: Tab) -> None:
    assert tab("chat", "-s", "ses-") == []
    session_id = command("ask", MARGIN, "-i", str(DOCUMENTS)).session_id
    assert tab("chat", "-s", session_id[:6]) == [session_id]
    assert tab("sessions", "show", "ses-") == [session_id]
    assert tab("chat", "-s", "other") == []


def test_tab_offers_the_sessions_of_the_service_that_the_line_the_environment_or_the_file_names(
    command: Commands, tab: Tab, serving: Serving
) -> None:
    server = serving()
    with server.client() as chat:
        session_id = chat.create(index_ids=["idx-docs"]).session_id
    assert tab("sessions", "show", *at(server), "ses-") == [session_id]
    environment = {"LLAMA_CLOUD_BASE_URL": server.url, "LLAMA_CLOUD_API_KEY": server.api_key}
    assert tab("ask", "Hi", "-s", "ses-", env=environment) == [session_id]
    command("config", "set", "base-url", server.url)
    assert tab("chat", "-s", "ses-", env={"LLAMA_CLOUD_API_KEY": server.api_key}) == [session_id]
    # Without a key it is an error, which a shell has no place for.
    assert tab("chat", "-s", "ses-") == []
    assert tab("chat", "--local", "-s", "ses-", env=environment) == []


def test_a_service_that_does_not_answer_offers_nothing(tab: Tab, serving: Serving) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert tab("chat", "--api-key", KEY, "--base-url", url, "-s", "ses-") == []
        assert tab("chat", "--backend", "openhands", "--base-url", url, "-s", "0") == []
    assert tab("chat", "--api-key", KEY, "--base-url", url, "-s", "ses-") == []
    assert tab("chat", *at(serving(), key="llx-wrong-key"), "-s", "ses-") == []


def test_a_config_file_that_is_broken_offers_nothing(tab: Tab, config_file: Path) -> None:
    config_file.write_text("{")
    assert tab("chat", "-s", "ses-") == []


def test_tab_offers_the_values_of_options_and_settings_and_the_newest_session(command: Commands, tab: Tab) -> None:
    session_id = command("ask", MARGIN, "-i", str(DOCUMENTS)).session_id
    assert tab("sessions", "export", "") == [session_id, "last"]
    assert tab("sessions", "export", "last", "--format", "") == ["markdown", "json", "html"]
    assert tab("config", "set", "backend", "") == ["llama-cloud", "openhands"]
    assert tab("config", "set", "region", "") == ["us", "eu"]
    assert tab("config", "set", "index", "") == []
