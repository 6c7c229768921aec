"""What to do with a `chat_history` that the caller passes, since the service keeps its own."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Literal, TypeAlias, cast, get_args

from llama_index.core.base.llms.types import ChatMessage, MessageRole

from chat_sessions.core.errors import ConfigurationError
from chat_sessions.llama_index.messages import same_talk

__all__ = ["ChatHistoryPolicy", "check_history", "check_memory", "check_policy"]

ChatHistoryPolicy: TypeAlias = Literal["error", "warn", "ignore"]


def check_policy(policy: ChatHistoryPolicy) -> None:
    """Raise `ConfigurationError` for a policy that does not exist."""
    if policy not in get_args(ChatHistoryPolicy):
        raise ConfigurationError(f'on_chat_history={policy!r}: use "error", "warn" or "ignore"')


def check_history(
    policy: ChatHistoryPolicy,
    given: Iterable[ChatMessage],
    own: Iterable[ChatMessage],
    session_id: str | None,
    *,
    stacklevel: int,
) -> None:
    """Raise `ConfigurationError`, warn or do nothing, as the policy says, if this is not the session's own history.

    Raises `ConfigurationError` for something that is not a history, too.
    """
    if policy == "ignore" or same_talk(_messages(given), own):
        return
    holds = f"session {session_id} holds" if session_id else "this session holds, which is new and empty"
    problem = (
        f"chat_history differs from what {holds}. The service keeps the "
        'history and it cannot be replaced: leave chat_history out, or set on_chat_history to "warn" or "ignore".'
    )
    if policy == "error":
        raise ConfigurationError(problem)
    warnings.warn(f"{problem} The session's own history is used.", UserWarning, stacklevel=stacklevel)


def check_memory(policy: ChatHistoryPolicy, held: Iterable[ChatMessage], *, stacklevel: int) -> None:
    """Raise `ConfigurationError`, warn or do nothing, as the policy says, if a new session gets answers as memory."""
    if policy == "ignore" or not any(message.role is MessageRole.ASSISTANT for message in held):
        return
    problem = (
        "memory has answers of earlier runs, and this run has a new session, which does not know them: give each run "
        'the same ctx, or the agent a session_id. on_chat_history="ignore" silences this.'
    )
    if policy == "error":
        raise ConfigurationError(problem)
    warnings.warn(problem, UserWarning, stacklevel=stacklevel)


def _messages(given: object) -> list[ChatMessage]:
    messages = list(cast("Iterable[object]", given)) if isinstance(given, Iterable) else [given]
    for message in messages:
        if not isinstance(message, ChatMessage):
            raise ConfigurationError(f"chat_history is a list of ChatMessage; there is a {type(message).__name__}")
    return cast("list[ChatMessage]", messages)
