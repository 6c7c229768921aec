"""LlamaIndex: our chat engine, and the stock streaming response over a source in this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, MessageRole
from llama_index.core.chat_engine.types import StreamingAgentChatResponse
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events.chat_engine import StreamChatDeltaReceivedEvent
from llama_index.core.memory import ChatMemoryBuffer
from llama_index_instrumentation import get_dispatcher

from benchmarks.floors import acount_words, count_words
from benchmarks.subject import Bench, Subject
from chat_sessions.llama_index import SessionChatEngine

__all__ = ["ENGINE", "ENGINE_HANDLER", "STOCK_RESPONSE"]


class Handler(BaseEventHandler):
    """Counts the events for pieces of text."""

    count: int = 0

    def handle(self, event: Any, **kwargs: Any) -> None:  # noqa: ARG002 - the base class's
        if isinstance(event, StreamChatDeltaReceivedEvent):
            self.count += 1


@contextmanager
def listening() -> Generator[None]:
    """With one handler on the root dispatcher."""
    handlers = get_dispatcher().event_handlers
    handlers.append(handler := Handler())
    try:
        yield
    finally:
        handlers.remove(handler)


def _engine(bench: Bench, plan: str) -> SessionChatEngine:
    return bench.once(
        ("engine", plan), lambda: SessionChatEngine(client=bench.chat, session_id=plan, index_ids=["idx"])
    )


def _stream(bench: Bench, plan: str) -> Iterator[str]:
    with _engine(bench, plan).stream_chat("q") as response:
        yield from response.response_gen


async def _astream(bench: Bench, plan: str) -> AsyncIterator[str]:
    async with await _engine(bench, plan).astream_chat("q") as response:
        async for piece in response.async_response_gen():
            yield piece


def _stream_heard(bench: Bench, plan: str) -> Iterator[str]:
    with listening():
        yield from _stream(bench, plan)


async def _astream_heard(bench: Bench, plan: str) -> AsyncIterator[str]:
    with listening():
        async for piece in _astream(bench, plan):
            yield piece


def _response(word: str) -> ChatResponse:
    return ChatResponse(message=ChatMessage(role=MessageRole.ASSISTANT, content=word), delta=word)


def _stock(bench: Bench, plan: str) -> Iterator[str]:  # noqa: ARG001 - its source is here
    response = StreamingAgentChatResponse(chat_stream=(_response(word) for word in count_words(plan)))
    memory = ChatMemoryBuffer.from_defaults()
    thread = Thread(target=response.write_response_to_history, args=(memory,))
    thread.start()
    yield from response.response_gen
    thread.join()


async def _astock(bench: Bench, plan: str) -> AsyncIterator[str]:  # noqa: ARG001 - its source is here
    async def source() -> AsyncIterator[ChatResponse]:
        async for word in acount_words(plan):
            yield _response(word)

    response = StreamingAgentChatResponse(achat_stream=source())  # type: ignore[arg-type]
    task = asyncio.ensure_future(response.awrite_response_to_history(ChatMemoryBuffer.from_defaults()))
    async for piece in response.async_response_gen():
        yield piece
    await task


ENGINE = Subject("engine", __name__, _stream, _astream, "SessionChatEngine.stream_chat")
ENGINE_HANDLER = Subject(
    "engine + handler", __name__, _stream_heard, _astream_heard, "SessionChatEngine.stream_chat, one handler of deltas"
)
STOCK_RESPONSE = Subject(
    "stock response", __name__, _stock, _astock, "StreamingAgentChatResponse over a source in this process"
)
