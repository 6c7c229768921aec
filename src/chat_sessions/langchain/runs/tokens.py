"""Pass tokens to handlers, which is most of the cost of a token.

Written by hand for both sides: the async side lets the event loop run at each token.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, BaseCallbackHandler, CallbackManagerForLLMRun
from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk

from chat_sessions.langchain._compat import Mold

__all__ = ["AsyncTokens", "Tokens"]

_log = logging.getLogger(__name__)


class _Generations:
    """Makes LangChain's object around a chunk."""

    def __init__(self) -> None:
        self._mold: Mold[ChatGenerationChunk] | None = None

    def of(self, chunk: AIMessageChunk) -> ChatGenerationChunk:
        content = _token(chunk)
        if not isinstance(content, str) or chunk.chunk_position is not None:
            return ChatGenerationChunk(message=chunk)
        if self._mold is None:
            self._mold = Mold(ChatGenerationChunk(message=chunk, text=content))
        return self._mold.cast(message=chunk, text=content)


class Tokens:
    """Gives the handlers of a run each token."""

    def __init__(self, run: CallbackManagerForLLMRun) -> None:
        self._run = run
        self._generations = _Generations()

    def tell(self, chunk: AIMessageChunk) -> None:
        """Call `on_llm_new_token`. Raises what a handler with `raise_error` raises."""
        self._run.on_llm_new_token(_token(chunk), chunk=self._generations.of(chunk))


class AsyncTokens:
    """The async twin of `Tokens`.

    LangChain makes a task for each token and each handler that is not inline. A single handler is awaited instead,
    which takes a third of the time. The event loop always runs once, so that other tasks get their turn even if many
    tokens arrive at once.
    """

    def __init__(self, run: AsyncCallbackManagerForLLMRun) -> None:
        self._run = run
        self._generations = _Generations()
        apart = [handler for handler in run.handlers if not handler.run_inline]
        # A handler that is not async goes through LangChain's thread pool.
        if len(apart) > 1 or not all(inspect.iscoroutinefunction(handler.on_llm_new_token) for handler in apart):
            self._awaited = None
        else:
            inline = [handler for handler in run.handlers if handler.run_inline]
            self._awaited = [handler for handler in (*inline, *apart) if not handler.ignore_llm]

    async def tell(self, chunk: AIMessageChunk) -> None:
        """Call `on_llm_new_token`. Raises what a handler with `raise_error` raises."""
        generation = self._generations.of(chunk)
        if self._awaited is None:
            await self._run.on_llm_new_token(_token(chunk), chunk=generation)
            return
        for handler in self._awaited:
            await self._call(handler, chunk, generation)
        await asyncio.sleep(0)

    async def _call(self, handler: BaseCallbackHandler, chunk: AIMessageChunk, generation: ChatGenerationChunk) -> None:
        run = self._run
        try:
            called: object = handler.on_llm_new_token(
                # The annotation is older than content blocks.
                _token(chunk),  # pyright: ignore[reportArgumentType]
                chunk=generation,
                run_id=run.run_id,
                parent_run_id=run.parent_run_id,
                tags=run.tags,
            )
            if inspect.isawaitable(called):
                await called
        except Exception as error:
            _log.warning("Error in %s.on_llm_new_token callback: %r", type(handler).__name__, error)
            if handler.raise_error:
                raise


def _token(chunk: AIMessageChunk) -> str | list[str | dict[str, Any]]:
    content: str | list[str | dict[str, Any]] = chunk.content
    return content
