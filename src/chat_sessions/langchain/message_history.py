"""A session as a `BaseChatMessageHistory`, for code that still uses it.

LangChain deprecated that class in 1.6.4, to be removed in 2.0. New code reads `SessionMemory`.
"""

from __future__ import annotations

from collections.abc import Sequence

from langchain_core.chat_history import BaseChatMessageHistory
from langchain_core.messages import BaseMessage

from chat_sessions.core.errors import UnsupportedError
from chat_sessions.langchain.input.default_client import client_or_default
from chat_sessions.langchain.messages import events_to_messages
from chat_sessions.session import Backend

__all__ = ["SessionChatMessageHistory"]


class SessionChatMessageHistory(BaseChatMessageHistory):
    """The messages of a session, read from the service at each access.

    The session stores its own turns: adding messages that it already holds does nothing, so
    `RunnableWithMessageHistory` works with the session's id as its own; other messages are refused.
    """

    def __init__(self, session_id: str, *, client: Backend | None = None) -> None:
        super().__init__()
        self.session_id = session_id
        self.client = client_or_default(client)

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]
        """All messages of the session. Raises `APIError`."""
        events = self.client.retrieve(self.session_id).events
        return events_to_messages(events, session_id=self.session_id, service=self.client.service)

    async def aget_messages(self) -> list[BaseMessage]:
        """The async twin of `messages`."""
        session = await self.client.aio.retrieve(self.session_id)
        return events_to_messages(session.events, session_id=self.session_id, service=self.client.service)

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        """Do nothing for messages that the session holds. Raises `NotImplementedError` for any other."""
        self._check(messages, self.messages)

    async def aadd_messages(self, messages: Sequence[BaseMessage]) -> None:
        """The async twin of `add_messages`."""
        self._check(messages, await self.aget_messages())

    def _check(self, messages: Sequence[BaseMessage], stored: Sequence[BaseMessage]) -> None:
        known = iter([_words(message) for message in stored])
        for message in messages:
            # A shared iterator: the session must hold them in this order.
            if _words(message) not in known:
                raise UnsupportedError(
                    f"session {self.session_id} does not hold this message of type {message.type!r}, and a message "
                    "cannot be written into a session: it grows by the prompts that SessionChatModel sends"
                )

    def clear(self) -> None:
        """Delete the session on the service; it cannot be undone."""
        self.client.delete(self.session_id)

    async def aclear(self) -> None:
        """The async twin of `clear`."""
        await self.client.aio.delete(self.session_id)


def _words(message: BaseMessage) -> tuple[str, str]:
    """Return role and text of a message, whether it came whole or was merged from chunks."""
    return message.type.removesuffix("MessageChunk").lower(), "".join(str(message.text).split())
