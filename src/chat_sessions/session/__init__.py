"""A session of any backend: its turns, one at a time, each read to its true end."""

from chat_sessions.session.backend import AsyncBackend, Backend
from chat_sessions.session.chat_session import AsyncChatSession, ChatSession
from chat_sessions.session.deadlines import Timeouts
from chat_sessions.session.transport import TurnRequest
from chat_sessions.session.turn_stream import AsyncTurnStream, TurnStream

__all__ = [
    "AsyncBackend",
    "AsyncChatSession",
    "AsyncTurnStream",
    "Backend",
    "ChatSession",
    "Timeouts",
    "TurnRequest",
    "TurnStream",
]
