"""How LangChain's handlers are told of a token.

They are told of every token of an answer, so what that costs is most of what a token costs. Async
handlers are called as LangChain calls them, but without a task where there is nothing to run beside it.
"""

from __future__ import annotations

import inspect
import logging
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, BaseCallbackHandler, CallbackManagerForLLMRun
from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk

from chat_sessions.core.mold import Mold

__all__ = ["AsyncTokenTeller", "TokenTeller"]

# Where LangChain itself says that a handler failed.
_log = logging.getLogger("langchain_core.callbacks.manager")


class _Teller:
    def __init__(self) -> None:
        self._mold: Mold[ChatGenerationChunk] | None = None

    def _generation(self, chunk: AIMessageChunk) -> ChatGenerationChunk:
        content: object = chunk.content
        if not isinstance(content, str) or chunk.chunk_position is not None:
            return ChatGenerationChunk(message=chunk)
        if self._mold is None:
            self._mold = Mold(ChatGenerationChunk(message=chunk))
        return self._mold.cast(message=chunk, text=content)


class TokenTeller(_Teller):
    """Tells the handlers of a run of each token."""

    def __init__(self, run: CallbackManagerForLLMRun) -> None:
        super().__init__()
        self._run = run

    def tell(self, chunk: AIMessageChunk) -> None:
        """Call `on_llm_new_token`. Raises what a handler with `raise_error` raises."""
        if self._run.handlers:
            self._run.on_llm_new_token(_token(chunk), chunk=self._generation(chunk))


class AsyncTokenTeller(_Teller):
    """The async twin of `TokenTeller`."""

    def __init__(self, run: AsyncCallbackManagerForLLMRun) -> None:
        super().__init__()
        self._run = run
        apart = [handler for handler in run.handlers if not handler.run_inline]
        inline = [handler for handler in run.handlers if handler.run_inline]
        # LangChain gathers those that are not inline in tasks, which one alone does not need, and calls
        # what is not async in a thread pool, which is its business.
        is_simple = not apart or (len(apart) == 1 and inspect.iscoroutinefunction(apart[0].on_llm_new_token))
        self._direct = [*inline, *apart] if is_simple else None

    async def tell(self, chunk: AIMessageChunk) -> None:
        """Call `on_llm_new_token`. Raises what a handler with `raise_error` raises."""
        if not self._run.handlers:
            return
        generation = self._generation(chunk)
        if self._direct is None:
            await self._run.on_llm_new_token(_token(chunk), chunk=generation)
            return
        for handler in self._direct:
            if not handler.ignore_llm:
                await self._call(handler, chunk, generation)

    async def _call(self, handler: BaseCallbackHandler, chunk: AIMessageChunk, generation: ChatGenerationChunk) -> None:
        run = self._run
        try:
            told: object = handler.on_llm_new_token(
                # The annotation is older than content blocks.
                _token(chunk),  # pyright: ignore[reportArgumentType]
                chunk=generation,
                run_id=run.run_id,
                parent_run_id=run.parent_run_id,
                tags=run.tags,
            )
            if inspect.isawaitable(told):
                await told
        except Exception as error:
            _log.warning("Error in %s.on_llm_new_token callback: %r", type(handler).__name__, error)
            if handler.raise_error:
                raise


def _token(chunk: AIMessageChunk) -> str | list[str | dict[str, Any]]:
    content: str | list[str | dict[str, Any]] = chunk.content
    return content
