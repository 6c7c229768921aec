"""The producers of a chat model over live turns: what LangChain's own drivers, and whoever else, ask of a model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models.chat_model_stream import AsyncChatModelStream, ChatModelStream
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult, LLMResult
from typing_extensions import override

from chat_sessions.langchain.live_turn import AsyncLiveTurn, LiveTurn

if TYPE_CHECKING:
    from langchain_protocol.protocol import MessagesData

__all__ = ["TurnChatModel"]


class TurnChatModel(BaseChatModel, ABC):
    """A chat model whose answer is a live turn. A subclass says which turn belongs to which input."""

    @abstractmethod
    def _live_turn(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None,
        run: CallbackManagerForLLMRun | None,
        kwargs: Mapping[str, Any],
        *,
        v1: bool = False,
    ) -> LiveTurn:
        """The turn of these messages, not sent yet."""

    @abstractmethod
    async def _alive_turn(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None,
        run: AsyncCallbackManagerForLLMRun | None,
        kwargs: Mapping[str, Any],
        *,
        v1: bool = False,
    ) -> AsyncLiveTurn:
        """The async twin of `_live_turn`."""

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        with self._live_turn(messages, stop, run_manager, kwargs) as turn:
            while turn.step() is not None:
                pass
        return ChatResult(generations=[turn.generation()])

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        async with await self._alive_turn(messages, stop, run_manager, kwargs) as turn:
            while await turn.step() is not None:
                pass
        return ChatResult(generations=[turn.generation()])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        with self._live_turn(messages, stop, run_manager, kwargs) as turn:
            while (event := turn.step()) is not None:
                if (chunk := turn.chunk(event)) is not None:
                    yield ChatGenerationChunk(message=chunk)

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        async with await self._alive_turn(messages, stop, run_manager, kwargs) as turn:
            while (event := await turn.step()) is not None:
                if (chunk := turn.chunk(event)) is not None:
                    yield ChatGenerationChunk(message=chunk)

    def _stream_chat_model_events(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[MessagesData]:
        """The message as content-block protocol events."""
        with self._live_turn(messages, stop, run_manager, kwargs, v1=True) as turn:
            yield from turn.protocol_start()
            while (event := turn.step()) is not None:
                yield from turn.protocol(event)

    async def _astream_chat_model_events(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[MessagesData]:
        """The message as content-block protocol events."""
        async with await self._alive_turn(messages, stop, run_manager, kwargs, v1=True) as turn:
            for made in turn.protocol_start():
                yield made
            while (event := await turn.step()) is not None:
                for made in turn.protocol(event):
                    yield made

    # What drives `stream_events(version="v3")`. LangChain's own would tell the handlers from outside the producer:
    # a cancellation that meets it there leaves the producer, with its tool runs and its socket, to the event loop.

    @override
    def _iter_v2_events(
        self,
        messages: list[BaseMessage],
        *,
        run_manager: CallbackManagerForLLMRun,
        stream: ChatModelStream,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> Iterator[MessagesData]:
        turn: LiveTurn | None = None
        try:
            with self._live_turn(messages, stop, run_manager, kwargs, v1=True) as turn:
                for made in turn.protocol_start():
                    stream.dispatch(made)
                    run_manager.on_stream_event(made)
                    yield made
                while (event := turn.step()) is not None:
                    for made in turn.protocol(event):
                        stream.dispatch(made)
                        run_manager.on_stream_event(made)
                        yield made
        except GeneratorExit as error:
            # A stream that is dropped half-way is no error to its driver, which would leave the run open.
            if not stream.done:
                run_manager.on_llm_error(
                    error, response=turn.partial_result() if turn is not None else LLMResult(generations=[])
                )
            raise

    @override
    async def _aiter_v2_events(
        self,
        messages: list[BaseMessage],
        *,
        run_manager: AsyncCallbackManagerForLLMRun,
        stream: AsyncChatModelStream,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[MessagesData]:
        async with await self._alive_turn(messages, stop, run_manager, kwargs, v1=True) as turn:
            for made in turn.protocol_start():
                stream.dispatch(made)
                await run_manager.on_stream_event(made)
                yield made
            while (event := await turn.step()) is not None:
                for made in turn.protocol(event):
                    stream.dispatch(made)
                    await run_manager.on_stream_event(made)
                    yield made
