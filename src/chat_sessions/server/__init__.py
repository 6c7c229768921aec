"""The Chat API on this machine, over the caller's own files (extra: `server`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chat_sessions.core.errors import ConfigurationError

try:
    from chat_sessions.server.agents.local_agent import LocalAgent
    from chat_sessions.server.api.app import create_app
    from chat_sessions.server.documents.files import DocumentError
    from chat_sessions.server.documents.indexes import Index, open_index
    from chat_sessions.server.hosting.process import serve
    from chat_sessions.server.hosting.thread import ServerThread
    from chat_sessions.server.turns.agent import Agent, AgentTurn
    from chat_sessions.server.turns.behaviour import Behaviour
    from chat_sessions.server.turns.limits import Limits
except ModuleNotFoundError as error:
    if error.name is None or error.name.partition(".")[0] == "chat_sessions":
        raise
    raise ConfigurationError(
        f"the local server needs {error.name}; install it with: pip install 'chat-sessions[server]'"
    ) from error

if TYPE_CHECKING:
    from chat_sessions.testing import faults
    from chat_sessions.testing.script import Faults, SeenRequest

__all__ = [
    "Agent",
    "AgentTurn",
    "Behaviour",
    "DocumentError",
    "Faults",
    "Index",
    "Limits",
    "LocalAgent",
    "SeenRequest",
    "ServerThread",
    "create_app",
    "faults",
    "open_index",
    "serve",
]


def __getattr__(name: str) -> Any:
    # These names are older than `chat_sessions.testing`, without which the server runs.
    if name in ("Faults", "SeenRequest", "faults"):
        from chat_sessions.testing import faults, script

        return faults if name == "faults" else getattr(script, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
