"""One reader's place in an answer, for a reader that wants chat responses."""

from __future__ import annotations

from collections.abc import Iterator

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, MessageRole

from chat_sessions.llama_index.answers.state import AnswerState
from chat_sessions.llama_index.messages import chat_response

__all__ = ["ChatCursor"]


class ChatCursor:
    """The answer as chat responses, each with the text so far; thinking is in their `additional_kwargs`."""

    def __init__(self, answer: AnswerState) -> None:
        self._answer = answer
        self._text = 0
        self._thinking = 0
        self._said = ""

    def news(self) -> Iterator[ChatResponse]:
        """Yield a response per piece of text or thinking that has not been seen yet."""
        text, thinking = self._answer.text, self._answer.thinking
        while True:
            if self._thinking < len(thinking) and thinking[self._thinking][0] <= self._text:
                self._thinking += 1
                yield self._step("", {"thinking_delta": thinking[self._thinking - 1][1]})
            elif self._text < len(text):
                delta = text[self._text]
                self._text += 1
                self._said += delta
                yield self._step(delta, {})
            else:
                return

    def last(self) -> ChatResponse | None:
        """Return the whole answer with its usage; None if the turn is not complete."""
        turn = self._answer.turn
        if not turn.is_complete:
            return None
        whole = chat_response(turn, self._answer.session_id)
        whole.delta = ""
        return whole

    def _step(self, delta: str, details: dict[str, object]) -> ChatResponse:
        message = ChatMessage(role=MessageRole.ASSISTANT, content=self._said)
        return ChatResponse(message=message, delta=delta, additional_kwargs=details)
