"""A chat model that drives its own runs: what a tracer is told of a turn, on every entry point.

LangChain's own drivers keep every chunk until the end (88 MB for 50,000 tokens), leave the run open
when `ainvoke` is cancelled, close an abandoned async stream at some later time, and hide the run
from the producer of a stream, so that nothing can be traced below it.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import UUID

from langchain_core.callbacks import (
    AsyncCallbackManager,
    AsyncCallbackManagerForLLMRun,
    CallbackManager,
    CallbackManagerForLLMRun,
    Callbacks,
)
from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, LLMResult, RunInfo
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import ensure_config

from chat_sessions.langchain.closing import to_the_end
from chat_sessions.langchain.live_turn import AsyncLiveTurn, LiveTurn
from chat_sessions.langchain.producers import TurnChatModel
from chat_sessions.langchain.tokens import AsyncTokenTeller, TokenTeller

__all__ = ["OwnRunsChatModel"]


class OwnRunsChatModel(TurnChatModel, ABC):
    """A chat model over live turns that starts and ends the run around each."""

    @abstractmethod
    def _with_config(self, config: RunnableConfig | None, kwargs: dict[str, Any]) -> dict[str, Any]:
        """The arguments of a call, completed from its config."""

    # Entry points.

    def invoke(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AIMessage:
        """One whole turn as a message."""
        return super().invoke(input, config, stop=stop, **self._with_config(config, kwargs))

    async def ainvoke(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AIMessage:
        """One whole turn as a message. Cancelling it closes the runs and the socket."""
        return await super().ainvoke(input, config, stop=stop, **self._with_config(config, kwargs))

    def stream(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> Iterator[AIMessageChunk]:
        """One turn as it comes. Closing the iterator closes the runs and the socket at once."""
        kwargs = self._with_config(config, kwargs)
        if self._streaming_disabled(**kwargs):
            yield from super().stream(input, config, stop=stop, **kwargs)
            return
        config = ensure_config(config)
        messages = self._convert_input(input).to_messages()
        run = self._start(messages, config, stop, kwargs)
        tokens = TokenTeller(run)
        turn: LiveTurn | None = None
        try:
            if self.rate_limiter is not None:
                self.rate_limiter.acquire(blocking=True)
            with self._live_turn(messages, stop, run, kwargs) as turn:
                while (event := turn.step()) is not None:
                    if (chunk := turn.chunk(event)) is not None:
                        tokens.tell(chunk)
                        yield chunk
        except GeneratorExit as error:
            if turn is not None and turn.is_complete:
                run.on_llm_end(LLMResult(generations=[[turn.generation()]]))
            else:
                run.on_llm_error(error, response=_partial(turn))
            raise
        except BaseException as error:
            run.on_llm_error(error, response=_partial(turn))
            raise
        run.on_llm_end(LLMResult(generations=[[turn.generation()]]))

    async def astream(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[AIMessageChunk]:
        """The async twin of `stream`. `aclose()` and cancellation close the runs and the socket before they return."""
        kwargs = self._with_config(config, kwargs)
        if self._streaming_disabled(**kwargs):
            async for message in super().astream(input, config, stop=stop, **kwargs):
                yield message
            return
        config = ensure_config(config)
        messages = self._convert_input(input).to_messages()
        run = await self._astart(messages, config, stop, kwargs)
        tokens = AsyncTokenTeller(run)
        turn: AsyncLiveTurn | None = None
        try:
            if self.rate_limiter is not None:
                await self.rate_limiter.aacquire(blocking=True)
            async with await self._alive_turn(messages, stop, run, kwargs) as turn:
                while (event := await turn.step()) is not None:
                    if (chunk := turn.chunk(event)) is not None:
                        await tokens.tell(chunk)
                        yield chunk
        except GeneratorExit as error:
            if turn is not None and turn.is_complete:
                await run.on_llm_end(LLMResult(generations=[[turn.generation()]]))
            else:
                await to_the_end(run.on_llm_error(error, response=_partial(turn)))
            raise
        except BaseException as error:
            await to_the_end(run.on_llm_error(error, response=_partial(turn)))
            raise
        await run.on_llm_end(LLMResult(generations=[[turn.generation()]]))

    def generate(
        self,
        messages: list[list[BaseMessage]],
        stop: list[str] | None = None,
        callbacks: Callbacks = None,
        *,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        run_name: str | None = None,
        run_id: UUID | None = None,
        **kwargs: Any,
    ) -> LLMResult:
        """One turn for each list of messages, one after the other; what `invoke` and `batch` stand on."""
        config = _config(callbacks, tags, metadata, run_name, run_id)
        results = [self._complete(each, _nth(config, number), stop, kwargs) for number, each in enumerate(messages)]
        return _collected(results)

    async def agenerate(
        self,
        messages: list[list[BaseMessage]],
        stop: list[str] | None = None,
        callbacks: Callbacks = None,
        *,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        run_name: str | None = None,
        run_id: UUID | None = None,
        **kwargs: Any,
    ) -> LLMResult:
        """One turn for each list of messages, all at once; what `ainvoke` and `abatch` stand on."""
        config = _config(callbacks, tags, metadata, run_name, run_id)
        turns = [self._acomplete(each, _nth(config, number), stop, kwargs) for number, each in enumerate(messages)]
        if len(turns) == 1:
            return _collected([await turns[0]])
        # Each turn closes its own run; the others go on to their end when one fails.
        results = await asyncio.gather(*turns, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return _collected([result for result in results if not isinstance(result, BaseException)])

    # One whole turn. Handlers of a stream (astream_events, LangGraph) get it piece by piece all the same.

    def _complete(
        self, messages: list[BaseMessage], config: RunnableConfig, stop: list[str] | None, kwargs: dict[str, Any]
    ) -> tuple[ChatGeneration, UUID]:
        run = self._start(messages, config, stop, kwargs)
        protocol = self._should_use_protocol_streaming(async_api=False, run_manager=run, **kwargs)
        tokens = TokenTeller(run) if self._should_stream(async_api=False, run_manager=run, **kwargs) else None
        turn: LiveTurn | None = None
        try:
            if self.rate_limiter is not None:
                self.rate_limiter.acquire(blocking=True)
            with self._live_turn(messages, stop, run, kwargs, v1=protocol) as turn:
                for made in turn.protocol_start() if protocol else ():
                    run.on_stream_event(made)
                while (event := turn.step()) is not None:
                    if protocol:
                        for made in turn.protocol(event):
                            run.on_stream_event(made)
                    elif tokens is not None and (chunk := turn.chunk(event)) is not None:
                        tokens.tell(chunk)
        except BaseException as error:
            run.on_llm_error(error, response=_partial(turn))
            raise
        generation = turn.generation()
        run.on_llm_end(LLMResult(generations=[[generation]]))
        return generation, run.run_id

    async def _acomplete(
        self, messages: list[BaseMessage], config: RunnableConfig, stop: list[str] | None, kwargs: dict[str, Any]
    ) -> tuple[ChatGeneration, UUID]:
        run = await self._astart(messages, config, stop, kwargs)
        protocol = self._should_use_protocol_streaming(async_api=True, run_manager=run, **kwargs)
        tokens = AsyncTokenTeller(run) if self._should_stream(async_api=True, run_manager=run, **kwargs) else None
        turn: AsyncLiveTurn | None = None
        try:
            if self.rate_limiter is not None:
                await self.rate_limiter.aacquire(blocking=True)
            async with await self._alive_turn(messages, stop, run, kwargs, v1=protocol) as turn:
                for made in turn.protocol_start() if protocol else ():
                    await run.on_stream_event(made)
                while (event := await turn.step()) is not None:
                    if protocol:
                        for made in turn.protocol(event):
                            await run.on_stream_event(made)
                    elif tokens is not None and (chunk := turn.chunk(event)) is not None:
                        await tokens.tell(chunk)
        except BaseException as error:
            await to_the_end(run.on_llm_error(error, response=_partial(turn)))
            raise
        generation = turn.generation()
        await run.on_llm_end(LLMResult(generations=[[generation]]))
        return generation, run.run_id

    # The start of a run: one configured manager, whose children the tool runs are.

    def _start(
        self, messages: list[BaseMessage], config: RunnableConfig, stop: list[str] | None, kwargs: dict[str, Any]
    ) -> CallbackManagerForLLMRun:
        params = self._get_invocation_params(stop=stop, **kwargs)
        manager = CallbackManager.configure(
            config.get("callbacks"),
            self.callbacks,
            self.verbose,
            config.get("tags"),
            self.tags,
            self._run_metadata(config, stop, kwargs),
            self.metadata,
            langsmith_inheritable_metadata=params,
        )
        return manager.on_chat_model_start(self._serialized, [messages], **_run_start(params, config, stop, kwargs))[0]

    async def _astart(
        self, messages: list[BaseMessage], config: RunnableConfig, stop: list[str] | None, kwargs: dict[str, Any]
    ) -> AsyncCallbackManagerForLLMRun:
        params = self._get_invocation_params(stop=stop, **kwargs)
        manager = AsyncCallbackManager.configure(
            config.get("callbacks"),
            self.callbacks,
            self.verbose,
            config.get("tags"),
            self.tags,
            self._run_metadata(config, stop, kwargs),
            self.metadata,
            langsmith_inheritable_metadata=params,
        )
        starting = asyncio.create_task(
            manager.on_chat_model_start(self._serialized, [messages], **_run_start(params, config, stop, kwargs))
        )
        try:
            return (await asyncio.shield(starting))[0]
        except asyncio.CancelledError as error:
            # Some handlers have been told of the start: they are told of the end too.
            await to_the_end(_abandon(starting, error))
            raise

    def _run_metadata(self, config: RunnableConfig, stop: list[str] | None, kwargs: dict[str, Any]) -> dict[str, Any]:
        return {**(config.get("metadata") or {}), **self._get_ls_params_with_defaults(stop=stop, **kwargs)}


def _run_start(
    params: dict[str, Any], config: RunnableConfig, stop: list[str] | None, kwargs: dict[str, Any]
) -> dict[str, Any]:
    return {
        "invocation_params": params,
        "options": {"stop": stop, **{key: params[key] for key in kwargs if key in params}},
        "name": config.get("run_name"),
        "run_id": config.get("run_id"),
        "batch_size": 1,
    }


async def _abandon(starting: asyncio.Task[list[AsyncCallbackManagerForLLMRun]], error: BaseException) -> None:
    await asyncio.wait((starting,))
    if starting.exception() is None:
        await starting.result()[0].on_llm_error(error, response=_partial(None))


def _config(
    callbacks: Callbacks,
    tags: list[str] | None,
    metadata: dict[str, Any] | None,
    run_name: str | None,
    run_id: UUID | None,
) -> RunnableConfig:
    config = RunnableConfig(callbacks=callbacks, tags=tags or [], metadata=metadata or {})
    if run_name is not None:
        config["run_name"] = run_name
    if run_id is not None:
        config["run_id"] = run_id
    return config


def _nth(config: RunnableConfig, number: int) -> RunnableConfig:
    """The config of one of several turns: an id is the first one's alone."""
    if number == 0:
        return config
    later = config.copy()
    later.pop("run_id", None)
    return later


def _collected(results: list[tuple[ChatGeneration, UUID]]) -> LLMResult:
    return LLMResult(
        generations=[[generation] for generation, _ in results],
        llm_output={},
        run=[RunInfo(run_id=run_id) for _, run_id in results],
    )


def _partial(turn: LiveTurn | AsyncLiveTurn | None) -> LLMResult:
    return LLMResult(generations=[]) if turn is None else turn.partial_result()
