# Generated from async_port.py by scripts/generate_sync.py: edit that file, then run `make format`.
"""What the connection of a turn asks of its client, besides the socket."""

from __future__ import annotations

from typing import Protocol

from chat_sessions.openhands.events.json_values import JsonObject

__all__ = ["ConversationPort"]


class ConversationPort(Protocol):
    """A conversation's own requests."""

    def read_info(self, session_id: str, *, limit: float | None = None) -> JsonObject:
        """The conversation without its events, one attempt within `limit` seconds. Raises `APIError`."""
        ...

    def start_run(self, session_id: str, *, limit: float | None = None) -> None:
        """Run the message that waits, one attempt within `limit` seconds. Raises `APIError`."""
        ...

    def respond_to_confirmation(self, session_id: str, *, accept: bool, reason: str | None = None) -> None:
        """Allow or refuse the actions that wait."""
        ...
