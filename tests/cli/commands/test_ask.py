"""One question: the answer on stdout, what is said about it on stderr, and nothing held back."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from pydantic import JsonValue

from chat_sessions.core.events import Stop, TextDelta, ThinkingDelta, ToolCall, ToolResult
from chat_sessions.core.models import Usage
from chat_sessions.server import Behaviour
from tests.cli.conftest import DOCUMENTS, Commands, Program, ScriptedAgent, Serving, at

MARGIN = "What was the operating margin in Q3 2025?"
DONE = Stop(usage=Usage(input_tokens=1200, output_tokens=7, duration_ms=2500.0), is_error=False)


def test_the_answer_and_its_sources_go_to_stdout_and_how_it_came_about_to_stderr(program: Program) -> None:
    result = program("ask", MARGIN, "-i", str(DOCUMENTS))
    assert result.code == 0
    assert "14.3 %" in result.out
    assert "annual-report-2025.pdf  p. 3" in result.out.partition("Sources")[2]
    assert "retrieve" not in result.out
    assert result.err.startswith("Local server over ")
    assert "→ retrieve(" in result.err
    assert "← read: 1 passage from annual-report-2025.pdf p. 3" in result.err
    assert " tokens in · " in result.err


def test_a_search_without_a_hit_is_said_in_words(command: Commands) -> None:
    result = command("ask", "Kayak?", "-i", str(DOCUMENTS))
    assert "← retrieve: nothing found\n" in result.err


def test_the_page_shows_what_is_printed(program: Program) -> None:
    page = (DOCUMENTS.parents[1] / "docs" / "cli.md").read_text(encoding="utf-8")
    shown = re.search(r'```console\n\$ chat-sessions ask "(.+)" --index examples/documents\n(.+?)```', page, re.DOTALL)
    assert shown is not None
    result = program("ask", shown[1], "-i", str(DOCUMENTS))
    printed = _like(f"{result.err}{result.out}")
    for line in _like(shown[2].replace("examples/documents", str(DOCUMENTS))):
        assert line == "…" or line in printed


def _like(text: str) -> list[str]:
    """The lines without what is another one each time."""
    return re.sub(r"(idx-documents|ses|dfl)-\w+|[\d.]+ s$", r"\1", text, flags=re.MULTILINE).splitlines()


def test_quiet_says_nothing_on_stderr(command: Commands) -> None:
    result = command("ask", MARGIN, "-i", str(DOCUMENTS), "--quiet")
    assert "14.3 %" in result.out
    assert result.err == ""


def test_words_before_and_after_a_tool_stay_apart_in_a_pipe(command: Commands, serving: Serving) -> None:
    call, result = (
        ToolCall(call_id="c", name="search", arguments={}),
        ToolResult(call_id="c", name="search", result="x"),
    )
    server = serving(
        ScriptedAgent([TextDelta(content="Let me look."), call, result, TextDelta(content="It grew."), DONE])
    )
    for options in ([], ["--quiet"]):
        asked = command("ask", "hello", "-i", "idx-docs", *options, *at(server))
        assert asked.out == "Let me look.\n\nIt grew.\n"
    shown = command("sessions", "show", command("ask", "hello", "-i", "idx-docs", *at(server)).session_id, *at(server))
    assert "Let me look.\n\nIt grew.\n" in shown.out


def test_a_session_goes_on_by_its_id_alone(program: Program) -> None:
    first = program("ask", MARGIN, "-i", str(DOCUMENTS))
    second = program("ask", "And in Q4?", "-s", first.session_id)
    assert "11.8 %" in second.out
    assert second.session_id == first.session_id


def test_an_index_id_of_a_folder_asked_before_names_the_folder(command: Commands) -> None:
    first = command("ask", MARGIN, "-i", str(DOCUMENTS), "--json").json
    index_id = first["sources"][0]["index_id"]
    second = command("ask", MARGIN, "-i", index_id)
    assert "14.3 %" in second.out


def test_a_session_whose_folder_is_gone_says_so(command: Commands, tmp_path: Path) -> None:
    page = tmp_path / "tea.md"
    page.write_text("# Tea\n\nGreen tea is brewed with water of 80 degrees.\n")
    first = command("ask", "How is green tea brewed?", "-i", str(page))
    page.unlink()
    second = command("ask", "And black tea?", "-s", first.session_id)
    assert second.code == 4
    assert f"there is no {page}" in second.err


def test_a_question_can_come_from_stdin(program: Program) -> None:
    assert "14.3 %" in program("ask", "-", "-i", str(DOCUMENTS), stdin=MARGIN + "\n").out


def test_json_is_one_object_and_nothing_else(command: Commands) -> None:
    result = command("ask", MARGIN, "-i", str(DOCUMENTS), "--json")
    assert result.err == ""
    report = result.json
    assert "14.3 %" in report["text"]
    assert report["is_complete"] is True
    assert report["error"] is None
    assert [run["name"] for run in report["tool_runs"]] == ["retrieve", "read"]
    assert (report["sources"][0]["file_name"], report["sources"][0]["page"]) == ("annual-report-2025.pdf", 3)
    assert report["usage"]["input_tokens"] > 0


def test_json_of_a_turn_that_fails_has_its_text_and_the_reason(command: Commands, serving: Serving) -> None:
    failed = Stop(usage=Usage(), is_error=True, error="out of credits")
    server = serving(ScriptedAgent([TextDelta(content="Half"), failed]))
    result = command("ask", "hello", "-i", "idx-docs", "--json", *at(server))
    assert result.code == 1
    assert (result.json["text"], result.json["is_complete"]) == ("Half", True)
    assert "out of credits" in result.json["error"]


def test_json_events_are_the_events_a_line_each_the_stop_last(command: Commands, serving: Serving) -> None:
    server = serving(ScriptedAgent([TextDelta(content="a"), TextDelta(content="b"), DONE]))
    result = command("ask", "hello", "-i", "idx-docs", "--json-events", *at(server))
    events = [json.loads(line) for line in result.out.splitlines()]
    assert [event["type"] for event in events] == ["text_delta", "text_delta", "text", "stop"]
    assert result.err == ""


def test_the_first_words_are_shown_while_the_server_still_writes(program: Program, serving: Serving) -> None:
    agent = ScriptedAgent([TextDelta(content="First,"), TextDelta(content=" last."), DONE], held=1)
    process = program.start("ask", "hello", "-i", "idx-docs", *at(serving(agent)))
    assert process.stdout is not None
    assert process.stdout.read(len("First,")) == "First,"
    agent.release()
    assert program.finish(process).out.startswith(" last.")


def test_ctrl_c_closes_the_connection_and_keeps_what_came(program: Program, serving: Serving) -> None:
    agent = ScriptedAgent([TextDelta(content="First,"), TextDelta(content=" never."), DONE], held=1)
    server = serving(agent, Behaviour(on_disconnect="cancel"))
    process = program.start("ask", "hello", "-i", "idx-docs", *at(server))
    assert process.stdout is not None
    process.stdout.read(len("First,"))
    program.interrupt(process)
    result = program.finish(process)
    assert result.code == 130
    # The agent is cancelled when its client has gone, and by nothing else here.
    assert agent.left.wait(timeout=30)


def test_ctrl_c_says_that_the_service_may_still_be_answering(program: Program, serving: Serving) -> None:
    agent = ScriptedAgent([TextDelta(content="First,"), TextDelta(content=" last."), DONE], held=1)
    process = program.start("ask", "hello", "-i", "idx-docs", *at(serving(agent)))
    assert process.stdout is not None
    process.stdout.read(len("First,"))
    program.interrupt(process)
    result = program.finish(process)
    assert result.code == 130
    assert "Stopped reading. The service may still be answering; the next question waits for it" in result.err
    assert "Interrupted" not in result.err
    agent.release()


def test_a_question_that_waits_for_an_earlier_turn_says_so_and_is_not_sent_when_interrupted(
    program: Program, serving: Serving
) -> None:
    agent = ScriptedAgent([TextDelta(content="First,"), TextDelta(content=" last."), DONE], held=1)
    server = serving(agent)
    first = program.start("ask", "hello", "-i", "idx-docs", *at(server))
    assert first.stdout is not None
    first.stdout.read(len("First,"))
    second = program.start("ask", "and then?", "-c", *at(server))
    assert second.stderr is not None
    assert any(
        "is still answering an earlier question; this one waits for that, for up to" in line for line in second.stderr
    )
    program.interrupt(second)
    result = program.finish(second)
    assert (result.code, result.err) == (130, "Interrupted: the question was not sent.\n")
    agent.release()
    assert program.finish(first).code == 0


def test_a_reader_that_goes_away_ends_the_program_quietly(program: Program, serving: Serving) -> None:
    agent = ScriptedAgent([TextDelta(content="First,"), *[TextDelta(content=" more")] * 50, DONE], held=1)
    process = program.start("ask", "hello", "-i", "idx-docs", "--quiet", *at(serving(agent)))
    assert process.stdout is not None
    process.stdout.read(len("First,"))
    process.stdout.close()
    agent.release()
    assert process.wait() == 141
    assert process.stderr is not None
    assert process.stderr.read() == ""


def test_nothing_from_a_service_is_taken_for_markup_or_for_a_control_sequence(
    command: Commands, serving: Serving
) -> None:
    evil = "\x1b]0;owned\x07\x1b[31mred\x1b[0m [bold]b[/bold] \u202egnp.exe \x9b5n :smile:\r"
    call = ToolCall(call_id="c", name=evil, arguments={evil: evil})
    found: JsonValue = {"results": [{"content": evil, "file_name": evil, "page": 1}]}
    agent = ScriptedAgent(
        [
            ThinkingDelta(content=evil),
            call,
            ToolResult(call_id="c", name=evil, result=found),
            TextDelta(content=evil),
            Stop(usage=Usage(), is_error=True, error=evil),
        ]
    )
    server = serving(agent)
    # `Program` itself looks for control characters in all that is printed.
    result = command("ask", "hello", "-i", "idx-docs", *at(server))
    for text in (result.out, result.err):
        assert "[bold]b[/bold]" in text
        assert ":smile:" in text
        assert "\u202e" not in text
    command("sessions", "show", result.session_id, *at(server))
    command("sessions", "show", result.session_id, "--json", *at(server))
    command("ask", "hello", "-i", "idx-docs", "--json-events", *at(server))


def test_it_says_which_service_answers(command: Commands, serving: Serving) -> None:
    server = serving(ScriptedAgent([DONE]))
    assert command("ask", "hello", "-i", "idx-docs", *at(server)).err.startswith(f"Chat API at {server.url}\n")
    env = {"LLAMA_CLOUD_API_KEY": server.api_key, "LLAMA_CLOUD_BASE_URL": server.url}
    assert command("ask", "hello", "-i", "idx-docs", env=env).err.startswith(f"Chat API at {server.url}\n")


def test_a_folder_is_asked_on_this_machine_even_where_a_key_is_set(command: Commands) -> None:
    result = command("ask", MARGIN, "-i", str(DOCUMENTS), env={"LLAMA_CLOUD_API_KEY": "llx-real"})
    assert "14.3 %" in result.out
    assert result.err.splitlines()[0].endswith("(not LlamaCloud)")


def test_a_proxy_of_the_environment_is_not_asked_for_the_local_server(program: Program) -> None:
    proxy = "http://127.0.0.1:9"
    assert program("ask", MARGIN, "-i", str(DOCUMENTS), env={"HTTP_PROXY": proxy, "ALL_PROXY": proxy}).code == 0


def test_an_index_that_was_left_out_is_told(command: Commands, serving: Serving) -> None:
    result = command("ask", MARGIN, "-i", "idx-docs", "-i", "idx-gone", *at(serving()))
    assert result.code == 0
    assert "Warning: index idx-gone could not be queried" in result.err


def test_require_all_fails_instead_of_leaving_an_index_out(command: Commands, serving: Serving) -> None:
    result = command("ask", MARGIN, "-i", "idx-docs", "-i", "idx-gone", "--require-all", *at(serving()))
    assert result.code == 1


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_that_lacks_characters_gets_others_instead(
    program: Program, serving: Serving, encoding: str
) -> None:
    server = serving(ScriptedAgent([TextDelta(content="10 € and ½ Ωmega"), DONE]))
    env = {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    result = program("ask", "hello", "-i", "idx-docs", *at(server), env=env)
    assert result.code == 0
    assert "10 ? and " in result.out
    assert "?mega" in result.out


def test_reading_many_files_shows_how_many_have_been_read(command: Commands, tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(100):
        (folder / f"{number}.md").write_text(f"Room {number} costs {number} euros.")
    result = command("ask", "What does room 7 cost?", "-i", str(folder))
    assert ": 10 of 100 files, 10 %\n" in result.err
    assert ": 100 of 100 files, 100 %\n" in result.err
    assert "files," not in command("ask", "What does room 7 cost?", "-i", str(folder)).err
