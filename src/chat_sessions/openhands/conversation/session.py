# Generated from async_session.py by scripts/generate_sync.py: edit that file, then run `make format`.
"""A conversation: its turns, and what it has besides them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, cast

from pydantic import JsonValue

from chat_sessions.core.models import SessionSummary
from chat_sessions.openhands.conversation.session_twin import TwinnedSession
from chat_sessions.openhands.conversation.workspace import Workspace
from chat_sessions.openhands.events.json_values import JsonObject
from chat_sessions.openhands.titles import GeneratedTitle
from chat_sessions.openhands.wire import Interruption
from chat_sessions.session.chat_session import ChatSession

if TYPE_CHECKING:
    from chat_sessions.openhands.conversation.conversations import Conversations

__all__ = ["OpenHandsSession"]


class OpenHandsSession(TwinnedSession, ChatSession):
    """A conversation of an agent server, made by a client's `session()`.

    Its own methods are the client's methods of the same name, for this conversation.
    """

    @property
    def _chat(self) -> Conversations:
        return cast("Conversations", self.client)

    def run(self) -> None:
        """Let the agent continue. See `OpenHandsChat.run`."""
        self._chat.run(self._known_id())

    def pause(self) -> None:
        """Stop the agent after the current model call. See `OpenHandsChat.pause`."""
        self._chat.pause(self._known_id())

    def interrupt(self) -> Interruption:
        """End the run at once. See `OpenHandsChat.interrupt`."""
        return self._chat.interrupt(self._known_id())

    def ask_agent(self, question: str) -> str:
        """Return the agent's answer to a question that is in no turn. See `OpenHandsChat.ask_agent`."""
        return self._chat.ask_agent(self._known_id(), question)

    def respond_to_confirmation(self, *, accept: bool, reason: str | None = None) -> None:
        """Allow or refuse the actions that wait. See `OpenHandsChat.respond_to_confirmation`."""
        self._chat.respond_to_confirmation(self._known_id(), accept=accept, reason=reason)

    def set_confirmation_policy(self, policy: Mapping[str, JsonValue] | str) -> None:
        """Choose which actions wait for permission from now on. See `OpenHandsChat.set_confirmation_policy`.

        Creates the conversation if it does not exist yet.
        """
        self._chat.set_confirmation_policy(self.create(), policy)

    def update_secrets(self, secrets: Mapping[str, JsonValue]) -> None:
        """Add values for the agent's commands, or change them. See `OpenHandsChat.update_secrets`.

        Creates the conversation if it does not exist yet.
        """
        self._chat.update_secrets(self.create(), secrets)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Replace the tags. See `OpenHandsChat.set_tags`.

        Creates the conversation if it does not exist yet.
        """
        self._chat.set_tags(self.create(), tags)

    def generate_title(self, max_length: int = 50, llm: Mapping[str, JsonValue] | str | None = None) -> GeneratedTitle:
        """Make a title of at most `max_length` characters. See `OpenHandsChat.generate_title`."""
        return self._chat.generate_title(self._known_id(), max_length, llm)

    def rename(self, title: str) -> None:
        """Give the conversation this title. See `OpenHandsChat.rename`."""
        self._chat.rename(self._known_id(), title)

    def fork(
        self,
        *,
        title: str | None = None,
        tags: Mapping[str, str] | None = None,
        from_event_id: str | None = None,
        keep_usage: bool = False,
    ) -> OpenHandsSession:
        """Copy the conversation with its events; returns the new session. See `OpenHandsChat.fork`."""
        return self._chat.fork(
            self._known_id(), title=title, tags=tags, from_event_id=from_event_id, keep_usage=keep_usage
        )

    def navigate(self, event_id: str | None) -> SessionSummary:
        """Go back to an earlier event. See `OpenHandsChat.navigate`."""
        return self._chat.navigate(self._known_id(), event_id)

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
    ) -> Iterator[JsonObject]:
        """Yield the conversation's events as the server has them. See `OpenHandsChat.events`."""
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
    def workspace(self) -> Workspace:
        """The files of the folder that the agent works in. The conversation must exist: see `create`."""
        return self._chat.workspace(self._known_id())
