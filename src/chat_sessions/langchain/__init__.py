"""A hosted chat session in LangChain and LangGraph."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from chat_sessions.core.errors import ConfigurationError

if find_spec("langchain_core") is None:  # pragma: no cover - needs an environment without the extra
    raise ConfigurationError("the LangChain adapter needs langchain-core: pip install 'chat-sessions[langchain]'")

from chat_sessions.langchain.chat_model import SessionChatModel
from chat_sessions.langchain.graphs.agent import GraphAgent
from chat_sessions.langchain.input.prompt import SessionInputWarning
from chat_sessions.langchain.memory import SessionLoader, SessionMemory
from chat_sessions.langchain.messages import (
    aimage_blocks,
    events_to_messages,
    image_blocks,
    source_documents,
    text_message,
)
from chat_sessions.langchain.node import session_node
from chat_sessions.langchain.tool import SessionTool

if TYPE_CHECKING:
    from chat_sessions.langchain.message_history import SessionChatMessageHistory

__all__ = [
    "GraphAgent",
    "SessionChatMessageHistory",
    "SessionChatModel",
    "SessionInputWarning",
    "SessionLoader",
    "SessionMemory",
    "SessionTool",
    "aimage_blocks",
    "events_to_messages",
    "image_blocks",
    "session_node",
    "source_documents",
    "text_message",
]


def __getattr__(name: str) -> object:
    # LangChain 2.0 will drop the base class of this one; the other names must still import then.
    if name == "SessionChatMessageHistory":
        from chat_sessions.langchain.message_history import SessionChatMessageHistory

        return SessionChatMessageHistory
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
