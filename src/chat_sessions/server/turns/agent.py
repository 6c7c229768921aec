"""The protocol that every agent of the local server implements."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from chat_sessions.core.errors import ConfigurationError
from chat_sessions.core.events import Event, Text, UserInput

if TYPE_CHECKING:
    from chat_sessions.server.documents.indexes import Index

__all__ = ["Agent", "AgentTurn", "check_agent"]


async def _nothing() -> None:
    pass


@dataclass(frozen=True, slots=True)
class AgentTurn:
    """What an agent gets to answer one turn.

    `indexes` are those that the turn may query, in the order requested. They are compared with the disk as the turn
    begins; `await turn.refresh()` waits for that, so that what was saved before the prompt is found. `history` holds
    the session's events before this turn, `user_input` included.
    """

    session_id: str
    prompt: str
    indexes: Sequence[Index]
    history: Sequence[Event]
    refresh: Callable[[], Awaitable[None]] = _nothing

    @property
    def conversation(self) -> list[tuple[Literal["user", "assistant"], str]]:
        """The prompts before this turn, and the whole text of each answer."""
        said: list[tuple[Literal["user", "assistant"], str]] = []
        for event in self.history:
            if isinstance(event, UserInput):
                said.append(("user", event.content))
            elif isinstance(event, Text) and said and said[-1][0] == "assistant":
                said[-1] = ("assistant", f"{said[-1][1]}\n\n{event.content}")
            elif isinstance(event, Text):
                said.append(("assistant", event.content))
        return said


class Agent(Protocol):
    """Answers turns. One agent serves all sessions, several turns at a time.

    An agent may also have `async def title_for(self, message: str) -> str | None`: the title of a session that begins
    with this message. Without it, or where it returns None, the title is the message's first sentence.
    """

    def run(self, turn: AgentTurn) -> AsyncIterator[Event]:
        """Yield every event of the turn's answer but `user_input`, which the server records itself.

        The answer may end with a `Stop` that reports usage or an error; without one, the server adds its own. An
        exception ends the turn with a `Stop` whose `is_error` is true. Closing the iterator, which the server does
        when a turn is cut short, must release whatever the agent holds.
        """
        ...


def check_agent(agent: object) -> None:
    """Raise `ConfigurationError`, with what to do, for anything but an agent."""
    if isinstance(agent, type):
        raise ConfigurationError(f"the agent is the class {agent.__name__}: pass an instance of it")
    # An object of a framework exists only if the framework is loaded.
    workflows = sys.modules.get("llama_index.core.workflow")
    if workflows is not None and isinstance(agent, workflows.Workflow):
        wrapper = "chat_sessions.llama_index.WorkflowAgent"
    elif hasattr(agent, "astream"):
        wrapper = "chat_sessions.langchain.GraphAgent"
    elif callable(getattr(agent, "run", None)):
        return
    else:
        raise ConfigurationError(
            f"{type(agent).__name__} is not an agent: pass an object with `async def run(self, turn)` that yields "
            "events"
        )
    raise ConfigurationError(f"{type(agent).__name__} is not an agent by itself: pass {wrapper}(it)")
