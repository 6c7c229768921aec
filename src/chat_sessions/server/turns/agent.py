"""What answers a turn: the protocol that every agent of the local server satisfies."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from chat_sessions.core.events import Event
    from chat_sessions.server.documents.indexes import Index

__all__ = ["Agent", "AgentTurn"]


@dataclass(frozen=True, slots=True)
class AgentTurn:
    """All that an agent is told of the turn it answers.

    `indexes` are those that the turn may query, in the order asked for; they are fresh.
    `history` holds the session's events before this turn, `user_input` included.
    """

    session_id: str
    prompt: str
    indexes: Sequence[Index]
    history: Sequence[Event]


class Agent(Protocol):
    """Answers turns; one agent serves every session, several turns at a time."""

    def run(self, turn: AgentTurn) -> AsyncIterator[Event]:
        """Every event of the turn's answer but `user_input`, which the server records itself.

        It may end with a `Stop`, to report usage or an error; if it does not, the server closes
        the turn with one of its own. An exception ends the turn as a `Stop` with `is_error`.
        Closing the iterator, which the server does when a turn is cut short, must release
        whatever the agent holds.
        """
        ...
