"""`--backend openhands`: what is wrong is said before anything is sent, and what is typed is what the agent gets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from chat_sessions.cli.show.terminal import Terminal
from chat_sessions.cli.where.agent import AgentOptions
from chat_sessions.cli.where.choice import Where
from chat_sessions.cli.where.opening import open_service
from chat_sessions.core.errors import ConfigurationError
from chat_sessions.openhands import OpenHandsChat
from tests.cli.conftest import DOCUMENTS, Answering, Commands

_ID = "11111111-1111-4111-8111-111111111111"
_NOWHERE = ("--backend", "openhands", "--base-url", "http://127.0.0.1:9")
_LLM = ("--llm", "openai/scripted")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["ask", "hi", "--backend", "mars"], 2, "the backends are llama-cloud and openhands"),
        (["ask", "hi", "--backend", "openhands", *_LLM], 2, "set OPENHANDS_BASE_URL"),
        (["ask", "hi", *_NOWHERE], 2, "no agent for a new session: name its model with --llm or LLM_MODEL"),
        (["chat", *_NOWHERE, "--tool", "terminal"], 2, "no agent for a new session"),
        (["ask", "hi", *_NOWHERE, *_LLM, "-i", "idx-a"], 2, "--index cannot be combined with --backend openhands"),
        (["ask", "hi", *_NOWHERE, *_LLM, "--require-all"], 2, "--require-all cannot be combined with --backend"),
        (["chat", *_NOWHERE, *_LLM, "-i", str(DOCUMENTS)], 2, "its agent reads the files in its workspace"),
        (["ask", "hi", *_NOWHERE, *_LLM, "--local"], 2, "--local cannot be combined with --backend"),
        (["ask", "hi", *_NOWHERE, *_LLM, "--cloud"], 2, "--cloud cannot be combined with --backend"),
        (["sessions", "list", *_NOWHERE, "--region", "eu"], 2, "--region cannot be combined with --backend"),
        (["ask", "", *_NOWHERE, *_LLM], 2, "the question is empty"),
        (["ask", "hi", *_NOWHERE, *_LLM, "-s", _ID], 2, "--llm cannot be combined with --session"),
        (["ask", "hi", *_NOWHERE, "-s", "ses-1"], 2, "which is a UUID"),
        (["sessions", "show", "ses-1", *_NOWHERE], 2, "which is a UUID"),
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
        (
            ["ask", "hi", "-i", "idx-x", "--cloud", "--api-key", "x", *_LLM],
            2,
            "add --local; a hosted",
        ),
        (["chat", "-i", str(DOCUMENTS), "--confirm"], 2, "--confirm describes an OpenHands agent"),
        (["sessions", "title", _ID, *_NOWHERE, "-m", "Hi"], 2, "--message cannot be combined with --backend"),
        (["sessions", "title", _ID, "--max-length", "9", "--local"], 2, "--max-length is for OpenHands"),
        (["sessions", "title", _ID, "--max-length", "201", *_NOWHERE], 2, "--max-length"),
        (["sessions", "interrupt", "ses-1"], 2, "add --backend openhands"),
        (["sessions", "confirm", "ses-1", "--yes"], 2, "add --backend openhands"),
        (
            ["sessions", "confirm", _ID, "--yes", "--refuse", "no", *_NOWHERE],
            2,
            "--yes and --refuse cannot be combined",
        ),
        (["doctor", *_NOWHERE, "-i", "idx-a"], 2, "--index cannot be combined"),
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


def opened(options: AgentOptions, terminal: Terminal) -> OpenHandsChat:
    """The client that a command with these options would use."""
    where = Where(backend="openhands", base_url="http://127.0.0.1:9", agent=options, timeout=3.0)
    with open_service(where, terminal) as service:
        assert service.openhands is not None
        return service.openhands


def create_body(options: AgentOptions, terminal: Terminal | None = None) -> dict[str, Any]:
    """What a create with these options would send."""
    return opened(options, terminal or Terminal())._settings.new_conversation()


def test_names_json_and_files_are_settings_of_the_agent(tmp_path: Path) -> None:
    (tmp_path / "llm.json").write_text(json.dumps({"model": "openai/m", "api_key": "sk-1"}), "utf-8")
    (tmp_path / "tools.json").write_text(json.dumps(["grep", {"name": "glob"}]), "utf-8")
    body = create_body(
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
    assert not AgentOptions().has_agent
    assert AgentOptions(conversation='{"agent_settings": {}}').has_agent
    assert create_body(AgentOptions(agent="writer"))["agent_profile_id"] == "writer"
    monkeypatch.setenv("LLM_MODEL", "openai/m")
    assert AgentOptions().has_agent


def test_confirm_asks_for_every_action_and_refuses_another_policy() -> None:
    body = create_body(AgentOptions(llm="m", confirm=True), Answering(""))
    assert body["confirmation_policy"] == {"kind": "AlwaysConfirm"}
    never = '{"confirmation_policy": {"kind": "NeverConfirm"}}'
    with pytest.raises(ConfigurationError, match="contradict each other"):
        create_body(AgentOptions(llm="m", confirm=True, conversation=never), Answering(""))


def test_the_timeout_is_that_of_every_wait_for_the_server() -> None:
    timeouts = opened(AgentOptions(llm="m"), Terminal()).timeouts
    assert (timeouts.first_event, timeouts.idle, timeouts.recovery) == (3.0, 3.0, 3.0)
