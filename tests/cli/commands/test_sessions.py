"""Sessions that are kept: listed, shown, titled, deleted, here and on a service."""

from __future__ import annotations

import html
import json
import re
import sys

import pytest

from chat_sessions.core.events import Stop, TextDelta
from chat_sessions.core.models import Usage
from chat_sessions.server import Behaviour
from tests.cli.conftest import DOCUMENTS, Commands, ScriptedAgent, Serving, at
from tests.cli.pseudo_terminal import PseudoTerminal

MARGIN = "What was the operating margin in Q3 2025?"


def test_a_new_machine_has_no_sessions(command: Commands) -> None:
    result = command("sessions", "list")
    assert (result.code, result.out) == (0, "")
    assert "There are no sessions yet." in result.err


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are POSIX")
def test_a_list_of_local_sessions_says_nothing_of_reading_documents(at_a_terminal: PseudoTerminal) -> None:
    at_a_terminal.start("sessions", "list")
    assert at_a_terminal.end() == 0
    assert "There are no sessions yet." in at_a_terminal.seen
    assert "Reading" not in at_a_terminal.seen


def test_local_sessions_are_found_again_shown_titled_and_deleted(command: Commands) -> None:
    session_id = command("ask", MARGIN, "-i", str(DOCUMENTS)).session_id

    listed = command("sessions", "list").out.splitlines()
    assert len(listed) == 1
    assert re.fullmatch(
        rf"{session_id}\t\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\dZ\t{re.escape(MARGIN)}\t{DOCUMENTS}", listed[0]
    )
    assert command("sessions", "list", "--json").json[0]["session_id"] == session_id

    shown = command("sessions", "show", session_id)
    assert f"you> {MARGIN}" in shown.out
    assert "14.3 %" in shown.out
    assert "annual-report-2025.pdf  p. 3" in shown.out
    turns = command("sessions", "show", session_id, "--json").json["turns"]
    assert [turn["prompt"] for turn in turns] == [MARGIN]

    titled = command("sessions", "title", session_id, "--message", "margins by quarter")
    assert titled.out == "Margins by quarter\n"

    refused = command("sessions", "delete", session_id)
    assert refused.code == 2
    assert "--yes" in refused.err
    deleted = command("sessions", "delete", session_id, "--yes")
    assert deleted.err.endswith(f"Deleted {session_id}\n")
    assert command("sessions", "list").out == ""


def test_a_list_as_json_counts_turns_as_the_page_does_and_not_rounds_of_the_agent(command: Commands) -> None:
    session_id = command("ask", MARGIN, "-i", str(DOCUMENTS)).session_id
    for expected in (1, 2):
        (listed,) = command("sessions", "list", "--json").json
        assert listed["turn_count"] == expected
        command("ask", "And in Q4?", "-s", session_id)


def test_an_export_has_the_tool_runs_with_arguments_and_results_in_every_format(command: Commands) -> None:
    command("ask", MARGIN, "-i", str(DOCUMENTS))
    (turn,) = json.loads(command("sessions", "export", "last", "-f", "json").out)["turns"]
    assert [run["name"] for run in turn["tool_runs"]] == ["retrieve", "read"]
    for as_format, heading in ("markdown", "**Tool run `{}`** (completed)"), ("html", "<code>{}</code>"):
        exported = html.unescape(command("sessions", "export", "last", "-f", as_format).out)
        for run in turn["tool_runs"]:
            assert heading.format(run["name"]) in exported
            assert f'"{next(iter(run["arguments"]))}": ' in exported
            assert f'"{next(iter(run["result"]))}": ' in exported


def test_an_export_names_the_folder_of_an_index_beside_its_id(command: Commands) -> None:
    command("ask", MARGIN, "-i", str(DOCUMENTS))
    (index_id,) = json.loads(command("sessions", "export", "last", "-f", "json").out)["index_ids"]
    for as_format in ("markdown", "html"):
        exported = html.unescape(command("sessions", "export", "last", "-f", as_format).out)
        assert f"{DOCUMENTS.name} ({index_id})" in exported


def test_of_several_sessions_none_is_deleted_if_one_is_unknown(command: Commands, serving: Serving) -> None:
    server = serving()
    with server.client() as chat:
        kept = chat.create().session_id
        result = command("sessions", "delete", kept, "ses-nowhere", "--yes", *at(server))
        assert result.code == 4
        assert f"there is no session 'ses-nowhere' at Chat API at {server.url}" in result.err.replace("\n", " ")
        assert [summary.session_id for summary in chat.list()] == [kept]


def test_a_list_is_no_longer_than_asked_and_the_newest_come_first(command: Commands, serving: Serving) -> None:
    server = serving()
    with server.client() as chat:
        made = [chat.create().session_id for _ in range(5)]
    lines = command("sessions", "list", "--limit", "3", *at(server)).out.splitlines()
    assert [line.split("\t")[0] for line in lines] == made[:-4:-1]


def test_a_service_that_makes_titles_by_itself_alone_is_said_to(command: Commands, serving: Serving) -> None:
    server = serving(behaviour=Behaviour(title_route="gone"))
    with server.client() as chat:
        session = chat.session()
        session.ask(MARGIN)
    result = command("sessions", "title", session.id or "", *at(server))
    assert result.out == f"{MARGIN}\n"
    assert "makes titles only by itself" in result.err


def test_a_session_without_a_question_has_nothing_to_make_a_title_from(command: Commands, serving: Serving) -> None:
    server = serving()
    with server.client() as chat:
        session_id = chat.create().session_id
    assert command("sessions", "title", session_id, *at(server)).code == 2
    assert "Nothing has been asked yet." in command("sessions", "show", session_id, *at(server)).out


def test_a_turn_that_failed_is_shown_as_failed(command: Commands, serving: Serving) -> None:
    failed = Stop(usage=Usage(), is_error=True, error="out of credits")
    server = serving(ScriptedAgent([TextDelta(content="Half"), failed]))
    session_id = command("ask", "hello", "-i", "idx-docs", *at(server)).session_id
    shown = command("sessions", "show", session_id, *at(server)).out
    assert "Half" in shown
    assert "This turn failed: out of credits" in shown
