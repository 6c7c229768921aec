"""Several whole answers, for `generate`: one after the other in sync code, concurrently in async code."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from langchain_core.outputs import ChatGeneration, LLMResult, RunInfo

from chat_sessions.langchain.input.call import Answer, Call
from chat_sessions.langchain.runs.async_drivers import async_answer
from chat_sessions.langchain.runs.drivers import answer

__all__ = ["answers", "async_answers"]


def answers(calls: Sequence[Call]) -> LLMResult:
    """Return the answers of these calls. Stops at the first that fails."""
    return _result([answer(call) for call in calls])


async def async_answers(calls: Sequence[Call]) -> LLMResult:
    """Return the answers of these calls. If one fails, the others still run to their end."""
    results = await asyncio.gather(*(async_answer(call) for call in calls), return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return _result([result for result in results if not isinstance(result, BaseException)])


def _result(found: Sequence[Answer]) -> LLMResult:
    return LLMResult(
        generations=[[ChatGeneration(message=each.message)] for each in found],
        llm_output={},
        run=[RunInfo(run_id=each.run_id) for each in found],
    )
