"""The streaming response: LlamaIndex's own class, read straight from the turn.

The stock class fills a queue from a thread or a task and polls it. This one has neither: a reader pulls events from
the socket when it asks for the next token. So you see the end of the stream when it happens, an error comes after the
tokens before it, leaving the loop closes the socket, and an answer can be read again, by several readers, from sync or
async code.
"""

from __future__ import annotations

import _thread
import asyncio
import sys
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable
from contextlib import suppress
from types import TracebackType
from typing import Self, TypeVar

from llama_index.core.base.llms.types import ChatResponse
from llama_index.core.chat_engine.types import AgentChatResponse, StreamingAgentChatResponse

from chat_sessions.core.errors import ConfigurationError
from chat_sessions.core.turn import Turn
from chat_sessions.llama_index.answers.answer import Answer, chat_responses, pieces
from chat_sessions.llama_index.answers.async_answer import AsyncAnswer, async_chat_responses, async_pieces
from chat_sessions.llama_index.answers.chat_cursor import ChatCursor
from chat_sessions.llama_index.messages import answer_text, response_metadata

__all__ = ["StreamingSessionResponse"]

_Item = TypeVar("_Item")


class StreamingSessionResponse(StreamingAgentChatResponse):
    """An answer as it arrives; `stream_chat` and `astream_chat` return it once the service has the prompt.

    Use it with `with` (or `async with`) to be sure that the socket is closed when you leave. Leaving the loop over
    `response_gen` early closes it too, unless another reader still reads.

    - `response_gen` and `async_response_gen()` yield the answer's text as it was streamed, each time from the start.
      Pieces that have a tool run between them are kept apart by a blank line. An error is raised after the tokens
      that came before it; after `close()` they end with what is there. Code that awaits may read what `stream_chat`
      returned; code that does not cannot read what `astream_chat` returned before it is complete, and gets an
      error at once.
    - `chat_stream` and `achat_stream` yield the same as `ChatResponse` objects, thinking included.
    - `str(response)` is the text so far; when the turn has ended, the whole text without white space around it,
      which is then `response.response` too.
    - `sources` and `source_nodes` fill while tools answer. `metadata` has `session_id, usage, thinking,
      skipped_index_ids`; `turn` is the turn so far.
    - `is_done` is true once the turn is over, and `exception` then holds what ended it badly, or None.
    """

    def __init__(self, answer: Answer | AsyncAnswer) -> None:
        # First, because the base class sets attributes that are properties here.
        self._answer = answer
        self._edited: str | None = None
        self._drain_thread: threading.Thread | None = None
        self._drain_task: asyncio.Task[AgentChatResponse] | None = None
        is_async = isinstance(answer, AsyncAnswer)
        super().__init__(  # pyright: ignore[reportUnknownMemberType] - the stock class has queues of anything
            sources=answer.sources,
            source_nodes=answer.source_nodes,
            is_function=False,
            is_writing_to_memory=False,
            aqueue=asyncio.Queue() if is_async else None,
            new_item_event=_set_event() if is_async else None,
            is_function_false_event=_set_event() if is_async else None,
        )
        # Stock code waits for this to learn whether the answer is a function call. It never is.
        self.is_function_not_none_thread_event.set()

    # The dataclass's own repr would touch every field, and some of them start to read.
    def __repr__(self) -> str:
        return f"StreamingSessionResponse(session_id={self._answer.session_id!r}, is_done={self.is_done})"

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def __str__(self) -> str:
        return self.response if self.is_done else "".join(self._answer.text)

    @property
    def turn(self) -> Turn:
        """The turn so far, with its tool runs, thinking and usage."""
        return self._answer.turn

    @property
    def session_id(self) -> str | None:
        """The session that answers."""
        return self._answer.session_id

    @property
    def metadata(self) -> dict[str, object]:
        """`session_id, usage, thinking, skipped_index_ids`; usage is None before the end."""
        return response_metadata(self._answer.turn, self._answer.session_id)

    @property
    def is_done(self) -> bool:
        """Whether the turn is over, however it ended."""
        return self._answer.is_over

    @is_done.setter
    def is_done(self, value: object) -> None:
        """Ignore what stock code sets."""

    @property
    def exception(self) -> Exception | None:
        """The error that ended the turn, or None."""
        return self._answer.error

    @exception.setter
    def exception(self, value: object) -> None:  # pyright: ignore[reportIncompatibleVariableOverride] - the answer knows
        """Ignore what stock code sets."""

    @property
    def response(self) -> str:
        """The whole text, stripped, once the turn is over; "" before that, unless you set it."""
        if self._edited is None and self.is_done:
            self._edited = answer_text(self._answer.turn)
        return self._edited or ""

    @response.setter
    def response(self, value: str) -> None:  # pyright: ignore[reportIncompatibleVariableOverride] - made when asked for
        self._edited = value or None

    @property
    def unformatted_response(self) -> str:
        """The text as it was streamed so far."""
        return "".join(self._answer.text)

    @unformatted_response.setter
    def unformatted_response(self, value: object) -> None:  # pyright: ignore[reportIncompatibleVariableOverride] - as above
        """Ignore what stock code sets."""

    @property
    def response_gen(self) -> Generator[str, None, None]:
        """The answer's text, piece by piece, from the start.

        Raises `ConfigurationError` for an answer of `astream_chat` that is not complete: waiting for it would stop
        the event loop that has to bring it.
        """
        self._require_sync("response_gen", "async_response_gen()")
        return self._pieces()

    def _pieces(self) -> Generator[str, None, None]:
        answer = self._answer
        if isinstance(answer, Answer):
            return pieces(answer, answer.advance, answer.close, self)
        return self._replay(answer.text)

    def _replay(self, items: Iterable[_Item]) -> Generator[_Item, None, None]:
        """Yield the text of a complete async answer, which needs no waiting."""
        yield from items
        if self._answer.error is not None:
            raise self._answer.error

    def async_response_gen(self) -> AsyncGenerator[str, None]:
        """Yield the answer's text, piece by piece, from the start.

        An answer of `stream_chat` is read by blocking calls in a worker thread.
        """
        return async_pieces(self._answer, *self._async_methods, self)

    @property
    def _async_methods(self) -> tuple[Callable[[int], Awaitable[None]], Callable[[], Awaitable[None]]]:
        """The answer's `advance` and `close` for code that awaits."""
        answer = self._answer
        if isinstance(answer, AsyncAnswer):
            return answer.advance, answer.close

        async def advance(count: int) -> None:
            await asyncio.to_thread(answer.advance, count)

        # `aclose` closes from this thread: a worker thread may be waiting for the next event.
        return advance, self.aclose

    @property
    def chat_stream(self) -> Generator[ChatResponse, None, None] | None:
        """The answer as chat responses; None for one of `astream_chat` that is not complete."""
        answer = self._answer
        if isinstance(answer, Answer):
            return chat_responses(answer, answer.advance, answer.close, self)
        if not answer.is_over:
            return None
        cursor = ChatCursor(answer)
        last = cursor.last()
        return self._replay([*cursor.news(), *([] if last is None else [last])])

    @chat_stream.setter
    def chat_stream(self, value: object) -> None:  # pyright: ignore[reportIncompatibleVariableOverride] - made when asked for
        """Ignore what the base class sets: there is only one stream."""

    @property
    def achat_stream(self) -> AsyncGenerator[ChatResponse, None] | None:
        """The answer as chat responses, for code that awaits."""
        return async_chat_responses(self._answer, *self._async_methods, self)

    @achat_stream.setter
    def achat_stream(self, value: object) -> None:  # pyright: ignore[reportIncompatibleVariableOverride] - made when asked for
        """Ignore what the base class sets: there is only one stream."""

    def _require_sync(self, asked: str, instead: str) -> None:
        if isinstance(self._answer, AsyncAnswer) and not self._answer.is_over:
            raise ConfigurationError(
                f"{asked} would block the event loop that this answer comes through, and never return: "
                f"astream_chat() made it, so read it with {instead}, or ask with stream_chat()"
            )

    @property
    def write_response_to_history_thread(self) -> threading.Thread | None:
        """A thread that reads the answer to its end, begun when it is asked for; None after `astream_chat`.

        The session itself keeps the history: nothing has to be written.
        """
        if self._drain_thread is None and isinstance(self._answer, Answer):
            self._drain_thread = threading.Thread(target=self._drain_quietly, daemon=True)
            self._drain_thread.start()
        return self._drain_thread

    @write_response_to_history_thread.setter
    def write_response_to_history_thread(self, value: object) -> None:  # pyright: ignore[reportIncompatibleVariableOverride] - made when asked for
        """Ignore what the base class sets."""

    @property
    def awrite_response_to_history_task(self) -> asyncio.Task[AgentChatResponse] | None:
        """A task that reads the answer to its end, begun when it is asked for; None after `stream_chat`."""
        if self._drain_task is None and isinstance(self._answer, AsyncAnswer):
            with suppress(RuntimeError):
                loop = asyncio.get_running_loop()
                self._drain_task = loop.create_task(self.adrain())
                # Readers of the answer get its error; the task itself need not be awaited.
                self._drain_task.add_done_callback(lambda task: task.cancelled() or task.exception())
        return self._drain_task

    @awrite_response_to_history_task.setter
    def awrite_response_to_history_task(self, value: object) -> None:  # pyright: ignore[reportIncompatibleVariableOverride] - made when asked for
        """Ignore what the base class sets."""

    def drain(self) -> AgentChatResponse:
        """Read to the end; return the whole answer. Raises the error that ended the turn."""
        self._require_sync("drain()", "adrain()")
        for _ in self._pieces():
            pass
        return self._answer.whole()

    async def adrain(self) -> AgentChatResponse:
        """Read to the end; return the whole answer. Raises the error that ended the turn."""
        async for _ in self.async_response_gen():
            pass
        return self._answer.whole()

    def _drain_quietly(self) -> None:
        # The error is kept in `exception` and raised to readers.
        with suppress(Exception):
            self.drain()

    def close(self) -> None:
        """Close the socket and end the trace, wherever the turn is. Idempotent.

        The service may finish the turn; the session shows it then.
        """
        self._require_sync("close()", "aclose()")
        if isinstance(self._answer, Answer):
            self._answer.close()

    async def aclose(self) -> None:
        """Close the socket and end the trace, wherever the turn is. Idempotent."""
        if isinstance(self._answer, Answer):
            self._answer.close()
        else:
            await self._answer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        """Arrange for a dropped answer to be closed later.

        The garbage collector may run at any line, even while the connection pool's lock or a tracer's is held: closing
        here could wait for that lock forever.
        """
        answer: Answer | AsyncAnswer | None = getattr(self, "_answer", None)
        if answer is None or answer.is_over or sys.is_finalizing():
            return
        # The next turn may be requested at once; it waits until this one is closed.
        answer.abandon()
        # The event loop is closed or the interpreter is exiting: the socket closes with it.
        with suppress(RuntimeError):
            if isinstance(answer, Answer):
                _thread.start_new_thread(answer.close, ())
            else:
                loop = answer.gate.loop
                loop.call_soon_threadsafe(lambda: loop.create_task(answer.close()))


def _set_event() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event
