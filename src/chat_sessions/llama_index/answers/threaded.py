"""A sync answer for async code: each wait is a blocking call in a worker thread."""

from __future__ import annotations

import asyncio

from chat_sessions.llama_index.answers.answer import Answer

__all__ = ["ThreadedAnswer"]


class ThreadedAnswer:
    """An `AsyncReadable` over an answer of `stream_chat`."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.reader_comes = answer.reader_comes
        self.reader_leaves = answer.reader_leaves

    @property
    def is_over(self) -> bool:
        """Whether the answer has ended."""
        return self._answer.is_over

    @property
    def count(self) -> int:
        """The number of updates taken in."""
        return self._answer.count

    @property
    def error(self) -> Exception | None:
        """The error that ended the answer, or None."""
        return self._answer.error

    async def advance(self, count: int) -> None:
        """Take in the next update. See `Answer.advance`."""
        await asyncio.to_thread(self._answer.advance, count)

    async def close(self) -> None:
        """Close the socket and the trace, from this thread: a worker may wait for the next event."""
        self._answer.close()
