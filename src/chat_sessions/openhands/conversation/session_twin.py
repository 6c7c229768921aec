"""From a conversation that is held in sync code to the same one for async code."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from chat_sessions.session.session_state import AsyncSessionState, SessionState

if TYPE_CHECKING:
    from chat_sessions.openhands.conversation.async_session import AsyncOpenHandsSession

__all__ = ["AsyncTwinnedSession", "TwinnedSession"]


class TwinnedSession(SessionState):
    """A conversation that is held in sync code."""

    @property
    def aio(self) -> AsyncOpenHandsSession:
        """The same session for async code. What either side learns, its id above all, the other knows."""
        return cast("AsyncOpenHandsSession", super().aio)


class AsyncTwinnedSession(AsyncSessionState):
    """A conversation that is held in async code, which is a twin itself."""
