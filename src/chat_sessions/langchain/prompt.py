"""From LangChain's list of messages to the one prompt that the remote session has not seen.

The session keeps its own history, so only the user's words after the last answer are sent. What is
not sent is said: dropping a conversation or an instruction silently is how answers go wrong
without anyone knowing why.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, cast

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage

from chat_sessions.core.errors import ConfigurationError

__all__ = ["PriorPolicy", "Prompt", "SessionInputWarning", "SystemPolicy"]

SystemPolicy: TypeAlias = Literal["warn", "prepend", "error"]
PriorPolicy: TypeAlias = Literal["warn", "ignore", "error"]


class SessionInputWarning(UserWarning):
    """A part of the input does not reach the remote session. Filter it to silence all such warnings."""


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
        self._tell(
            policy,
            f"the messages before the prompt are not sent: the last answer among them comes from {whose}, and this "
            f"turn runs in {here}, which does not know them. Pass the session_id of that answer to go on with it; "
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
        warnings.warn(message, SessionInputWarning, stacklevel=2)


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
