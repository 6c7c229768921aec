"""Read a turn as a stream of chunks or as a whole answer, in a run of ours or in one that LangChain manages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import cast

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun
from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from chat_sessions.langchain.input.async_opening import async_open_turn
from chat_sessions.langchain.input.call import Answer, Call
from chat_sessions.langchain.runs.async_run import AsyncModelRun
from chat_sessions.langchain.runs.async_turn import AsyncLiveTurn

__all__ = ["async_answer", "async_answer_within", "async_chunks", "async_chunks_within"]


async def async_chunks(call: Call) -> AsyncIterator[AIMessageChunk]:
    """Yield the answer as it comes. Closing the iterator closes the runs and the socket before it returns."""
    if not call.is_streamed:
        # As LangChain's own models do: without streaming, the single piece is a whole message.
        yield cast("AIMessageChunk", (await async_answer(call)).message)
        return
    async with AsyncModelRun(call) as run:
        turn, has_handlers = run.turn, run.has_handlers
        while (update := turn.take() or await turn.next()) is not None:
            if (chunk := turn.chunk(update)) is not None:
                if has_handlers:
                    await run.tell(chunk)
                yield chunk


async def async_answer(call: Call) -> Answer:
    """Return the whole answer. Handlers of a stream get it piece by piece all the same."""
    async with AsyncModelRun(call) as run:
        turn, has_events = run.turn, run.wants_protocol_events
        has_tokens = not has_events and run.wants_tokens
        for event in turn.protocol_events(None) if has_events else ():
            await run.tell_event(event)
        while (update := turn.take() or await turn.next()) is not None:
            if has_tokens and (chunk := turn.chunk(update)) is not None:
                await run.tell(chunk)
            for event in turn.protocol_events(update) if has_events else ():
                await run.tell_event(event)
    return Answer(run.turn.message, run.id)


async def async_chunks_within(
    call: Call, run: AsyncCallbackManagerForLLMRun | None
) -> AsyncIterator[ChatGenerationChunk]:
    """Yield the answer as it comes, in a run that LangChain starts and ends."""
    async with await _turn_within(call, run) as turn:
        while (update := turn.take() or await turn.next()) is not None:
            if (chunk := turn.chunk(update)) is not None:
                yield ChatGenerationChunk(message=chunk)


async def async_answer_within(call: Call, run: AsyncCallbackManagerForLLMRun | None) -> ChatResult:
    """Return the whole answer, in a run that LangChain starts and ends."""
    async with await _turn_within(call, run) as turn:
        while turn.take() or await turn.next():
            pass
    return ChatResult(generations=[ChatGeneration(message=turn.message)])


async def _turn_within(call: Call, run: AsyncCallbackManagerForLLMRun | None) -> AsyncLiveTurn:
    opening = await async_open_turn(call)
    traced = run if call.model.trace_tools else None
    return AsyncLiveTurn(
        opening.stream, traced, call.form(run.run_id if run else None, is_repeated=opening.is_repeated)
    )
