"""The answer of one turn, pulled from the socket by its readers.

No thread or task is in between. Several readers may read the same answer: the first to reach the end of what has
arrived reads the next event for all.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Self

from llama_index.core.base.llms.types import ChatResponse
from llama_index.core.chat_engine.types import AgentChatResponse

from chat_sessions.llama_index.agent.report import Report
from chat_sessions.llama_index.answers.chat_cursor import ChatCursor
from chat_sessions.llama_index.answers.gates import AsyncGate, async_give_way
from chat_sessions.llama_index.answers.state import AnswerState
from chat_sessions.llama_index.traces.turn_trace import TurnTrace
from chat_sessions.session.async_chat_session import AsyncChatSession
from chat_sessions.session.async_turn_stream import AsyncTurnStream
from chat_sessions.session.stored.async_stored_turn import AsyncStoredTurn

__all__ = ["AsyncAnswer", "async_chat_responses", "async_pieces"]


class AsyncAnswer(AnswerState):
    """An answer as it arrives."""

    def __init__(
        self, stream: AsyncTurnStream | AsyncStoredTurn, trace: TurnTrace, report: Report | None = None
    ) -> None:
        super().__init__(stream, trace, report)
        self._stream = stream
        self.gate = AsyncGate()

    @classmethod
    async def prepare(
        cls,
        session: AsyncChatSession,
        prompt: str,
        trace: Callable[[], TurnTrace],
        report: Report | None = None,
        *,
        images: Sequence[str] = (),
        wait_if_busy: bool | float | None = None,
    ) -> Self:
        """Return an answer whose session exists and whose prompt is not sent yet.

        `trace` begins the turn's trace once the session exists, so that its id is on every span. Raises
        `ConfigurationError` for a prompt that the service would refuse, and `APIError`.
        """
        stream = session.stream(prompt, images=images, wait_if_busy=wait_if_busy)
        try:
            await session.create()
        except BaseException as error:
            trace().fail(error)
            raise
        return cls(stream, trace(), report)

    def reader_comes(self) -> None:
        """Add a reader. Raises `ConfigurationError` for one that cannot read this answer."""
        if not self.is_over:
            self.gate.check()
        super().reader_comes()

    async def send(self) -> None:
        """Send the prompt. Raises what `AsyncTurnStream.open` raises."""
        try:
            await self._stream.open()
        except BaseException as error:
            self._end(error)
            raise

    async def advance(self, count: int) -> None:
        """Read the next update, unless there are more than `count` already. Raises the error that ends the turn."""
        if not self.gate.enter():
            await self.gate.wait()
            return
        try:
            if self.is_over or self.count > count:
                return
            update = self._stream.take() or await self._stream.next_update()
            if update is None:
                self._end()
                return
            self._take(update)
            if self._is_followed:
                await async_give_way()
        except BaseException as error:
            await self._stream.close()
            self._end(error)
            raise
        finally:
            self.gate.leave()

    async def read(self) -> AgentChatResponse:
        """Read to the end; return the whole answer. Raises the error that ends the turn."""
        try:
            while not self.is_over:
                await self.advance(self.count)
        finally:
            # Ctrl-C or a cancellation may come between two events.
            await self.close()
        return self.whole()

    async def close(self) -> None:
        """Close the socket and the trace at once, wherever the turn is. Idempotent."""
        if not self.is_over:
            try:
                await self._stream.close()
            finally:
                self._end()


async def async_pieces(
    answer: AnswerState,
    advance: Callable[[int], Awaitable[None]],
    close: Callable[[], Awaitable[None]],
    owner: object,  # noqa: ARG001
) -> AsyncGenerator[str]:
    """Yield the answer's text from its start; an error comes after the pieces that came before it.

    `advance` and `close` are the answer's own, or wrap them. The last reader to leave closes the answer; until then,
    the response that the reader got this from, `owner`, is kept alive. It is all one generator: an event loop that ends
    closes its async generators all at once, and one within another would be closed while it is closing.
    """
    seen, text = 0, answer.text
    answer.reader_comes()
    try:
        while True:
            is_over, count = answer.is_over, answer.count
            while seen < len(text):
                seen += 1
                yield text[seen - 1]
            if is_over:
                break
            await advance(count)
    finally:
        if answer.reader_leaves():
            await close()
    if answer.error is not None:
        raise answer.error


async def async_chat_responses(
    answer: AnswerState,
    advance: Callable[[int], Awaitable[None]],
    close: Callable[[], Awaitable[None]],
    owner: object,  # noqa: ARG001
) -> AsyncGenerator[ChatResponse]:
    """Yield the answer as chat responses. See `async_pieces`."""
    cursor = ChatCursor(answer)
    answer.reader_comes()
    try:
        while True:
            is_over, count = answer.is_over, answer.count
            for response in cursor.news():
                yield response
            if is_over:
                break
            await advance(count)
    finally:
        if answer.reader_leaves():
            await close()
    if (last := cursor.last()) is not None:
        yield last
    if answer.error is not None:
        raise answer.error
