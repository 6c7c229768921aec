"""The agent of a new session, as the options describe it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from chat_sessions.cli.errors import UnknownName
from chat_sessions.core.errors import ConfigurationError

if TYPE_CHECKING:
    from chat_sessions.server import Agent

__all__ = ["AgentOptions", "settings_in", "tools_in"]

_AGENT_FIELDS = ("agent", "agent_settings", "agent_profile_id")
_ALWAYS_CONFIRM: JsonValue = {"kind": "AlwaysConfirm"}


@dataclass(frozen=True, repr=False)
class AgentOptions:
    """The options as typed: plain values, JSON, or @FILE for a file with JSON in it. They may contain a model's key."""

    llm: str | None = None
    agent: str | None = None
    tool: Sequence[str] | None = None
    workspace: str | None = None
    conversation: str | None = None
    confirm: bool = False
    llm_base_url: str | None = None
    llm_key: str | None = None

    @property
    def given(self) -> list[str]:
        """The names of the options that were given."""
        return [f"--{field.name.replace('_', '-')}" for field in fields(self) if getattr(self, field.name)]

    @property
    def local_agent(self) -> Agent | None:
        """The local server's agent with a model; None without one. Raises `ConfigurationError`."""
        if self.llm is None:
            if self.llm_base_url or self.llm_key:
                option = "--llm-base-url" if self.llm_base_url else "--llm-key"
                raise ConfigurationError(f"{option} needs the model's name: add --llm")
            return None
        from chat_sessions.server import LlmAgent

        return LlmAgent.at(self.llm, self.llm_base_url, self.llm_key)

    @property
    def has_agent(self) -> bool:
        """Whether a new session would have an agent. Raises as `settings_in` does."""
        named = any(name in self.conversation_fields() for name in _AGENT_FIELDS)
        return bool(named or self.llm or self.agent or os.environ.get("LLM_MODEL", "").strip())

    def conversation_fields(self) -> dict[str, JsonValue]:
        """Read the fields of `--conversation`, with those of `--confirm`. Raises as `settings_in` does."""
        given = settings_in("--conversation", self.conversation)
        if isinstance(given, str):
            raise ConfigurationError("--conversation takes a JSON object, such as '{\"max_iterations\": 50}', or @FILE")
        found = given or {}
        if self.confirm and found.setdefault("confirmation_policy", _ALWAYS_CONFIRM) != _ALWAYS_CONFIRM:
            raise ConfigurationError("--confirm and the confirmation_policy in --conversation contradict each other")
        return found


def settings_in(option: str, given: str | None) -> dict[str, JsonValue] | str | None:
    """Read a name, or a JSON object from the option or its file.

    Raises `ConfigurationError` for anything else, and `UnknownName` for a file that does not exist.
    """
    value = _value(option, given) if given is not None else None
    if isinstance(value, dict | str | None):
        return value
    raise ConfigurationError(f"{option} takes a name or a JSON object; got a {type(value).__name__}")


def tools_in(given: Sequence[str] | None) -> list[str | Mapping[str, JsonValue]] | None:
    """Read the tools, each a name or settings; a JSON list is several. Raises as `settings_in` does."""
    found: list[str | Mapping[str, JsonValue]] = []
    for text in given or ():
        value = _value("--tool", text)
        for tool in value if isinstance(value, list) else [value]:
            if not isinstance(tool, str | dict):
                raise ConfigurationError(f"--tool takes names and JSON objects; got a {type(tool).__name__}")
            found.append(tool)
    return found or None


def _value(option: str, text: str) -> JsonValue:
    """Parse a plain name, JSON, or @FILE."""
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
        # The text itself may contain a model's key.
        raise ConfigurationError(
            f"{source} is not JSON: {error.msg} in line {error.lineno}, column {error.colno}"
        ) from None
    return value
