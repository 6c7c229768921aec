# Generated from async_turn.py by scripts/generate_sync.py: edit that file, then run `make format`.
"""A turn while it is read: its updates in LangChain's terms, and a run for each tool.

It is read step by step instead of by nested generators, because an event loop closes an abandoned async generator only
at some later time.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Self

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGeneration, LLMResult

from chat_sessions.core.events import Stop, Text, TextDelta, Thinking, ThinkingDelta, UnknownEvent, UserInput
from chat_sessions.core.turn import RunBegan, RunEnded, Turn, Update
from chat_sessions.langchain.content import BlockWriter, MessageForm
from chat_sessions.langchain.input.opening import TurnSource
from chat_sessions.langchain.protocol import ProtocolWriter
from chat_sessions.langchain.runs.contexts import finish
from chat_sessions.langchain.runs.tool_runs import ToolRuns

if TYPE_CHECKING:
    from langchain_protocol.protocol import MessagesData

__all__ = ["LiveTurn"]

_OF_NO_TOOL = frozenset((TextDelta, ThinkingDelta, Text, Thinking, UnknownEvent, UserInput))
_FINALS = (Text, Thinking)


class LiveTurn:
    """One turn. Leaving it, for whatever reason, ends the open tool runs first and then closes the socket.

    `run` is the model's run that the tools are below, None if they are not traced. Per token, only the turn keeps
    anything.
    """

    def __init__(self, stream: TurnSource, run: CallbackManagerForLLMRun | None, form: MessageForm) -> None:
        self._stream = stream
        self._tools = ToolRuns(run)
        self._form = form
        self._held: Update | None = None
        self._blocks = BlockWriter()
        self._protocol = ProtocolWriter(form)
        self._has_plain_tokens = not form.is_v1
        self._chunks = form.chunks()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        finish(partial(self._close, exc or GeneratorExit()))

    def _close(self, error: BaseException) -> None:
        try:
            self._tools.fail(self._stream.end_runs(), error)
        finally:
            self._stream.close()

    @property
    def turn(self) -> Turn:
        """The turn so far."""
        return self._stream.turn

    @property
    def is_complete(self) -> bool:
        """Whether the turn has ended well."""
        return self.turn.is_complete and self.turn.error is None

    @property
    def message(self) -> AIMessage:
        """The turn so far; text that a final corrected is as the final has it."""
        return self._form.message(self.turn, self._stream.session_id)

    @property
    def result(self) -> LLMResult:
        """The turn so far, as callbacks get it; empty if nothing arrived."""
        return LLMResult(generations=[[ChatGeneration(message=self.message)]] if self.turn.events else [])

    def take(self) -> Update | None:
        """Return the next update if it is ready and not about a tool; None if you must call `next`."""
        if self._held is not None:
            return None
        update = self._stream.take()
        if update is None or type(update) in _OF_NO_TOOL:
            return update
        self._held = update
        return None

    def next(self) -> Update | None:
        """Wait for the next update, start or end the tool run that it is about, and return it; None after the stop.

        The first call sends the prompt. Raises what `TurnStream` raises.
        """
        update, self._held = self._held, None
        if update is None:
            update = self._stream.next_update()
        if isinstance(update, RunBegan | RunEnded):
            self._tools.note(update)
        elif isinstance(update, Stop):
            # A reader may stop at the last chunk and ask for nothing more: the session must be free by then.
            self._stream.next_update()
        return update

    def chunk(self, update: Update) -> AIMessageChunk | None:
        """Return what this update adds to the message, the usage with the last chunk; None if it adds nothing."""
        if type(update) is TextDelta and self._has_plain_tokens:
            return self._chunks.cast(content=self._blocks.piece("text", update))
        if isinstance(update, _FINALS):
            return None
        if isinstance(update, Stop):
            return self._form.last_chunk(self.turn, self._stream.session_id, self._blocks)
        block = self._form.shown(self._blocks.block(update))
        return None if block is None else self._chunks.cast(**self._form.piece(block, self._blocks))

    def protocol_events(self, update: Update | None) -> Iterable[MessagesData]:
        """Return what this update adds as content-block protocol events; for None, the message's beginning."""
        if update is None:
            return (self._protocol.start(),)
        if isinstance(update, Stop):
            return self._protocol.end(self.turn, self._stream.session_id)
        return self._protocol.add(update)
