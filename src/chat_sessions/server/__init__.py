"""The Chat API on this machine, over the caller's own files (extra: `server`)."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from chat_sessions.core.errors import ConfigurationError

if TYPE_CHECKING:
    from chat_sessions.server.agents.llm_agent import LlmAgent
    from chat_sessions.server.agents.local_agent import LocalAgent
    from chat_sessions.server.api.app import create_app
    from chat_sessions.server.documents.files import DocumentError
    from chat_sessions.server.documents.indexes import Hit, Index, open_index
    from chat_sessions.server.hosting.process import serve
    from chat_sessions.server.hosting.thread import ServerThread
    from chat_sessions.server.turns.agent import Agent, AgentTurn
    from chat_sessions.server.turns.behaviour import Behaviour
    from chat_sessions.server.turns.limits import Limits
    from chat_sessions.testing import faults
    from chat_sessions.testing.script import Faults, SeenRequest

__all__ = [
    "Agent",
    "AgentTurn",
    "Behaviour",
    "DocumentError",
    "Faults",
    "Hit",
    "Index",
    "Limits",
    "LlmAgent",
    "LocalAgent",
    "SeenRequest",
    "ServerThread",
    "create_app",
    "faults",
    "open_index",
    "serve",
]

# Loaded on first access: reading documents needs no web framework, and a model needs no documents.
_PLACES = {
    "Agent": "server.turns.agent",
    "AgentTurn": "server.turns.agent",
    "Behaviour": "server.turns.behaviour",
    "DocumentError": "server.documents.files",
    # Older than `chat_sessions.testing`, which the server does not need.
    "Faults": "testing.script",
    "Hit": "server.documents.indexes",
    "Index": "server.documents.indexes",
    "Limits": "server.turns.limits",
    "LlmAgent": "server.agents.llm_agent",
    "LocalAgent": "server.agents.local_agent",
    "SeenRequest": "testing.script",
    "ServerThread": "server.hosting.thread",
    "create_app": "server.api.app",
    "open_index": "server.documents.indexes",
    "serve": "server.hosting.process",
}


def __getattr__(name: str) -> Any:
    try:
        if name == "faults":
            return import_module("chat_sessions.testing.faults")
        if name in _PLACES:
            return getattr(import_module(f"chat_sessions.{_PLACES[name]}"), name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "chat_sessions":
            raise
        raise ConfigurationError(
            f"the local server needs {error.name}; install it with: pip install 'chat-sessions[server]'"
        ) from error
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
