"""Remembers a prompt that a context has sent, so that repeating an interrupted run does not send it again."""

from __future__ import annotations

import time
from collections.abc import Sequence
from hashlib import sha256

from pydantic import BaseModel

from chat_sessions.core.delivery import asked, plain_words
from chat_sessions.core.errors import TurnOutcomeUnknown
from chat_sessions.core.turn import Turn
from chat_sessions.session.async_chat_session import AsyncChatSession
from chat_sessions.session.stored.async_stored_turn import AsyncStoredTurn
from chat_sessions.session.waiting import async_sleep

__all__ = ["SentPrompt"]

# Between two looks at the session, in seconds.
_WAIT = 0.5
# How long to look for a prompt that may not have landed, in seconds.
_SETTLING = 3.0


class SentPrompt(BaseModel):
    """What a context's store keeps about a turn until its reader has seen its end.

    `turns` is the number of turns with a prompt before it; `accepted` is true once the service began to answer.
    """

    prompt: str
    turns: int
    accepted: bool = False
    # A hash of the images is enough: the context keeps them in its messages.
    images: str = ""

    @classmethod
    async def next_in(cls, session: AsyncChatSession, prompt: str, images: Sequence[str] = ()) -> SentPrompt:
        """Return the record of a prompt that is about to be sent. Raises `APIError`."""
        known = session.turn_count
        turns = len(asked(await session.turns())) if known is None else known
        return cls(prompt=prompt, turns=turns, images=_mark(images))

    def is_of(self, prompt: str, images: Sequence[str] = ()) -> bool:
        """Whether this is the record of that prompt."""
        return self.prompt == prompt and self.images == _mark(images)

    async def turn_in(self, session: AsyncChatSession) -> AsyncStoredTurn | None:
        """Return the turn as the session holds it; None if the prompt did not land.

        A service may show a turn only once it has ended. Raises `TurnOutcomeUnknown` if the session does not show a
        turn that the service accepted within `timeouts.recovery` seconds, and `APIError`.
        """
        budget = session.client.timeouts.recovery
        if not self.accepted:
            budget = _SETTLING if budget is None else min(budget, _SETTLING)
        deadline = None if budget is None else time.monotonic() + budget
        while True:
            turns = await session.turns()
            for position in asked(turns)[self.turns :]:
                if self._is_turn(turns[position]):
                    return AsyncStoredTurn(session, turns, position)
            left = _WAIT if deadline is None else deadline - time.monotonic()
            if left > 0:
                await async_sleep(min(_WAIT, left))
            elif self.accepted:
                raise TurnOutcomeUnknown(
                    f"the prompt was sent before, and session {session.id} does not show it yet: look at the session "
                    "before sending it again",
                    turn=Turn(prompt=self.prompt),
                    session_id=session.id or "",
                )
            else:
                return None

    def _is_turn(self, turn: Turn) -> bool:
        return plain_words(turn.prompt or "") == plain_words(self.prompt) and _mark(turn.image_urls) == self.images


def _mark(images: Sequence[str]) -> str:
    """Return a hash of these images."""
    return sha256("\n".join(images).encode()).hexdigest() if images else ""
