"""An OpenHands Agent Server at the command line: the agent that the options describe, and leave for its actions."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from chat_sessions.cli.errors import UnknownName
from chat_sessions.cli.show.terminal import Terminal, clean, one_line
from chat_sessions.core.errors import ChatSessionsError, ConfigurationError
from chat_sessions.core.turn import ToolRun, replay
from chat_sessions.session import Timeouts

if TYPE_CHECKING:
    from chat_sessions.openhands import ConfirmAction, ConfirmationRequest, OpenHandsChat

__all__ = [
    "AgentOptions",
    "Confirmer",
    "ask_for_leave",
    "end_run",
    "has_agent",
    "open_client",
    "tell_what_waits",
    "waiting_runs",
]

_ALWAYS_CONFIRM: dict[str, JsonValue] = {"kind": "AlwaysConfirm"}
_AGENT_FIELDS = ("agent", "agent_settings", "agent_profile_id")


@dataclass(frozen=True)
class AgentOptions:
    """What the options say of a new session's agent, as it was typed. Each may be JSON, or @FILE with JSON in it."""

    llm: str | None = None
    agent: str | None = None
    tool: Sequence[str] = ()
    workspace: str | None = None
    conversation: str | None = None
    confirm: bool = False

    @property
    def given(self) -> list[str]:
        """The options that were given, as they are typed."""
        return [f"--{field.name}" for field in fields(self) if getattr(self, field.name)]


def open_client(
    options: AgentOptions,
    *,
    api_key: str | None,
    base_url: str | None,
    timeout: float | None,
    terminal: Terminal,
) -> OpenHandsChat:
    """A client of the server. Someone at the terminal is asked where its agent waits for leave to act.

    Raises `ConfigurationError` for options that cannot be, `UnknownName` for a file that is not there.
    """
    from chat_sessions.openhands import OpenHandsChat

    conversation = _settings("--conversation", options.conversation)
    if not isinstance(conversation, Mapping | None):
        raise ConfigurationError("--conversation takes a JSON object, such as '{\"max_iterations\": 50}', or @FILE")
    fields = dict(conversation or {})
    if options.confirm:
        if not terminal.is_interactive:
            raise ConfigurationError("--confirm asks before each action, and there is no terminal to ask at")
        if fields.setdefault("confirmation_policy", _ALWAYS_CONFIRM) != _ALWAYS_CONFIRM:
            raise ConfigurationError("--confirm and the confirmation_policy in --conversation contradict each other")
    return OpenHandsChat(
        base_url=base_url,
        api_key=api_key,
        llm=_settings("--llm", options.llm),
        agent=_settings("--agent", options.agent),
        tools=_tools(options.tool),
        workspace=_settings("--workspace", options.workspace),
        conversation=fields,
        on_confirmation=Confirmer(terminal) if terminal.is_interactive else None,
        timeouts=None if timeout is None else Timeouts(first_event=timeout, idle=timeout, recovery=timeout),
    )


def has_agent(options: AgentOptions) -> bool:
    """Whether a new session would have an agent."""
    conversation = _settings("--conversation", options.conversation)
    named = isinstance(conversation, Mapping) and any(name in conversation for name in _AGENT_FIELDS)
    return bool(named or options.llm or options.agent or os.environ.get("LLM_MODEL", "").strip())


def _settings(option: str, given: str | None) -> dict[str, JsonValue] | str | None:
    """A name as it was typed, or the JSON object in the option or in its file."""
    value = _value(option, given) if given is not None else None
    if isinstance(value, dict | str | None):
        return value
    raise ConfigurationError(f"{option} takes a name or a JSON object; got a {type(value).__name__}")


def _tools(given: Sequence[str]) -> list[str | Mapping[str, JsonValue]] | None:
    """The tools, each a name or settings; a JSON list is several."""
    found: list[str | Mapping[str, JsonValue]] = []
    for text in given:
        value = _value("--tool", text)
        for tool in value if isinstance(value, list) else [value]:
            if not isinstance(tool, str | dict):
                raise ConfigurationError(f"--tool takes names and JSON objects; got a {type(tool).__name__}")
            found.append(tool)
    return found or None


def _value(option: str, text: str) -> JsonValue:
    """What was typed: a plain name, JSON, or the JSON in the file after an @."""
    text = text.strip()
    if not text:
        raise ConfigurationError(f"{option} is empty")
    source = option
    if text.startswith("@"):
        source = f"{option} {text}"
        try:
            text = Path(text[1:]).read_text("utf-8")
        except FileNotFoundError:
            raise UnknownName(f"{source}: there is no such file") from None
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"{source}: the file cannot be read ({error})") from None
    elif not text.startswith(("{", "[")):
        return text
    try:
        value: JsonValue = json.loads(text)
    except json.JSONDecodeError as error:
        # The text itself may hold a model's key.
        raise ConfigurationError(
            f"{source} is not JSON: {error.msg} in line {error.lineno}, column {error.colno}"
        ) from None
    return value


class Confirmer:
    """Asks someone at the terminal whether an agent may do what it waits to do."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal

    def __call__(self, request: ConfirmationRequest) -> bool | str:
        """The answer: see `ask_for_leave`."""
        return ask_for_leave([(_named(action), action.arguments) for action in request.actions], self._terminal)


def _named(action: ConfirmAction) -> str:
    return action.name if action.risk in ("", "UNKNOWN") else f"{action.name} (risk {action.risk})"


def ask_for_leave(actions: Sequence[tuple[str, Mapping[str, JsonValue]]], terminal: Terminal) -> bool | str:
    """Whether the agent may take these actions: True, False, or the reason for a refusal. No input refuses.

    They are shown with their whole arguments: what is not seen cannot be judged.
    """
    terminal.end_line()
    for name, arguments in actions:
        terminal.ask_about(f"The agent wants to use {one_line(name, 60)}:")
        for key, value in arguments.items():
            shown = clean(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
            terminal.ask_about(f"  {one_line(key, 60)}: " + "\n    ".join(shown.splitlines()))
    answer = terminal.answer_to("Allow it? y allows, Enter refuses, other words refuse and are told the agent:")
    if answer.lower() in ("y", "yes"):
        return True
    return False if answer.lower() in ("", "n", "no") else answer


def tell_what_waits(client: OpenHandsChat, session_id: str, terminal: Terminal, *, options: str) -> None:
    """Say how to answer an agent that has stopped to be allowed its next actions, if that is what it does."""
    with suppress(ChatSessionsError):
        if waiting_runs(client, session_id):
            command = f"chat-sessions sessions confirm {session_id}{options}"
            terminal.warn(f"the agent waits for leave to act; answer it with: {command}")


def waiting_runs(client: OpenHandsChat, session_id: str) -> list[ToolRun]:
    """The tool runs that wait to be allowed; empty if none does. Raises `APIError`."""
    session = client.retrieve(session_id)
    if (session.model_extra or {}).get("execution_status") != "waiting_for_confirmation":
        return []
    turns = replay(session.events)
    return [run for run in turns[-1].tool_runs if run.result is None] if turns else []


def end_run(client: OpenHandsChat, session_id: str, terminal: Terminal) -> None:
    """End the run that a question has begun; says so where it cannot be."""
    try:
        with terminal.working("Ending the agent's run"):
            client.interrupt(session_id)
    except ChatSessionsError as error:
        terminal.warn(f"the agent's run could not be ended, and may go on: {error}")
    except KeyboardInterrupt:
        terminal.warn("the agent's run may go on until the model has answered")
        raise
