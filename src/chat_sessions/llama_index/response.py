"""The streaming response: LlamaIndex's own class, read straight from the turn.

The stock class fills a queue from a thread or a task and polls it. This one has neither: a reader
pulls events from the socket when it asks for the next token. So the end of the stream is seen when
it happens, an error comes after the tokens that came before it, leaving the loop closes the socket,
and an answer can be read again, by several readers, and from code of the other kind.
"""

from __future__ import annotations

import _thread
import asyncio
import sys
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterator
from contextlib import aclosing, asynccontextmanager, closing, suppress
from types import TracebackType
from typing import Self

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, MessageRole
from llama_index.core.chat_engine.types import AgentChatResponse, StreamingAgentChatResponse

from chat_sessions.core.errors import ConfigurationError
from chat_sessions.core.turn import Turn
from chat_sessions.llama_index.answer import Answer, AsyncAnswer
from chat_sessions.llama_index.messages import chat_response, response_metadata

__all__ = ["StreamingSessionResponse"]


class StreamingSessionResponse(StreamingAgentChatResponse):
    """An answer as it comes; `stream_chat` and `astream_chat` give it back once the service has the prompt.

    Use it with `with` (or `async with`) to be sure that the socket is closed when you leave. Leaving
    the loop over `response_gen` early closes it too, unless another reader still reads.

    - `response_gen` and `async_response_gen()` give the answer's text as it was streamed, each time
      from the start. An error is raised after the tokens that came before it; after `close()` they
      end with what is there. Code that awaits may read what `stream_chat` gave; code that does not
      cannot read what `astream_chat` gave before it is complete, and is told so at once.
    - `chat_stream` and `achat_stream` give the same as `ChatResponse` objects, thinking included.
    - `str(response)` is the text so far; when the turn has ended, the whole text without white space
      around it, which is then `response.response` too.
    - `sources` and `source_nodes` fill while tools answer. `metadata` has `session_id, usage,
      thinking, skipped_index_ids`; `turn` is the turn so far.
    - `is_done` is true once the turn is over, and `exception` then holds what ended it badly, or None.
    """

    def __init__(self, answer: Answer | AsyncAnswer) -> None:
        # First, as the setters of lazily made attributes are called by the base class.
        self._answer = answer
        self._readers = 0
        self._readers_lock = threading.Lock()
        self._drain_thread: threading.Thread | None = None
        self._drain_task: asyncio.Task[AgentChatResponse] | None = None
        super().__init__(  # pyright: ignore[reportUnknownMemberType] - the stock class has queues of anything
            sources=answer.sources,
            source_nodes=answer.source_nodes,
            is_function=False,
            is_writing_to_memory=False,
        )
        self.is_done = False
        # Those who wait for these want to know whether the answer is a function call. It never is.
        self.is_function_not_none_thread_event.set()
        if isinstance(answer, AsyncAnswer):
            self._ensure_async_setup()
            for event in (self.is_function_false_event, self.new_item_event):
                if event is not None:
                    event.set()

    # The dataclass's own would touch every field, and some of them begin to read when they are asked for.
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
    def response_gen(self) -> Generator[str, None, None]:
        """The answer's text, piece by piece, from the start.

        Raises `ConfigurationError` for an answer of `astream_chat` that is not complete: waiting for it
        would stop the event loop that has to bring it.
        """
        self._require_sync("response_gen", "async_response_gen()")
        return self._pieces()

    async def async_response_gen(self) -> AsyncGenerator[str, None]:
        """The answer's text, piece by piece, from the start.

        An answer of `stream_chat` is read by blocking calls in a worker thread.
        """
        answer, text = self._answer, self._answer.text
        seen = 0
        # The loop of `_async_news`, without a generator more for each token.
        async with self._async_reader() as read_on:
            is_over = False
            while not is_over:
                is_over, count = answer.is_over, answer.count
                while seen < len(text):
                    seen += 1
                    yield text[seen - 1]
                if not is_over:
                    await read_on(count)

    def _pieces(self) -> Generator[str, None, None]:
        text = self._answer.text
        seen = 0
        with closing(self._news()) as news:
            for _ in news:
                while seen < len(text):
                    seen += 1
                    yield text[seen - 1]

    def _news(self) -> Generator[None, None, None]:
        """Come back whenever there may be something new, and a last time at the end."""
        answer = self._sync_answer()
        if answer is None:
            yield
            self._raise_error()
            return
        is_over = False
        self._enter()
        try:
            while not is_over:
                is_over, count = answer.is_over, answer.count
                yield
                if not is_over:
                    answer.advance(count)
        finally:
            if self._leave() and not answer.is_over:
                answer.close()
            self._settle()
        self._raise_error()

    async def _async_news(self) -> AsyncGenerator[None, None]:
        answer = self._answer
        async with self._async_reader() as read_on:
            is_over = False
            while not is_over:
                is_over, count = answer.is_over, answer.count
                yield
                if not is_over:
                    await read_on(count)

    @asynccontextmanager
    async def _async_reader(self) -> AsyncGenerator[Callable[[int], Awaitable[object]], None]:
        """A reader while it reads; what it gets reads on, if not more than so many events were read meanwhile."""
        answer = self._answer
        read_on: Callable[[int], Awaitable[object]]
        if isinstance(answer, Answer):
            blocking = answer.advance
            read_on = lambda count: asyncio.to_thread(blocking, count)  # noqa: E731
        else:
            read_on = answer.advance
        self._enter()
        try:
            yield read_on
        finally:
            if self._leave() and not answer.is_over:
                await self._aclose_answer()
            self._settle()
        self._raise_error()

    def _enter(self) -> None:
        with self._readers_lock:
            self._readers += 1

    def _leave(self) -> bool:
        """Whether the reader that leaves was the last."""
        with self._readers_lock:
            self._readers -= 1
            return self._readers == 0

    def _settle(self) -> None:
        """Fill the fields of the stock class once the turn is over."""
        if not self._answer.is_over or self.is_done:
            return
        self.unformatted_response = "".join(self._answer.text)
        # What was shown may differ from the text that the service keeps, which is the one to be stored.
        self.response = self._answer.turn.text.strip()
        self.exception = self._answer.error
        self.is_done = True

    def _raise_error(self) -> None:
        if self._answer.error is not None:
            raise self._answer.error

    def _sync_answer(self) -> Answer | None:
        """The answer if blocking code may read on; None if there is nothing to read any more."""
        if isinstance(self._answer, Answer):
            return self._answer
        return None

    def _require_sync(self, asked: str, instead: str) -> None:
        if isinstance(self._answer, AsyncAnswer) and not self._answer.is_over:
            raise ConfigurationError(
                f"{asked} would block the event loop that this answer comes through, for ever: astream_chat() made it, "
                f"so read it with {instead}, or ask with stream_chat()"
            )

    @property
    def chat_stream(self) -> Generator[ChatResponse, None, None] | None:
        """The answer as chat responses; None for one of `astream_chat` that is not complete."""
        if self._sync_answer() is None and not self._answer.is_over:
            return None
        return self._chat_responses()

    @chat_stream.setter
    def chat_stream(self, value: object) -> None:  # pyright: ignore[reportIncompatibleVariableOverride] - made when asked for
        """Ignore what the base class sets: there is only one stream."""

    @property
    def achat_stream(self) -> AsyncGenerator[ChatResponse, None] | None:
        """The answer as chat responses, for code that awaits."""
        return self._async_chat_responses()

    @achat_stream.setter
    def achat_stream(self, value: object) -> None:  # pyright: ignore[reportIncompatibleVariableOverride] - made when asked for
        """Ignore what the base class sets: there is only one stream."""

    def _chat_responses(self) -> Generator[ChatResponse, None, None]:
        steps = _ChatSteps(self._answer)
        with closing(self._news()) as news:
            for _ in news:
                yield from steps.news()
        yield from steps.last()

    async def _async_chat_responses(self) -> AsyncGenerator[ChatResponse, None]:
        steps = _ChatSteps(self._answer)
        async with aclosing(self._async_news()) as news:
            async for _ in news:
                for step in steps.news():
                    yield step
        for step in steps.last():
            yield step

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
                # Whoever reads the answer gets its error; nobody has to await this task too.
                self._drain_task.add_done_callback(lambda task: task.cancelled() or task.exception())
        return self._drain_task

    @awrite_response_to_history_task.setter
    def awrite_response_to_history_task(self, value: object) -> None:  # pyright: ignore[reportIncompatibleVariableOverride] - made when asked for
        """Ignore what the base class sets."""

    def drain(self) -> AgentChatResponse:
        """Read to the end; the whole answer. Raises what ended the turn badly."""
        self._require_sync("drain()", "adrain()")
        for _ in self._news():
            pass
        return self._answer.whole()

    async def adrain(self) -> AgentChatResponse:
        """Read to the end; the whole answer. Raises what ended the turn badly."""
        async for _ in self._async_news():
            pass
        return self._answer.whole()

    def _drain_quietly(self) -> None:
        # The error is kept in `exception`, and raised to whoever reads.
        with suppress(Exception):
            self.drain()

    def close(self) -> None:
        """Close the socket and end the trace, wherever the turn stands. Idempotent.

        The service may finish the turn; the session shows it then.
        """
        self._require_sync("close()", "aclose()")
        answer = self._sync_answer()
        if answer is not None:
            answer.close()
        self._settle()

    async def aclose(self) -> None:
        """Close the socket and end the trace, wherever the turn stands. Idempotent."""
        await self._aclose_answer()
        self._settle()

    async def _aclose_answer(self) -> None:
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
        """Have a forgotten answer closed, elsewhere.

        The collector may run at any line, one that holds the connection pool's lock or a tracer's
        included: to close here could wait for that lock for ever.
        """
        answer: Answer | AsyncAnswer | None = getattr(self, "_answer", None)
        if answer is None or answer.is_over or sys.is_finalizing():
            return
        # Who drops an answer may ask for the next one at once, and is to wait for the closing of this one.
        answer.abandon()
        # No loop, or an interpreter at its end: the socket goes with it.
        with suppress(RuntimeError):
            if isinstance(answer, Answer):
                _thread.start_new_thread(answer.close, ())
            else:
                loop = answer.loop
                loop.call_soon_threadsafe(lambda: loop.create_task(answer.close()))


class _ChatSteps:
    """One reader's way through an answer, as chat responses with the text so far."""

    def __init__(self, answer: Answer | AsyncAnswer) -> None:
        self._answer = answer
        self._text = 0
        self._thinking = 0
        self._said = ""

    def news(self) -> Iterator[ChatResponse]:
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

    def last(self) -> Iterator[ChatResponse]:
        """The whole answer with its usage, if the turn is complete."""
        turn = self._answer.turn
        if turn.is_complete:
            whole = chat_response(turn, self._answer.session_id)
            whole.delta = ""
            yield whole

    def _step(self, delta: str, details: dict[str, object]) -> ChatResponse:
        message = ChatMessage(role=MessageRole.ASSISTANT, content=self._said)
        return ChatResponse(message=message, delta=delta, additional_kwargs=details)
