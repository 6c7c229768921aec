"""A hosted chat session as a LlamaIndex chat engine, agent, tool, query engine and memory."""

from __future__ import annotations

try:
    import llama_index.core as _  # noqa: F401
except ModuleNotFoundError as error:
    from chat_sessions.core.errors import ConfigurationError

    raise ConfigurationError(
        "the LlamaIndex adapter needs llama-index-core: pip install 'chat-sessions[llama-index]'"
    ) from error

from chat_sessions.llama_index.agent.session_agent import SessionAgent
from chat_sessions.llama_index.answers.response import StreamingSessionResponse
from chat_sessions.llama_index.engine import SessionChatEngine
from chat_sessions.llama_index.memory.session_memory import RemoteHistoryAppendOnlyError, SessionMemory
from chat_sessions.llama_index.memory.summary_block import SessionSummaryBlock
from chat_sessions.llama_index.messages import messages_of
from chat_sessions.llama_index.page_image import PageImage
from chat_sessions.llama_index.query_engine import SessionQueryEngine
from chat_sessions.llama_index.workflow.agent import WorkflowAgent

__all__ = [
    "PageImage",
    "RemoteHistoryAppendOnlyError",
    "SessionAgent",
    "SessionChatEngine",
    "SessionMemory",
    "SessionQueryEngine",
    "SessionSummaryBlock",
    "StreamingSessionResponse",
    "WorkflowAgent",
    "messages_of",
]
