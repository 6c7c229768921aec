"""A conversation: its turns, and what it has besides them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, cast

from pydantic import JsonValue

from chat_sessions.core.models import SessionSummary
from chat_sessions.openhands.conversation.async_workspace import AsyncWorkspace
from chat_sessions.openhands.conversation.session_twin import AsyncTwinnedSession
from chat_sessions.openhands.events.json_values import JsonObject
from chat_sessions.openhands.titles import GeneratedTitle
from chat_sessions.openhands.wire import Interruption
from chat_sessions.session.async_chat_session import AsyncChatSession

if TYPE_CHECKING:
    from chat_sessions.openhands.conversation.async_conversations import AsyncConversations

__all__ = ["AsyncOpenHandsSession"]


class AsyncOpenHandsSession(AsyncTwinnedSession, AsyncChatSession):
    """A conversation of an agent server, made by a client's `session()`.

    Its own methods are the client's methods of the same name, for this conversation.
    """

    @property
    def _chat(self) -> AsyncConversations:
        return cast("AsyncConversations", self.client)

    async def run(self) -> None:
        """Let the agent continue. See `AsyncOpenHandsChat.run`."""
        await self._chat.run(self._known_id())

    async def pause(self) -> None:
        """Stop the agent after the current model call. See `AsyncOpenHandsChat.pause`."""
        await self._chat.pause(self._known_id())

    async def interrupt(self) -> Interruption:
        """End the run at once. See `AsyncOpenHandsChat.interrupt`."""
        return await self._chat.interrupt(self._known_id())

    async def ask_agent(self, question: str) -> str:
        """Return the agent's answer to a question that is in no turn. See `AsyncOpenHandsChat.ask_agent`."""
        return await self._chat.ask_agent(self._known_id(), question)

    async def respond_to_confirmation(self, *, accept: bool, reason: str | None = None) -> None:
        """Allow or refuse the actions that wait. See `AsyncOpenHandsChat.respond_to_confirmation`."""
        await self._chat.respond_to_confirmation(self._known_id(), accept=accept, reason=reason)

    async def set_confirmation_policy(self, policy: Mapping[str, JsonValue] | str) -> None:
        """Choose which actions wait for permission from now on. See `AsyncOpenHandsChat.set_confirmation_policy`.

        Creates the conversation if it does not exist yet.
        """
        await self._chat.set_confirmation_policy(await self.create(), policy)

    async def update_secrets(self, secrets: Mapping[str, JsonValue]) -> None:
        """Add values for the agent's commands, or change them. See `AsyncOpenHandsChat.update_secrets`.

        Creates the conversation if it does not exist yet.
        """
        await self._chat.update_secrets(await self.create(), secrets)

    async def set_tags(self, tags: Mapping[str, str]) -> None:
        """Replace the tags. See `AsyncOpenHandsChat.set_tags`.

        Creates the conversation if it does not exist yet.
        """
        await self._chat.set_tags(await self.create(), tags)

    async def generate_title(
        self, max_length: int = 50, llm: Mapping[str, JsonValue] | str | None = None
    ) -> GeneratedTitle:
        """Make a title of at most `max_length` characters. See `AsyncOpenHandsChat.generate_title`."""
        return await self._chat.generate_title(self._known_id(), max_length, llm)

    async def rename(self, title: str) -> None:
        """Give the conversation this title. See `AsyncOpenHandsChat.rename`."""
        await self._chat.rename(self._known_id(), title)

    async def fork(
        self,
        *,
        title: str | None = None,
        tags: Mapping[str, str] | None = None,
        from_event_id: str | None = None,
        keep_usage: bool = False,
    ) -> AsyncOpenHandsSession:
        """Copy the conversation with its events; returns the new session. See `AsyncOpenHandsChat.fork`."""
        return await self._chat.fork(
            self._known_id(), title=title, tags=tags, from_event_id=from_event_id, keep_usage=keep_usage
        )

    async def navigate(self, event_id: str | None) -> SessionSummary:
        """Go back to an earlier event. See `AsyncOpenHandsChat.navigate`."""
        return await self._chat.navigate(self._known_id(), event_id)

    def events(
        self,
        *,
        kind: str | None = None,
        source: str | None = None,
        text: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        newest_first: bool = False,
        page_size: int | None = None,
    ) -> AsyncIterator[JsonObject]:
        """Yield the conversation's events as the server has them. See `AsyncOpenHandsChat.events`."""
        return self._chat.events(
            self._known_id(),
            kind=kind,
            source=source,
            text=text,
            since=since,
            until=until,
            newest_first=newest_first,
            page_size=page_size,
        )

    @property
    def workspace(self) -> AsyncWorkspace:
        """The files of the folder that the agent works in. The conversation must exist: see `create`."""
        return self._chat.workspace(self._known_id())
