"""`--backend openhands`: what is wrong is said before anything is sent, and what is typed is what the agent gets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from chat_sessions.cli.commands.doctor import judge_flow
from chat_sessions.cli.show.terminal import Terminal
from chat_sessions.cli.where.openhands import AgentOptions, ask_for_leave, has_agent, open_client
from chat_sessions.core.errors import ConfigurationError
from tests.cli.conftest import DOCUMENTS, Commands
from tests.wire_server import WireServer

_ID = "11111111-1111-4111-8111-111111111111"
_NOWHERE = ("--backend", "openhands", "--base-url", "http://127.0.0.1:9")
_LLM = ("--llm", "openai/scripted")


@pytest.fixture(autouse=True)
def no_openhands_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENHANDS_BASE_URL", "OPENHANDS_API_KEY", "LLM_MODEL", "LLM_API_KEY", "LLM_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("CHAT_SESSIONS_BACKEND", raising=False)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["ask", "hi", "--backend", "mars"], 2, "the backends are llama-cloud and openhands"),
        (["ask", "hi", "--backend", "openhands", *_LLM], 2, "set OPENHANDS_BASE_URL"),
        (["ask", "hi", *_NOWHERE], 2, "no agent for a new session: name its model with --llm or LLM_MODEL"),
        (["chat", *_NOWHERE, "--tool", "terminal"], 2, "no agent for a new session"),
        (["ask", "hi", *_NOWHERE, *_LLM, "-i", "idx-a"], 2, "has no indexes: leave --index out"),
        (["ask", "hi", *_NOWHERE, *_LLM, "--require-all"], 2, "leave --require-all out"),
        (["chat", *_NOWHERE, *_LLM, "-i", str(DOCUMENTS)], 2, "its agent reads the files in its workspace"),
        (["ask", "hi", *_NOWHERE, *_LLM, "--local"], 2, "--local is about LlamaCloud"),
        (["ask", "hi", *_NOWHERE, *_LLM, "--cloud"], 2, "--cloud is about LlamaCloud"),
        (["sessions", "list", *_NOWHERE, "--region", "eu"], 2, "--region is about LlamaCloud"),
        (["ask", "", *_NOWHERE, *_LLM], 2, "the question is empty"),
        (["ask", "hi", *_NOWHERE, *_LLM, "-s", _ID], 2, f"session {_ID} has its own: leave it out"),
        (["ask", "hi", *_NOWHERE, "-s", "ses-1"], 2, "they are UUIDs"),
        (["sessions", "show", "ses-1", *_NOWHERE], 2, "they are UUIDs"),
        (["ask", "hi", *_NOWHERE, "--llm", "{no json"], 2, "--llm is not JSON"),
        (["ask", "hi", *_NOWHERE, "--llm", '{"api_key": "sk-1"}'], 2, 'llm has no "model"'),
        (["ask", "hi", *_NOWHERE, "--llm", " "], 2, "--llm is empty"),
        (["ask", "hi", *_NOWHERE, "--llm", "@nowhere.json"], 4, "--llm @nowhere.json: there is no such file"),
        (["ask", "hi", *_NOWHERE, *_LLM, "--tool", "@."], 2, "the file cannot be read"),
        (["ask", "hi", *_NOWHERE, "--agent", "[1]"], 2, "--agent takes a name or a JSON object; got a list"),
        (["ask", "hi", *_NOWHERE, *_LLM, "--tool", "[1]"], 2, "--tool takes names and JSON objects; got a int"),
        (["ask", "hi", *_NOWHERE, *_LLM, "--conversation", "many"], 2, "--conversation takes a JSON object"),
        (["ask", "hi", *_NOWHERE, *_LLM, "--confirm"], 2, "there is no terminal to ask at"),
        (["ask", "hi", *_NOWHERE, "--agent", "writer", "--tool", "terminal"], 2, "agent= or tools=, not both"),
        (["ask", "hi", "-i", str(DOCUMENTS), *_LLM], 2, "--llm describes an OpenHands agent: add --backend openhands"),
        (["chat", "-i", str(DOCUMENTS), "--confirm"], 2, "--confirm describes an OpenHands agent"),
        (["sessions", "title", _ID, *_NOWHERE, "-m", "Hi"], 2, "leave --message out"),
        (["sessions", "title", _ID, "--max-length", "9", "--local"], 2, "--max-length is for OpenHands"),
        (["sessions", "title", _ID, "--max-length", "201", *_NOWHERE], 2, "--max-length"),
        (["sessions", "interrupt", "ses-1"], 2, "add --backend openhands"),
        (["sessions", "confirm", "ses-1", "--yes"], 2, "add --backend openhands"),
        (["sessions", "confirm", _ID, "--yes", "--refuse", "no", *_NOWHERE], 2, "exclude each other"),
        (["doctor", *_NOWHERE, "-i", "idx-a"], 2, "has no indexes"),
        (["doctor", "--backend", "openhands"], 2, "set OPENHANDS_BASE_URL"),
    ],
)
def test_what_cannot_be_is_named_before_anything_is_sent(
    command: Commands, arguments: list[str], code: int, said: str
) -> None:
    result = command(*arguments)
    assert said in (result.err + result.out)
    assert result.code == code
    assert len([line for line in result.err.splitlines() if line.startswith("Error")]) <= 1


def test_a_broken_option_does_not_print_the_key_in_it(command: Commands) -> None:
    result = command("ask", "hi", *_NOWHERE, "--llm", '{"model": "m", "api_key": "sk-secret",,}')
    assert result.code == 2
    assert "sk-secret" not in result.err
    assert "line 1, column" in result.err


def test_a_server_that_is_not_there_is_named(command: Commands) -> None:
    result = command("sessions", "list", *_NOWHERE)
    assert result.code == 5
    assert "http://127.0.0.1:9" in result.err


def test_a_question_may_be_as_long_as_the_model_takes(command: Commands) -> None:
    result = command("ask", "x" * 5000, *_NOWHERE, *_LLM)
    assert result.code == 5
    assert "characters long" not in result.err


def test_the_variable_names_the_backend_too(command: Commands) -> None:
    result = command("sessions", "list", env={"CHAT_SESSIONS_BACKEND": "openhands"})
    assert result.code == 2
    assert "OPENHANDS_BASE_URL" in result.err


def test_a_local_command_goes_on_where_the_variable_names_another_backend(command: Commands) -> None:
    result = command("sessions", "list", "--backend", "llama-cloud", env={"CHAT_SESSIONS_BACKEND": "openhands"})
    assert result.code == 0


def create_body(monkeypatch: pytest.MonkeyPatch, options: AgentOptions) -> dict[str, Any]:
    """What a create with these options would send."""
    monkeypatch.setenv("OPENHANDS_BASE_URL", "http://127.0.0.1:9")
    with open_client(options, api_key=None, base_url=None, timeout=None, terminal=Terminal()) as client:
        return client._settings.new_conversation()


def test_names_json_and_files_are_settings_of_the_agent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "llm.json").write_text(json.dumps({"model": "openai/m", "api_key": "sk-1"}), "utf-8")
    (tmp_path / "tools.json").write_text(json.dumps(["grep", {"name": "glob"}]), "utf-8")
    body = create_body(
        monkeypatch,
        AgentOptions(
            llm=f"@{tmp_path / 'llm.json'}",
            agent='{"kind": "Agent", "system_prompt_kwargs": {"cli_mode": true}}',
            tool=("terminal", f"@{tmp_path / 'tools.json'}", '{"name": "file_editor"}'),
            workspace="/srv/project",
            conversation='{"max_iterations": 5}',
        ),
    )
    assert body["agent"]["llm"] == {"usage_id": "agent", "stream": True, "model": "openai/m", "api_key": "sk-1"}
    assert body["agent"]["system_prompt_kwargs"] == {"cli_mode": True}
    assert [tool["name"] for tool in body["agent"]["tools"]] == ["terminal", "grep", "glob", "file_editor"]
    assert (body["workspace"]["working_dir"], body["max_iterations"]) == ("/srv/project", 5)


def test_the_environments_model_and_a_profile_make_an_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not has_agent(AgentOptions())
    assert has_agent(AgentOptions(conversation='{"agent_settings": {}}'))
    assert create_body(monkeypatch, AgentOptions(agent="writer"))["agent_profile_id"] == "writer"
    monkeypatch.setenv("LLM_MODEL", "openai/m")
    assert has_agent(AgentOptions())


class Answering(Terminal):
    """Someone at a terminal who types this."""

    def __init__(self, typed: str) -> None:
        super().__init__()
        self._typed = typed
        self.seen: list[str] = []

    @property
    def is_interactive(self) -> bool:
        return True

    def ask_about(self, text: str) -> None:
        self.seen.append(text)

    def answer_to(self, question: str) -> str:
        return self._typed


@pytest.mark.parametrize(
    ("typed", "answer"),
    [("y", True), ("YES", True), ("", False), ("n", False), ("No", False), ("use git mv", "use git mv"), ("ye", "ye")],
)
def test_only_a_yes_allows_an_action(typed: str, answer: bool | str) -> None:
    assert ask_for_leave([("terminal", {"command": "rm -rf ."})], Answering(typed)) == answer


def test_an_action_is_shown_whole_and_without_control_characters() -> None:
    terminal = Answering("")
    ask_for_leave([("terminal", {"command": "echo " + "x" * 500 + "\x1b[2K\nrm -rf .", "timeout": 3})], terminal)
    shown = "\n".join(terminal.seen)
    assert "x" * 500 + "[2K\n    rm -rf ." in shown
    assert "timeout: 3" in shown
    assert "\x1b" not in shown


def test_confirm_asks_for_every_action_and_refuses_another_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENHANDS_BASE_URL", "http://127.0.0.1:9")

    def opened(conversation: str | None) -> Any:
        options = AgentOptions(llm="m", confirm=True, conversation=conversation)
        return open_client(options, api_key=None, base_url=None, timeout=3.0, terminal=Answering(""))

    client = opened(None)
    assert client._settings.new_conversation()["confirmation_policy"] == {"kind": "AlwaysConfirm"}
    assert client.timeouts.idle == 3.0
    with pytest.raises(ConfigurationError, match="contradict each other"):
        opened('{"confirmation_policy": {"kind": "NeverConfirm"}}')


def test_doctor_says_where_there_is_no_agent_server(command: Commands) -> None:
    with WireServer() as server:
        result = command("doctor", "--backend", "openhands", "--base-url", server.url)
    assert result.code == 4
    assert "there is no OpenHands Agent Server at this address" in " ".join(result.out.split())


def test_a_model_that_does_not_stream_is_named_as_the_reason() -> None:
    check = judge_flow(first=3.9, last=4.0, events=9, worked=3.9, remedy="the model does not stream")
    assert (check.status, check.remedy) == ("warn", "the model does not stream")
