"""From LangChain's list of messages to the one prompt that the remote session has not seen.

The session keeps its own history, so only the user's words after the last answer are sent. What is
not sent is said: dropping a conversation or an instruction silently is how answers go wrong
without anyone knowing why.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, cast

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage

from chat_sessions.core.errors import ConfigurationError

__all__ = ["PriorPolicy", "Prompt", "SessionInputWarning", "SystemPolicy", "warn_of_input"]

SystemPolicy: TypeAlias = Literal["warn", "prepend", "error"]
PriorPolicy: TypeAlias = Literal["warn", "ignore", "error"]


class SessionInputWarning(UserWarning):
    """A part of the input does not reach the remote session. Filter it to silence all such warnings."""


# Between the line that asks and the turn.
_BETWEEN = frozenset(
    ("asyncio", "chat_sessions", "concurrent", "contextvars", "langchain", "langchain_core", "langgraph")
)


def warn_of_input(message: str) -> None:
    """Warn of input that does not reach the session, at the line outside this package and LangChain that asks."""
    # As `skip_file_prefixes` does from Python 3.12 on.
    level, frame = 1, inspect.currentframe()
    while frame and frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] in _BETWEEN:
        level, frame = level + 1, frame.f_back
    warnings.warn(message, SessionInputWarning, stacklevel=level)


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a list of messages asks of a session.

    `text` is the user's words after the last answer, several messages joined by an empty line.
    `system` is the text of all system messages, None if there are none. `has_prior` says that
    messages stand before those words, and `prior_session_id` is the session that the last answer
    among them came from, None if it came from none.
    """

    text: str
    system: str | None = None
    has_prior: bool = False
    prior_session_id: str | None = None

    @classmethod
    def read(cls, messages: Sequence[BaseMessage]) -> Prompt:
        """Find the prompt. Raises `ConfigurationError` for input that a session cannot be sent."""
        others = [message for message in messages if not isinstance(message, SystemMessage)]
        new: list[HumanMessage] = []
        while others and isinstance(others[-1], HumanMessage):
            new.insert(0, cast("HumanMessage", others.pop()))
        if not new:
            last = f"a message of type {others[-1].type!r}" if others else "no message"
            raise ConfigurationError(
                f"the input ends with {last}, but a session answers the user: end it with a HumanMessage "
                "(the session runs its tools itself, so there are no tool results to send)"
            )
        text = "\n\n".join(filter(None, (_text(message).strip() for message in new)))
        if not text:
            raise ConfigurationError("the prompt is empty: the last HumanMessage has no text")
        system = "\n\n".join(
            filter(None, (_text(message).strip() for message in messages if isinstance(message, SystemMessage)))
        )
        return cls(text, system or None, bool(others), _session_of(others))

    def apply_prior_policy(self, policy: PriorPolicy, session_id: str | None) -> None:
        """Tell that earlier messages are not sent, unless they come from this very session."""
        if not self.has_prior or policy == "ignore":
            return
        if self.prior_session_id is not None and self.prior_session_id == session_id:
            return
        whose = f"session {self.prior_session_id!r}" if self.prior_session_id else "no session"
        here = f"session {session_id!r}" if session_id else "a new session"
        # The only sign of a graph whose state has no place for the id: LangGraph drops what a state does not have.
        lost = self.prior_session_id is not None and session_id is None
        state = "; a graph with session_node needs `session_id: NotRequired[str]` in its state for that" if lost else ""
        self._tell(
            policy,
            f"the messages before the prompt are not sent: the last answer among them comes from {whose}, and this "
            f"turn runs in {here}, which does not know them. Pass the session_id of that answer to go on with "
            f"it{state}. "
            'on_prior_messages="ignore" silences this',
        )

    def apply_system_policy(self, policy: SystemPolicy) -> None:
        """Tell that a system message is not sent, unless it is to be prepended."""
        if self.system is not None and policy != "prepend":
            self._tell(
                policy,
                "the system message is not sent: the remote agent has its own instructions, and a session has no "
                'place for others. system="prepend" puts it before the first prompt of a session',
            )

    def with_system(self) -> str:
        """The prompt with the system text before it."""
        return f"{self.system}\n\n{self.text}" if self.system else self.text

    @staticmethod
    def _tell(policy: Literal["warn", "error"], message: str) -> None:
        if policy == "error":
            raise ConfigurationError(message)
        warn_of_input(message)


def _text(message: BaseMessage) -> str:
    """The text of a message. Raises `ConfigurationError` for any other content."""
    content = cast("str | list[str | dict[str, Any]]", message.content)
    if isinstance(content, str):
        return content
    for block in content:
        kind = "text" if isinstance(block, str) else block.get("type")
        if kind != "text":
            raise ConfigurationError(
                f"a message of type {message.type!r} holds a block of type {kind!r}, but a session takes text only: "
                "leave it out, or put the document into an index that the session queries"
            )
    return "".join(block if isinstance(block, str) else str(block.get("text", "")) for block in content)


def _session_of(messages: Sequence[BaseMessage]) -> str | None:
    """The session of the last answer among these messages."""
    for message in reversed(messages):
        if isinstance(message, AIMessage):
            found: object = message.response_metadata.get("session_id")
            return found if isinstance(found, str) else None
    return None
