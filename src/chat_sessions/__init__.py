"""One hosted chat session, at home in every framework.

The clients and what they return are here. The adapters are in `chat_sessions.llama_index` and
`chat_sessions.langchain`; importing this package loads neither framework, nor the local server.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from chat_sessions.core.errors import (
    APIConnectionError,
    APIError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    ChatSessionsError,
    ConfigurationError,
    ConflictError,
    InternalServerError,
    NotFoundError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitError,
    TurnError,
    TurnFailed,
    TurnInterrupted,
    TurnOutcomeUnknown,
    TurnStalled,
    UnprocessableEntityError,
    UnsupportedError,
)
from chat_sessions.core.events import (
    Event,
    Session,
    Stop,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ToolCall,
    ToolResult,
    UnknownEvent,
    UserInput,
)
from chat_sessions.core.models import (
    ImageAttachment,
    JobMetadata,
    PresignedUrl,
    SessionSummary,
    TitledSummary,
    Usage,
)
from chat_sessions.core.sources import Source
from chat_sessions.core.turn import ToolRun, Turn, TurnFold, fold, replay
from chat_sessions.session import AsyncChatSession, AsyncTurnStream, ChatSession, Timeouts, TurnStream

if TYPE_CHECKING:
    from chat_sessions.llama_cloud import AsyncLlamaCloudChat, LlamaCloudChat
    from chat_sessions.local import LocalServer
    from chat_sessions.openhands import AsyncOpenHandsChat, OpenHandsChat

__all__ = [
    "APIConnectionError",
    "APIError",
    "APIStatusError",
    "APITimeoutError",
    "AsyncChatSession",
    "AsyncLlamaCloudChat",
    "AsyncOpenHandsChat",
    "AsyncTurnStream",
    "AuthenticationError",
    "ChatSession",
    "ChatSessionsError",
    "ConfigurationError",
    "ConflictError",
    "Event",
    "ImageAttachment",
    "InternalServerError",
    "JobMetadata",
    "LlamaCloudChat",
    "LocalServer",
    "NotFoundError",
    "OpenHandsChat",
    "PermissionDeniedError",
    "PresignedUrl",
    "ProtocolError",
    "RateLimitError",
    "Session",
    "SessionSummary",
    "Source",
    "Stop",
    "Text",
    "TextDelta",
    "Thinking",
    "ThinkingDelta",
    "Timeouts",
    "TitledSummary",
    "ToolCall",
    "ToolResult",
    "ToolRun",
    "Turn",
    "TurnError",
    "TurnFailed",
    "TurnFold",
    "TurnInterrupted",
    "TurnOutcomeUnknown",
    "TurnStalled",
    "TurnStream",
    "UnknownEvent",
    "UnprocessableEntityError",
    "UnsupportedError",
    "Usage",
    "UserInput",
    "fold",
    "replay",
]


# What needs an extra is loaded when it is asked for, and so is httpx: half of what this import would cost.
_LAZY = {
    "AsyncLlamaCloudChat": "chat_sessions.llama_cloud",
    "AsyncOpenHandsChat": "chat_sessions.openhands",
    "LlamaCloudChat": "chat_sessions.llama_cloud",
    "LocalServer": "chat_sessions.local",
    "OpenHandsChat": "chat_sessions.openhands",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
