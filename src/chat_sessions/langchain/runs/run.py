# Generated from async_run.py by scripts/generate_sync.py: edit that file, then run `make format`.
"""One turn as a run of the model, on every entry point: started, reported to handlers, and ended, whatever ends it.

LangChain's own drivers keep every chunk until the end (88 MB for 50,000 tokens), leave the run open when `ainvoke` is
cancelled, close an abandoned async stream at some later time, and hide the run from the producer of a stream, so that
nothing can be traced below it.
"""

from __future__ import annotations

from functools import partial
from types import TracebackType
from typing import Any, Self
from uuid import UUID

from langchain_core.callbacks import CallbackManager, CallbackManagerForLLMRun
from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import LLMResult

from chat_sessions.langchain._compat import wants_protocol_events, wants_tokens
from chat_sessions.langchain.input.call import Call, message_id
from chat_sessions.langchain.input.opening import Opening, open_turn
from chat_sessions.langchain.runs.contexts import acquire, finish, start
from chat_sessions.langchain.runs.tokens import Tokens
from chat_sessions.langchain.runs.turn import LiveTurn

__all__ = ["ModelRun"]


class ModelRun:
    """The run of one call. `turn` is what is read in it; nothing is sent before the first update is asked for.

    `is_v1` makes the answer a list of blocks even if the model's own version is another.
    """

    turn: LiveTurn

    def __init__(self, call: Call, *, is_v1: bool = False) -> None:
        self._call = call
        self._is_v1 = is_v1
        self._opening: Opening
        self._run: CallbackManagerForLLMRun
        self._tokens: Tokens

    def __enter__(self) -> Self:
        try:
            self._open()
        except BaseException:
            self._call.release()
            raise
        return self

    def _open(self) -> None:
        call = self._call
        acquire(call.model.rate_limiter)
        try:
            # Before the run starts, so that it has the session's id from the start.
            self._opening = open_turn(call)
        except Exception as error:
            self._start(None)
            self._run.on_llm_error(error, response=LLMResult(generations=[]))
            raise
        self._start(self._opening.session_id)
        run = self._run if call.model.trace_tools else None
        form = call.form(self._run.run_id, is_v1=self._is_v1, is_repeated=self._opening.is_repeated)
        self.turn = LiveTurn(self._opening.stream, run, form)

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        turn = self.turn
        try:
            turn.__exit__(exc_type, exc, traceback)
        except BaseException as error:
            self._fail(error)
            raise
        if exc is None or (isinstance(exc, GeneratorExit) and turn.is_complete):
            self._opening.note(self._call, self.message_id)
            try:
                self._run.on_llm_end(turn.result)
            except BaseException:
                self._call.release()
                raise
        else:
            self._fail(exc)

    def _start(self, session_id: str | None) -> None:
        call = self._call
        manager = CallbackManager.configure(
            call.config.get("callbacks"),
            call.model.callbacks,
            call.model.verbose,
            call.config.get("tags"),
            call.model.tags,
            call.run_metadata(session_id),
            call.model.metadata,
        )
        started = start(
            partial(
                manager.on_chat_model_start,
                call.serialized() if manager.handlers else {},
                [call.messages],
                **call.run_arguments(session_id),
            ),
            lambda started, error: started[0].on_llm_error(error, response=LLMResult(generations=[])),
        )
        self._run = started[0]
        self._tokens = Tokens(self._run)

    def _fail(self, error: BaseException) -> None:
        self._opening.note(self._call, None)
        finish(partial(self._run.on_llm_error, error, response=self.turn.result))

    @property
    def id(self) -> UUID:
        """The run's id."""
        return self._run.run_id

    @property
    def message_id(self) -> str:
        """The id of the run's message."""
        return message_id(self.id)

    @property
    def has_handlers(self) -> bool:
        """Whether the run has handlers."""
        return bool(self._run.handlers)

    @property
    def wants_protocol_events(self) -> bool:
        """Whether a handler wants protocol events of an answer that is not streamed."""
        return self._call.is_streamed and wants_protocol_events(self._run.handlers)

    @property
    def wants_tokens(self) -> bool:
        """Whether the call, the model or a handler wants the tokens of an answer that is not streamed."""
        return self._call.is_streamed and (self._call.asks_for_tokens or wants_tokens(self._run.handlers))

    def tell(self, chunk: AIMessageChunk) -> None:
        """Give the handlers a token. Raises what a handler with `raise_error` raises."""
        self._tokens.tell(chunk)

    def tell_event(self, event: Any) -> None:
        """Give the handlers a protocol event."""
        self._run.on_stream_event(event)
