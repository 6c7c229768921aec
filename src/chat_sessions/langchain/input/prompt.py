"""From LangChain's list of messages to the one prompt that the remote session has not seen.

The session keeps its own history, so only the user's words after the last answer are sent. Everything else causes a
warning: an answer without the conversation or an instruction would be wrong for no visible reason.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias, cast

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from chat_sessions.core.errors import ConfigurationError
from chat_sessions.langchain.input.images import is_image, url_of

__all__ = ["Exchange", "PriorPolicy", "Prompt", "SessionInputWarning", "SystemPolicy", "warn_of_input"]

SystemPolicy: TypeAlias = Literal["warn", "prepend", "error"]
PriorPolicy: TypeAlias = Literal["warn", "ignore", "error"]


class SessionInputWarning(UserWarning):
    """A part of the input does not reach the remote session. Filter it to silence all such warnings."""


_TO_IGNORE = 'on_prior_messages="ignore" silences this'
_TO_CONTINUE = (
    "To continue that session, make the model with session_from_messages=True, as create_agent needs it, or pass the "
    "session_id; a graph with session_node needs `session_id: NotRequired[str]` in its state"
)
_TO_CHANGE = "To continue the other one, pass its session_id"
# Names of tools that hand a conversation over: "transfer_to_sales", "handoff_to_sales".
_HAND_OFFS = ("transfer", "handoff", "hand_off")

# Packages between the calling line and the turn.
_BETWEEN = frozenset(
    ("asyncio", "chat_sessions", "concurrent", "contextvars", "langchain", "langchain_core", "langgraph")
)


def warn_of_input(message: str) -> None:
    """Warn of input that does not reach the session, at the calling line outside this package and LangChain."""
    # As `skip_file_prefixes` does from Python 3.12 on.
    level, frame = 1, inspect.currentframe()
    while frame and frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] in _BETWEEN:
        level, frame = level + 1, frame.f_back
    warnings.warn(message, SessionInputWarning, stacklevel=level)


class Exchange(NamedTuple):
    """An answer of a session, with the last words of the user before it, which may be missing."""

    asked: str
    answer: str
    answer_id: str | None = None


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a list of messages asks of a session.

    `messages` are the user's after the last answer, `texts` what they say, and `images` the addresses of what they
    show; several make one prompt. `before` is what is not sent because it comes earlier. Where an agent hands the
    conversation over (by a call of a tool, and its result), they are the user's last, and `after` is what agents said
    since. `results` names the tools whose results come last and hand nothing over: they are not sent. `system` is the
    text of all system messages, None if there are none.
    """

    messages: tuple[BaseMessage, ...]
    texts: tuple[str, ...]
    images: tuple[tuple[str, ...], ...] = ()
    system: str | None = None
    before: tuple[BaseMessage, ...] = ()
    after: tuple[BaseMessage, ...] = ()
    results: tuple[str, ...] = ()

    @classmethod
    def read(cls, messages: Sequence[BaseMessage]) -> Prompt:
        """Find the prompt. Raises `ConfigurationError` for input that cannot be sent."""
        others = [message for message in messages if not isinstance(message, SystemMessage)]
        end = _before_hand_off(others)
        results = tuple(_tools_in(others[end:]))
        after: list[BaseMessage] = []
        if end < len(others):
            # An agent that takes over answers the user, whatever other agents said in between.
            while end and not _is_of_user(others[end - 1]):
                end -= 1
                after.insert(0, others[end])
        start = end
        while start and _is_of_user(others[start - 1]):
            start -= 1
        if start == end:
            last = f"a message of type {others[-1].type!r}" if others else "no message"
            raise ConfigurationError(
                f"the input ends with {last}, but a session answers the user: end it with a HumanMessage "
                "(the session runs its tools itself, so there are no tool results to send)"
            )
        new = tuple(others[start:end])
        texts = tuple(_text(message, takes_images=True).strip() for message in new)
        images = tuple(_images(message) for message in new)
        said = [*zip(new, texts, images, strict=True)]
        said = [one for one in said if any(one[1:])]
        if not said:
            raise ConfigurationError("the prompt is empty: the last HumanMessage has no text")
        system = "\n\n".join(
            filter(None, (_text(message).strip() for message in messages if isinstance(message, SystemMessage)))
        )
        return cls(
            tuple(message for message, _, _ in said),
            tuple(text for _, text, _ in said),
            tuple(shown for _, _, shown in said),
            system or None,
            tuple(others[:start]),
            tuple(after),
            results,
        )

    @property
    def last_session_id(self) -> str | None:
        """The session of the last answer that came from one; None if none did."""
        return next((found for message in self._unsent() if (found := _session_of(message)) is not None), None)

    def exchanges(self, session_id: str | None) -> list[Exchange]:
        """Return the answers of this session, the first one first, each with the words of the user before it."""
        found: list[Exchange] = []
        asked = ""
        for message in () if session_id is None else (*self.before, *self.messages, *self.after):
            if isinstance(message, HumanMessage):
                asked = str(message.text)
            elif isinstance(message, AIMessage) and _session_of(message) == session_id:
                found.append(Exchange(asked, str(message.text), message.id))
        return found

    def is_answered_in(self, session_id: str | None) -> bool:
        """Whether this session has answered exactly these messages."""
        return session_id is not None and any(_session_of(message) == session_id for message in self.after)

    def _unsent(self) -> Iterator[BaseMessage]:
        """Yield the messages that are not sent, newest first."""
        yield from reversed((*self.before, *self.after))

    def apply_prior_policy(self, policy: PriorPolicy, session_id: str | None) -> None:
        """Warn that earlier messages are not sent, unless they come from this session."""
        unsent = [*self._unsent()]
        if policy == "ignore" or not unsent:
            return
        last = next((message for message in unsent if isinstance(message, AIMessage) and not message.tool_calls), None)
        last_session_id = _session_of(last)
        if last_session_id is not None and last_session_id == session_id:
            return
        if last is None and any(map(_is_summary, unsent)):
            if session_id is None:
                self._tell(
                    policy,
                    "the summary of earlier messages is not sent, and no answer is left that says which session they "
                    "were of: this turn begins a new session, which does not know them. Keep the session's id in the "
                    'state of the graph, or give session_id. on_prior_messages="ignore" silences this',
                )
            return
        here = f"session {session_id!r}" if session_id else "a new session"
        if last_session_id is not None:
            why = (
                f"the last answer among them comes from session {last_session_id!r}, and this turn runs in {here}, "
                f"which does not know them. {_TO_CONTINUE if session_id is None else _TO_CHANGE}"
            )
        elif session_id is not None and any(_session_of(message) == session_id for message in unsent):
            why = f"the last answer among them is of another model, and {here} knows only its own turns"
        else:
            why = (
                f"they are a conversation with another model, which {here} does not know and cannot take in. What it "
                "has to know belongs in the prompt"
            )
        self._tell(policy, f"the messages before the prompt are not sent: {why}. {_TO_IGNORE}")

    def apply_results_policy(self, policy: PriorPolicy) -> None:
        """Warn that results of tools after the prompt are not sent, unless the tools hand the conversation over."""
        if policy != "ignore" and self.results:
            self._tell(
                policy,
                f"the result of the tool {self.results[-1]!r} is not sent: a session runs its own tools, and answers "
                f"what the user said last. If this tool hands the conversation over, {_TO_IGNORE}",
            )

    def apply_system_policy(self, policy: SystemPolicy) -> None:
        """Warn that a system message is not sent, unless it is prepended."""
        if self.system is not None and policy != "prepend":
            self._tell(
                policy,
                "the system message is not sent: the remote agent has its own instructions, and a session has no "
                'place for others. system="prepend" puts it before the first prompt of a session',
            )

    def apply_rewind_policy(self, policy: PriorPolicy, session_id: str) -> None:
        """Warn that the conversation went back to an earlier answer, but the session did not."""
        if policy != "ignore":
            self._tell(
                policy,
                f"the last answer in the input is not the last of session {session_id!r}: a graph that goes back to an "
                "earlier checkpoint does not take the session back, which still knows what came after. Begin a new "
                'session to start over. on_prior_messages="ignore" silences this',
            )

    @staticmethod
    def _tell(policy: Literal["warn", "error"], message: str) -> None:
        if policy == "error":
            raise ConfigurationError(message)
        warn_of_input(message)


def _images(message: BaseMessage) -> tuple[str, ...]:
    """The addresses of a message's images. Raises `ConfigurationError` for a block that has none."""
    content = cast("str | list[str | dict[str, Any]]", message.content)
    if isinstance(content, str):
        return ()
    return tuple(url_of(block) for block in content if not isinstance(block, str) and is_image(block))


def _text(message: BaseMessage, *, takes_images: bool = False) -> str:
    """The text of a message. Raises `ConfigurationError` for any other content."""
    content = cast("str | list[str | dict[str, Any]]", message.content)
    if isinstance(content, str):
        return content
    for block in content:
        kind = "text" if isinstance(block, str) else block.get("type")
        if takes_images and not isinstance(block, str) and is_image(block):
            continue
        if kind != "text":
            raise ConfigurationError(
                f"a message of type {message.type!r} holds a block of type {kind!r}, but a session takes text only: "
                "leave it out, or put the document into an index that the session queries"
            )
    texts = (block if isinstance(block, str) else block.get("text") for block in content)
    return "".join(str(text or "") for text in texts)


def _session_of(message: BaseMessage | None) -> str | None:
    """Return the session that a message is an answer of."""
    if not isinstance(message, AIMessage):
        return None
    found: object = message.response_metadata.get("session_id")
    return found if isinstance(found, str) else None


def _is_of_user(message: BaseMessage) -> bool:
    return isinstance(message, HumanMessage) and not _is_summary(message)


def _is_summary(message: BaseMessage) -> bool:
    """Whether this message replaces earlier ones, as `SummarizationMiddleware` does."""
    return message.additional_kwargs.get("lc_source") == "summarization"


def _tools_in(messages: Sequence[BaseMessage]) -> Iterator[str]:
    """Yield the names of the tools of these results, except those that hand the conversation over."""
    called = {
        call["id"]: call["name"]
        for message in messages
        if isinstance(message, AIMessage)
        for call in message.tool_calls
    }
    for message in messages:
        if isinstance(message, ToolMessage):
            name = str(message.name or called.get(message.tool_call_id) or "")
            if not any(word in name.lower() for word in _HAND_OFFS):
                yield name


def _before_hand_off(messages: Sequence[BaseMessage]) -> int:
    """Return how many messages there are before the hand-offs at the end: tool results with their calls."""
    end = len(messages)
    while True:
        start = end
        while start and isinstance(messages[start - 1], ToolMessage):
            start -= 1
        results = {message.tool_call_id for message in messages[start:end] if isinstance(message, ToolMessage)}
        caller = messages[start - 1] if start else None
        if not results or not isinstance(caller, AIMessage):
            return end
        if not results <= {call["id"] for call in caller.tool_calls}:
            return end
        end = start - 1
