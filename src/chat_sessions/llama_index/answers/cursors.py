"""One reader's place in an answer, and the shape in which the reader gets it.

A cursor keeps its `owner`, the response that the reader has it from: an answer is forgotten only when nobody holds
its response, and nobody reads it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, MessageRole

from chat_sessions.llama_index.answers.state import AnswerState
from chat_sessions.llama_index.messages import chat_response

__all__ = ["ChatCursor", "Cursor", "TextCursor"]

_Item_co = TypeVar("_Item_co", covariant=True)


class Cursor(Protocol[_Item_co]):
    """A place in an answer."""

    def news(self) -> Sequence[_Item_co]:
        """Return what has come since the last call."""
        ...

    def last(self) -> Sequence[_Item_co]:
        """Return what follows the end of the answer."""
        ...


class TextCursor:
    """The answer as pieces of text."""

    def __init__(self, answer: AnswerState, owner: object) -> None:
        self._owner = owner
        self._text = answer.text
        self._seen = 0

    def news(self) -> Sequence[str]:
        """Return the pieces that have come since the last call."""
        seen, self._seen = self._seen, len(self._text)
        return self._text[seen : self._seen]

    def last(self) -> Sequence[str]:
        """Return nothing: the pieces are all there is."""
        return ()


class ChatCursor:
    """The answer as chat responses, each with the text so far; thinking is in their `additional_kwargs`."""

    def __init__(self, answer: AnswerState, owner: object) -> None:
        self._owner = owner
        self._answer = answer
        self._text = 0
        self._thinking = 0
        self._said = ""

    def news(self) -> Sequence[ChatResponse]:
        """Return a response per piece of text or thinking that has come since the last call."""
        text, thinking = self._answer.text, self._answer.thinking
        steps: list[ChatResponse] = []
        while True:
            if self._thinking < len(thinking) and thinking[self._thinking][0] <= self._text:
                self._thinking += 1
                steps.append(self._step("", {"thinking_delta": thinking[self._thinking - 1][1]}))
            elif self._text < len(text):
                delta = text[self._text]
                self._text += 1
                self._said += delta
                steps.append(self._step(delta, {}))
            else:
                return steps

    def last(self) -> Sequence[ChatResponse]:
        """Return the whole answer with its usage, if the turn is complete."""
        turn = self._answer.turn
        if not turn.is_complete:
            return ()
        whole = chat_response(turn, self._answer.session_id)
        whole.delta = ""
        return (whole,)

    def _step(self, delta: str, details: dict[str, object]) -> ChatResponse:
        message = ChatMessage(role=MessageRole.ASSISTANT, content=self._said)
        return ChatResponse(message=message, delta=delta, additional_kwargs=details)
