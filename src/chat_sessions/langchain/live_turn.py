"""A turn while it is read for one run of the model, with a run of its own around each tool.

Leaving it, for whatever reason, ends the open tool runs first and then closes the socket. It is
read step by step, not by generators within generators: an abandoned async generator is closed by
the event loop at some later time.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Generic, Self, TypeVar

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGeneration, LLMResult

from chat_sessions.core.events import Event, Stop
from chat_sessions.core.mold import Mold
from chat_sessions.core.turn import Turn
from chat_sessions.langchain.closing import to_the_end
from chat_sessions.langchain.content import BlockWriter, MessageForm, is_delta
from chat_sessions.langchain.protocol import ProtocolWriter
from chat_sessions.langchain.tool_runs import AsyncToolRuns, ToolRuns
from chat_sessions.session.async_turn_stream import AsyncTurnStream
from chat_sessions.session.turn_stream import TurnStream

if TYPE_CHECKING:
    from langchain_protocol.protocol import MessagesData

__all__ = ["AsyncLiveTurn", "LiveTurn"]


_Stream = TypeVar("_Stream", bound=TurnStream | AsyncTurnStream)


class _LiveTurn(Generic[_Stream]):
    """What both shells make of an event. Nothing is kept per token but what the turn itself keeps."""

    def __init__(self, stream: _Stream, form: MessageForm) -> None:
        self._stream = stream
        self.form = form
        self._blocks = BlockWriter()
        self._protocol = ProtocolWriter(form)
        self._chunks = Mold(form.chunk([] if form.v1 else ""))

    @property
    def turn(self) -> Turn:
        """The turn so far."""
        return self._stream.turn

    @property
    def is_complete(self) -> bool:
        """Whether the turn has ended well: its last chunk was made."""
        return self.turn.is_complete and self.turn.error is None

    def message(self) -> AIMessage:
        """The turn so far as a message; text that a final corrected is as the final has it."""
        return self.form.message(self.turn, self._stream.session_id)

    def generation(self) -> ChatGeneration:
        """The turn so far as callbacks and callers get it."""
        return ChatGeneration(message=self.message())

    def partial_result(self) -> LLMResult:
        """What there is of a turn that did not end well, as callbacks get it."""
        return LLMResult(generations=[[self.generation()]] if self.turn.events else [])

    def chunk(self, event: Event) -> AIMessageChunk | None:
        """What this event adds to the message, the usage with the last chunk; None if it adds nothing."""
        if isinstance(event, Stop):
            return self.form.last_chunk(self.turn, self._stream.session_id)
        block = self._blocks.block(event) if is_delta(event) else None
        return None if block is None else self._chunks.cast(content=self.form.piece(block))

    def protocol_start(self) -> Iterator[MessagesData]:
        """The beginning of the message as content-block protocol events."""
        return self._protocol.start()

    def protocol(self, event: Event) -> Iterator[MessagesData]:
        """What this event adds to the message as content-block protocol events."""
        if isinstance(event, Stop):
            return self._protocol.end(self.turn, self._stream.session_id)
        return self._protocol.add(event)


class LiveTurn(_LiveTurn[TurnStream]):
    """A turn that is read synchronously."""

    def __init__(self, stream: TurnStream, tools: ToolRuns, form: MessageForm) -> None:
        super().__init__(stream, form)
        self._tools = tools

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._tools.fail(exc or GeneratorExit())
        finally:
            self._stream.close()

    def step(self) -> Event | None:
        """The next event, normalised; None after the stop. The first step sends the prompt.

        Raises what `TurnStream` raises.
        """
        event = next(self._stream, None)
        if isinstance(event, Stop):
            # A reader may never ask for what comes after the last chunk: the session must be free by then.
            next(self._stream, None)
        if event is not None:
            self._tools.note(event)
        return event


class AsyncLiveTurn(_LiveTurn[AsyncTurnStream]):
    """The async twin of `LiveTurn`."""

    def __init__(self, stream: AsyncTurnStream, tools: AsyncToolRuns, form: MessageForm) -> None:
        super().__init__(stream, form)
        self._tools = tools

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if exc is None:
            await self._close(GeneratorExit())
        else:
            await to_the_end(self._close(exc))

    async def _close(self, error: BaseException) -> None:
        try:
            await self._tools.fail(error)
        finally:
            await self._stream.close()

    async def step(self) -> Event | None:
        """The next event, normalised; None after the stop. See `LiveTurn.step`."""
        event = await anext(self._stream, None)
        if isinstance(event, Stop):
            await anext(self._stream, None)
        if event is not None:
            await self._tools.note(event)
        return event
