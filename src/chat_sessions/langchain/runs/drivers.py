# Generated from async_drivers.py by scripts/generate_sync.py: edit that file, then run `make format`.
"""Read a turn as a stream of chunks or as a whole answer, in a run of ours or in one that LangChain manages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from chat_sessions.langchain.input.call import Answer, Call
from chat_sessions.langchain.input.opening import open_turn
from chat_sessions.langchain.runs.run import ModelRun
from chat_sessions.langchain.runs.turn import LiveTurn

__all__ = ["answer", "answer_within", "chunks", "chunks_within"]


def chunks(call: Call) -> Iterator[AIMessageChunk]:
    """Yield the answer as it comes. Closing the iterator closes the runs and the socket before it returns."""
    if not call.is_streamed:
        # As LangChain's own models do: without streaming, the single piece is a whole message.
        yield cast("AIMessageChunk", (answer(call)).message)
        return
    with ModelRun(call) as run:
        turn, has_handlers = run.turn, run.has_handlers
        while (update := turn.take() or turn.next()) is not None:
            if (chunk := turn.chunk(update)) is not None:
                if has_handlers:
                    run.tell(chunk)
                yield chunk


def answer(call: Call) -> Answer:
    """Return the whole answer. Handlers of a stream get it piece by piece all the same."""
    with ModelRun(call) as run:
        turn, has_events = run.turn, run.wants_protocol_events
        has_tokens = not has_events and run.wants_tokens
        for event in turn.protocol_events(None) if has_events else ():
            run.tell_event(event)
        while (update := turn.take() or turn.next()) is not None:
            if has_tokens and (chunk := turn.chunk(update)) is not None:
                run.tell(chunk)
            for event in turn.protocol_events(update) if has_events else ():
                run.tell_event(event)
    return Answer(run.turn.message, run.id)


def chunks_within(call: Call, run: CallbackManagerForLLMRun | None) -> Iterator[ChatGenerationChunk]:
    """Yield the answer as it comes, in a run that LangChain starts and ends."""
    with _turn_within(call, run) as turn:
        while (update := turn.take() or turn.next()) is not None:
            if (chunk := turn.chunk(update)) is not None:
                yield ChatGenerationChunk(message=chunk)


def answer_within(call: Call, run: CallbackManagerForLLMRun | None) -> ChatResult:
    """Return the whole answer, in a run that LangChain starts and ends."""
    with _turn_within(call, run) as turn:
        while turn.take() or turn.next():
            pass
    return ChatResult(generations=[ChatGeneration(message=turn.message)])


def _turn_within(call: Call, run: CallbackManagerForLLMRun | None) -> LiveTurn:
    opening = open_turn(call)
    traced = run if call.model.trace_tools else None
    return LiveTurn(opening.stream, traced, call.form(run.run_id if run else None, is_repeated=opening.is_repeated))
