"""One turn on its way into LlamaIndex: the state that every entry point reads from.

`Answer` and `AsyncAnswer` pull one event at a time when a reader asks for more; there is no thread
and no task between the socket and the reader. Several readers may read the same answer: whoever
comes first to the end of what is there reads on for all.
"""

from __future__ import annotations

import asyncio
import threading

from llama_index.core.callbacks import CallbackManager
from llama_index.core.chat_engine.types import AgentChatResponse
from llama_index.core.schema import NodeWithScore
from llama_index.core.tools import ToolOutput

from chat_sessions.core.errors import ConfigurationError, TurnError
from chat_sessions.core.events import Event, TextDelta, ThinkingDelta, ToolCall, ToolResult
from chat_sessions.core.turn import Turn
from chat_sessions.llama_index.messages import agent_response, chat_response
from chat_sessions.llama_index.tools import RunPositions, nodes_of, tool_output
from chat_sessions.llama_index.tracing import TurnTrace
from chat_sessions.session.async_chat_session import AsyncChatSession
from chat_sessions.session.async_turn_stream import AsyncTurnStream
from chat_sessions.session.chat_session import ChatSession
from chat_sessions.session.turn_stream import TurnStream

__all__ = ["Answer", "AsyncAnswer", "start_trace"]


def start_trace(
    instance: object,
    method: str,
    message: str,
    session: ChatSession | AsyncChatSession,
    callback_manager: CallbackManager,
) -> TurnTrace:
    """The trace of a turn that is about to be sent on this session."""
    model: dict[str, object] = {"model": f"{session.client.service}-chat", "provider": session.client.service}
    if session.id is not None:
        model["session_id"] = session.id
    if session.index_ids is not None:
        model["index_ids"] = list(session.index_ids)
    return TurnTrace(instance, method, message, callback_manager, model)


class _AnswerState:
    """What has come of the answer so far.

    `text` are the pieces of the answer as they came; `thinking` those of the reasoning, each with the
    number of text pieces before it; `sources` and `source_nodes` fill while tools answer; `count` is
    the number of events read, so that a reader sees whether another one has read on meanwhile.
    """

    def __init__(self, stream: TurnStream | AsyncTurnStream, trace: TurnTrace) -> None:
        self._stream_state = stream
        self._trace = trace
        self._positions = RunPositions()
        # A reader in one thread and `close` in another; the trace's contexts bear one thread at a time.
        self._guard = threading.RLock()
        self.text: list[str] = []
        self.thinking: list[tuple[int, str]] = []
        self.sources: list[ToolOutput] = []
        self.source_nodes: list[NodeWithScore] = []
        self.count = 0
        self.is_over = False
        self.error: Exception | None = None

    @property
    def turn(self) -> Turn:
        """The turn so far."""
        return self._stream_state.turn

    @property
    def session_id(self) -> str | None:
        """Where the turn runs."""
        return self._stream_state.session_id

    @property
    def response(self) -> AgentChatResponse:
        """The answer so far, as `chat` gives it back."""
        return agent_response(self.turn, self.session_id, sources=self.sources, source_nodes=self.source_nodes)

    def whole(self) -> AgentChatResponse:
        """The answer of a turn that was read to its end. Raises `TurnError` if it was closed before."""
        if not self.turn.is_complete:
            raise self._cut("this answer was closed before its turn ended")
        return self.response

    def abandon(self) -> None:
        """Note that nobody reads on and that `close` is about to be called. For a finaliser: takes no lock."""
        self._stream_state.abandon()

    def _take(self, event: Event) -> None:
        with self._guard:
            if self.is_over:
                return
            if isinstance(event, TextDelta):
                self.text.append(event.content)
                self._trace.text(event.content)
            elif isinstance(event, ThinkingDelta):
                self.thinking.append((len(self.text), event.content))
            elif isinstance(event, ToolCall):
                self._trace.tool_called(self._positions.called(event), event.call_id, event.name, event.arguments)
            elif isinstance(event, ToolResult):
                self._take_result(event)
            self.count += 1

    def _take_result(self, event: ToolResult) -> None:
        position = self._positions.answered(event)
        turn = self.turn
        run = turn.tool_runs[position]
        output = tool_output(run, known=turn.sources)
        self.sources.append(output)
        if run.sources:
            self.source_nodes[:] = nodes_of(turn.sources)
        self._trace.tool_answered(position, run, output)

    def _end(self, error: BaseException | None = None) -> None:
        """The stream has ended: well, with this error, or because it was closed. Closes the trace."""
        with self._guard:
            if self.is_over:
                return
            turn = self.turn
            try:
                if error is None and turn.is_complete and turn.error is None:
                    self._trace.end(
                        self.response,
                        chat_response(turn, self.session_id),
                        unanswered=self._cut("the turn ended before this tool gave a result"),
                    )
                else:
                    self._trace.fail(error or self._cut("the answer was not read to its end"))
            except BaseException as raised:
                error = raised
                raise
            finally:
                if isinstance(error, Exception):
                    self.error = error
                elif error is not None:
                    # The reader who was interrupted gets the interruption; the others must not take
                    # a part of the answer for the whole.
                    self.error = self._cut(f"the answer was cut short: its reader got {type(error).__name__}")
                self.is_over = True

    def _cut(self, message: str) -> TurnError:
        return TurnError(message, turn=self.turn, session_id=self.session_id or "")


class Answer(_AnswerState):
    """An answer that is read by blocking calls."""

    def __init__(self, stream: TurnStream, trace: TurnTrace) -> None:
        super().__init__(stream, trace)
        self._stream = stream
        self._lock = threading.Lock()

    def open(self) -> None:
        """Send the prompt. Raises what `TurnStream.open` raises."""
        try:
            self._stream.open()
        except BaseException as error:
            self._end(error)
            raise

    def advance(self, count: int) -> Event | None:
        """The next event, unless more than `count` are read already. Raises what ends the turn badly."""
        with self._lock:
            if self.is_over or self.count > count:
                return None
            try:
                event = next(self._stream, None)
                if event is not None:
                    self._take(event)
                    return event
            except BaseException as error:
                self._stream.close()
                self._end(error)
                raise
            self._end()
            return None

    def read(self) -> AgentChatResponse:
        """Read to the end; the whole answer. Raises what ends the turn badly."""
        try:
            while not self.is_over:
                self.advance(self.count)
        finally:
            # Ctrl-C may come between two events.
            self.close()
        return self.whole()

    def close(self) -> None:
        """Close the socket and the trace at once, wherever the turn stands. Idempotent."""
        if not self.is_over:
            self._stream.close()
            self._end()


class AsyncAnswer(_AnswerState):
    """An answer that is read by awaiting, in the event loop that opened it."""

    def __init__(self, stream: AsyncTurnStream, trace: TurnTrace) -> None:
        super().__init__(stream, trace)
        self._stream = stream
        # A lock made of two fields: asyncio's own takes three coroutines for each token.
        self._is_reading = False
        self._has_read: asyncio.Event | None = None
        self.loop = asyncio.get_running_loop()

    async def open(self) -> None:
        """Send the prompt. Raises what `AsyncTurnStream.open` raises."""
        try:
            await self._stream.open()
        except BaseException as error:
            self._end(error)
            raise

    async def advance(self, count: int) -> Event | None:
        """The next event, unless more than `count` are read already. Raises what ends the turn badly."""
        if asyncio.get_running_loop() is not self.loop:
            raise ConfigurationError("this answer belongs to another event loop: read it in the loop that asked")
        while self._is_reading:
            self._has_read = self._has_read or asyncio.Event()
            await self._has_read.wait()
        if self.is_over or self.count > count:
            return None
        self._is_reading = True
        try:
            event = await anext(self._stream, None)
            if event is not None:
                self._take(event)
                return event
        except BaseException as error:
            await self._stream.close()
            self._end(error)
            raise
        finally:
            self._is_reading = False
            if self._has_read is not None:
                self._has_read.set()
                self._has_read = None
        self._end()
        return None

    async def read(self) -> AgentChatResponse:
        """Read to the end; the whole answer. Raises what ends the turn badly."""
        try:
            while not self.is_over:
                await self.advance(self.count)
        finally:
            await self.close()
        return self.whole()

    async def close(self) -> None:
        """Close the socket and the trace at once, wherever the turn stands. Idempotent."""
        if not self.is_over:
            try:
                await self._stream.close()
            finally:
                self._end()
