"""Several whole answers, as `generate` gives them: one after the other for a thread, all at once for a task."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from langchain_core.outputs import ChatGeneration, LLMResult, RunInfo

from chat_sessions.langchain.input.call import Answer, Call
from chat_sessions.langchain.runs.async_drivers import async_answer
from chat_sessions.langchain.runs.drivers import answer

__all__ = ["answers", "async_answers"]


def answers(calls: Sequence[Call]) -> LLMResult:
    """Return the answers of these calls. The first that fails ends it."""
    return _result([answer(call) for call in calls])


async def async_answers(calls: Sequence[Call]) -> LLMResult:
    """Return the answers of these calls. The others go on to their end when one fails; each ends its own run."""
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
