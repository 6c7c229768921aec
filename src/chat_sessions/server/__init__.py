"""The Chat API on this machine, over the caller's own files (extra: `server`)."""

from __future__ import annotations

from chat_sessions.core.errors import ConfigurationError

try:
    from chat_sessions.server import faults
    from chat_sessions.server.agent import Agent, AgentTurn
    from chat_sessions.server.app import create_app
    from chat_sessions.server.behaviour import Behaviour
    from chat_sessions.server.documents import DocumentError
    from chat_sessions.server.fault_script import Faults, SeenRequest
    from chat_sessions.server.host import ServerThread, serve
    from chat_sessions.server.indexes import Index, open_index
    from chat_sessions.server.limits import Limits
    from chat_sessions.server.local_agent import LocalAgent
except ModuleNotFoundError as error:
    if error.name is None or error.name.partition(".")[0] == "chat_sessions":
        raise
    raise ConfigurationError(
        f"the local server needs {error.name}; install it with: pip install 'chat-sessions[server]'"
    ) from error

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
