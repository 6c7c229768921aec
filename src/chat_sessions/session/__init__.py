"""A session of any backend: its turns, one at a time, each read to its true end."""

from chat_sessions.session.async_chat_session import AsyncChatSession
from chat_sessions.session.async_turn_stream import AsyncTurnStream
from chat_sessions.session.backend import AsyncBackend, Backend, TurnRequest
from chat_sessions.session.chat_session import ChatSession
from chat_sessions.session.deadlines import Timeouts
from chat_sessions.session.turn_stream import TurnStream

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
