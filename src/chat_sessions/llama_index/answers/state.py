"""The state of an answer so far."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import TypeAlias

from llama_index.core.chat_engine.types import AgentChatResponse
from llama_index.core.schema import NodeWithScore
from llama_index.core.tools import ToolOutput

from chat_sessions.core.errors import TurnError, TurnFailed
from chat_sessions.core.events import TextDelta, ThinkingDelta
from chat_sessions.core.turn import RunBegan, RunEnded, TextRest, ThinkingRest, Turn, Update, gap
from chat_sessions.llama_index.agent.report import Report
from chat_sessions.llama_index.messages import agent_response, chat_response
from chat_sessions.llama_index.outputs import NO_RESULT, Outputs, unanswered_output
from chat_sessions.llama_index.traces.turn_trace import TurnTrace
from chat_sessions.session.async_turn_stream import AsyncTurnStream
from chat_sessions.session.stored.async_stored_turn import AsyncStoredTurn
from chat_sessions.session.stored.stored_turn import StoredTurn
from chat_sessions.session.turn_stream import TurnStream

__all__ = ["AnswerState"]


TurnSoFar: TypeAlias = TurnStream | StoredTurn | AsyncTurnStream | AsyncStoredTurn


class AnswerState:
    """State and decisions that the sync and the async answer share.

    `text` are the pieces of the answer as they came, with a `gap` after a tool run; `thinking` those of the
    reasoning, each with the number of text pieces before it. `count` is the number of updates so far; it tells a reader
    whether another one has read further.
    """

    def __init__(self, stream: TurnSoFar, trace: TurnTrace, report: Report | None) -> None:
        self._turn_stream = stream
        self._trace = trace
        self._report = report
        self._outputs = Outputs()
        # A reader may be in one thread and `close` in another; the trace's contexts allow one thread at a time.
        self._guard = threading.RLock()
        self._readers = 0
        self._unanswered: TurnError | None = None
        self._is_followed = trace.is_heard or report is not None
        self._is_plain = not self._is_followed
        self._text_has_gap = self._thinking_has_gap = False
        self.text: list[str] = []
        self.thinking: list[tuple[int, str]] = []
        self.count = 0
        self.is_over = False
        self.error: Exception | None = None

    @property
    def turn(self) -> Turn:
        """The turn so far."""
        return self._turn_stream.turn

    @property
    def session_id(self) -> str | None:
        """Where the turn runs."""
        return self._turn_stream.session_id

    @property
    def sources(self) -> list[ToolOutput]:
        """The outputs of the tools so far; the list grows."""
        return self._outputs.sources

    @property
    def source_nodes(self) -> list[NodeWithScore]:
        """The passages that the tools have cited so far; the list grows."""
        return self._outputs.source_nodes

    @property
    def response(self) -> AgentChatResponse:
        """The answer so far, as `chat` returns it."""
        return agent_response(self.turn, self.session_id, sources=self.sources, source_nodes=self.source_nodes)

    def whole(self) -> AgentChatResponse:
        """Return the answer of a turn that was read to its end. Raises `TurnError` if it was closed before."""
        if not self.turn.is_complete:
            raise self._cut("this answer was closed before its turn ended")
        return self.response

    def abandon(self) -> None:
        """Note that the last reader has left and `close` is about to be called. For a finaliser: takes no lock."""
        self._turn_stream.abandon()

    def reader_comes(self) -> None:
        """Add a reader."""
        with self._guard:
            self._readers += 1

    def reader_leaves(self) -> bool:
        """Remove a reader; return whether to close the answer, because the last reader of an open answer has left."""
        with self._guard:
            self._readers -= 1
            return self._readers == 0 and not self.is_over

    def _take(self, update: Update) -> None:
        """Add what the next event brings, and pass it on."""
        self.count += 1
        if type(update) is TextDelta and self._is_plain:
            # The path of most tokens. If another thread is closing the answer, the piece may or may not be kept.
            self.text.append(update.content)
            return
        with self._guard:
            if self.is_over:
                return
            if isinstance(update, TextRest):
                self._show_text(update.content)
            elif isinstance(update, TextDelta):
                self._take_text(update.content)
            elif isinstance(update, ThinkingRest):
                self._show_thinking(update.content)
            elif isinstance(update, ThinkingDelta):
                self._take_thinking(update.content)
            elif isinstance(update, RunBegan):
                self._note_tool()
                self._trace.run_began(update)
                if self._report is not None:
                    self._report.run_began(update)
            elif isinstance(update, RunEnded):
                self._note_tool()
                self._end_run(update, None if update.event is not None else self._no_result())

    def _note_tool(self) -> None:
        self._text_has_gap = self._thinking_has_gap = True
        self._is_plain = False

    def _take_text(self, piece: str) -> None:
        blank = gap(self.text[-1] if self.text else "", piece) if self._text_has_gap else ""
        self._text_has_gap = False
        self._is_plain = not self._is_followed
        for part in (blank, piece) if blank else (piece,):
            self._show_text(part)

    def _show_text(self, part: str) -> None:
        self.text.append(part)
        if self._trace.is_heard:
            self._trace.text(part)
        if self._report is not None:
            self._report.text(part)

    def _take_thinking(self, piece: str) -> None:
        before = self.thinking[-1][1] if self.thinking else ""
        blank = gap(before, piece) if self._thinking_has_gap else ""
        self._thinking_has_gap = False
        for part in (blank, piece) if blank else (piece,):
            self._show_thinking(part)

    def _show_thinking(self, part: str) -> None:
        self.thinking.append((len(self.text), part))
        if self._report is not None:
            self._report.thinking(part)

    def _no_result(self) -> TurnError:
        """Return the error, shared by all, of runs without a result when the turn stops."""
        if self._unanswered is None:
            failure = self.turn.error
            made = TurnError if failure is None else TurnFailed
            self._unanswered = made(failure or NO_RESULT, turn=self.turn, session_id=self.session_id or "")
        return self._unanswered

    def _end_run(self, ended: RunEnded, error: BaseException | None) -> None:
        """Pass on a run that ended, with this error if it has no result."""
        output = unanswered_output(ended.run) if ended.event is None else self._outputs.add(ended.run)
        try:
            self._trace.run_ended(ended, output, error)
        finally:
            if self._report is not None:
                self._report.run_ended(ended, output)

    def _end(self, error: BaseException | None = None) -> None:
        """End the answer: its stream has ended well, with this error, or because it was closed."""
        with self._guard:
            if self.is_over:
                return
            turn = self.turn
            try:
                if error is None and turn.is_complete and turn.error is None:
                    self._trace.end(self.response, chat_response(turn, self.session_id))
                else:
                    self._fail(error or self._cut("the answer was not read to its end"))
            except BaseException as raised:
                error = raised
                raise
            finally:
                if isinstance(error, Exception):
                    self.error = error
                elif error is not None:
                    # The interrupted reader gets the interruption; the others must not take a part of the
                    # answer for the whole.
                    self.error = self._cut(f"the answer was cut short: its reader got {type(error).__name__}")
                self.is_over = True

    def _fail(self, error: BaseException) -> None:
        for ended in self._last_runs():
            # Show the error that ended the turn, not a later one from a handler.
            with suppress(Exception):
                self._end_run(ended, None if ended.event is not None else error)
        turn = self.turn
        self._trace.fail(error, chat_response(turn, self.session_id) if turn.text else None)

    def _last_runs(self) -> Iterator[RunEnded]:
        """Return the open runs of a turn that was not read to its end."""
        while (update := self._turn_stream.take()) is not None:
            if isinstance(update, RunEnded):
                yield update
        yield from self._turn_stream.end_runs()

    def _cut(self, message: str) -> TurnError:
        return TurnError(message, turn=self.turn, session_id=self.session_id or "")
