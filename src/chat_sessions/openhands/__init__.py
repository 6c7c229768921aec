"""The OpenHands Agent Server as a backend: its conversations are sessions. Needs the extra `openhands`."""

from importlib.util import find_spec

from chat_sessions.core.errors import ConfigurationError

if find_spec("websockets") is None:  # pragma: no cover - needs an environment without the extra
    raise ConfigurationError("the OpenHands backend needs websockets: pip install 'chat-sessions[openhands]'")

from chat_sessions.openhands.client import AsyncOpenHandsChat, OpenHandsChat
from chat_sessions.openhands.confirmation import ConfirmAction, ConfirmationRequest, OnConfirmation
from chat_sessions.openhands.conversation.async_session import AsyncOpenHandsSession
from chat_sessions.openhands.conversation.session import OpenHandsSession
from chat_sessions.openhands.titles import GeneratedTitle

__all__ = [
    "AsyncOpenHandsChat",
    "AsyncOpenHandsSession",
    "ConfirmAction",
    "ConfirmationRequest",
    "GeneratedTitle",
    "OnConfirmation",
    "OpenHandsChat",
    "OpenHandsSession",
]
