"""What an adapter does with a history that is given to it while the service keeps its own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, TypeAlias, cast

from llama_index.core.base.llms.types import ChatMessage

from chat_sessions.core.errors import ConfigurationError
from chat_sessions.llama_index.messages import same_talk

__all__ = ["ChatHistoryPolicy", "history_problem"]

ChatHistoryPolicy: TypeAlias = Literal["error", "warn", "ignore"]


def history_problem(given: Iterable[ChatMessage], own: Iterable[ChatMessage], session_id: str | None) -> str | None:
    """Why this history cannot be used; None if it is the session's own. Raises `ConfigurationError` for none at all."""
    given = _messages(given)
    if same_talk(given, own):
        return None
    holds = f"session {session_id} holds" if session_id else "this session holds, which is new and empty"
    return (
        f"chat_history differs from what {holds}. The service keeps the "
        'history and it cannot be replaced: leave chat_history out, or set on_chat_history to "warn" or "ignore".'
    )


def _messages(given: object) -> list[ChatMessage]:
    messages = list(cast("Iterable[object]", given)) if isinstance(given, Iterable) else [given]
    for message in messages:
        if not isinstance(message, ChatMessage):
            raise ConfigurationError(f"chat_history is a list of ChatMessage; there is a {type(message).__name__}")
    return cast("list[ChatMessage]", messages)
