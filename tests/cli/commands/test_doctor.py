"""`doctor`: what stands between this machine and an answer that streams, line by line."""

from __future__ import annotations

from importlib.metadata import metadata

import pytest

from chat_sessions.cli.commands.doctor import EXTRAS, judge_flow
from chat_sessions.core.events import Stop, TextDelta
from chat_sessions.core.models import Usage
from tests.cli.conftest import Commands, Program, ScriptedAgent, Serving, at
from tests.wire_server import WireServer


def test_a_machine_without_a_key_is_well(program: Program) -> None:
    result = program("doctor")
    assert result.code == 0
    lines = {line[6:18].strip(): line[:4].strip() for line in result.out.splitlines()}
    assert list(lines) == ["package", "extras", "key", "reachable", "first event", "streaming"]
    assert set(lines.values()) == {"ok"}
    assert program("sessions", "list").out == ""


def test_a_service_is_asked_once_in_a_session_that_is_deleted_again(command: Commands, serving: Serving) -> None:
    server = serving()
    result = command("doctor", "-i", "idx-docs", *at(server))
    assert result.code == 0
    assert "ok    first event" in result.out
    with server.client() as chat:
        assert list(chat.list()) == []


def test_without_an_index_nothing_is_asked_of_a_service(command: Commands, serving: Serving) -> None:
    result = command("doctor", *at(serving()))
    assert result.code == 0
    assert "warn  streaming" in result.out
    assert "give --index ID" in result.out


def test_a_refused_key_fails_with_its_code_and_is_not_printed(command: Commands, serving: Serving) -> None:
    result = command("doctor", *at(serving(), key="llx-wrong"))
    assert result.code == 3
    assert "fail  reachable" in result.out
    assert "llx-wrong" not in result.out + result.err


def test_an_address_without_a_chat_api_fails(command: Commands) -> None:
    with WireServer() as server:
        result = command("doctor", "--base-url", server.url, "--api-key", "k")
    assert result.code == 4
    assert "there is no Chat API at this address" in result.out


def test_an_index_that_is_not_there_fails(command: Commands, serving: Serving) -> None:
    result = command("doctor", "-i", "idx-nowhere", *at(serving()))
    assert result.code == 1
    assert "fail  answer" in result.out


def test_events_held_back_until_the_end_are_noticed(command: Commands, serving: Serving) -> None:
    # The agent says that it worked for eight seconds; its events come all at once, as through a proxy that buffers.
    stop = Stop(usage=Usage(duration_ms=8000.0), is_error=False)
    server = serving(ScriptedAgent([*[TextDelta(content="word ")] * 20, stop]))
    result = command("doctor", "-i", "idx-docs", *at(server))
    assert "warn  streaming" in result.out
    assert "at the end of a turn of 8.0 s" in result.out
    assert "proxy_buffering off" in result.out


def test_json_is_a_list_of_the_checks(command: Commands) -> None:
    checks = command("doctor", "--json").json
    assert [check["status"] for check in checks] == ["ok"] * 6
    assert set(checks[0]) == {"name", "status", "finding", "remedy"}


@pytest.mark.parametrize(
    ("first", "last", "worked", "status", "said"),
    [
        (0.3, 4.0, 3.9, "ok", "one by one"),
        (3.9, 4.0, 3.8, "warn", "held back|holds events back"),
        (0.02, 0.03, 0.03, "ok", "too quick to tell"),
        (0.1, 2.0, None, "ok", "one by one"),
    ],
)
def test_the_flow_of_events_is_judged_by_when_they_came(
    first: float, last: float, worked: float | None, status: str, said: str
) -> None:
    check = judge_flow(first=first, last=last, events=30, worked=worked)
    assert check.status == status
    assert any(phrase in check.finding + check.remedy for phrase in said.split("|"))


def test_doctor_says_where_there_is_no_agent_server(command: Commands) -> None:
    with WireServer() as server:
        result = command("doctor", "--backend", "openhands", "--base-url", server.url)
    assert result.code == 4
    assert "there is no OpenHands Agent Server at this address" in " ".join(result.out.split())


def test_a_model_that_does_not_stream_is_named_as_the_reason() -> None:
    check = judge_flow(first=3.9, last=4.0, events=9, worked=3.9, remedy="the model does not stream")
    assert (check.status, check.remedy) == ("warn", "the model does not stream")


def test_it_looks_for_every_extra_with_commands_or_classes_of_its_own() -> None:
    extras = set(metadata("chat-sessions").get_all("Provides-Extra") or ())
    assert set(EXTRAS) == extras - {"all", "llm", "postgres"}
