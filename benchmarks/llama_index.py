"""Compares the streaming response of the LlamaIndex adapter with the stock one: `python -m benchmarks.llama_index`.

Both read the same words with the same pauses from this process, without a network: the stock engine from a model, ours
from a backend of its own. Shown are the CPU that a second of silence costs, how long after the end of the stream the
reader is told, and the CPU per token.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Sequence
from typing import Any, Protocol, Self, cast

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ChatResponseAsyncGen,
    ChatResponseGen,
    MessageRole,
)
from llama_index.core.chat_engine import SimpleChatEngine
from llama_index.core.chat_engine.types import StreamingAgentChatResponse
from llama_index.core.llms import MockLLM
from llama_index.core.memory import ChatMemoryBuffer

from chat_sessions import ChatSession, Event, Stop, TextDelta, Timeouts, Usage
from chat_sessions.llama_index import SessionChatEngine
from chat_sessions.session import Backend
from chat_sessions.session.deadlines import EventClock
from chat_sessions.session.transport import TurnRequest

# Words, and seconds of silence between them.
Talk = list[str | float]
SILENCE: Talk = ["first ", 1.0, "second"]
TAIL: Talk = ["all ", "words ", 0.05]
TOKENS: Talk = ["word "] * 5_000


class Make(Protocol):
    """Starts a talk; gives back its response."""

    async def __call__(self, talk: Talk, *, is_async: bool) -> StreamingAgentChatResponse: ...


class Clock:
    """When the talk ended."""

    ended = 0.0


class Model(MockLLM):
    """Says a talk, as a stock engine's model."""

    talk: Any = None

    def stream_chat(self, messages: Any, **kwargs: Any) -> ChatResponseGen:  # noqa: ARG002 - the base class's
        def say() -> ChatResponseGen:
            for item in self.talk:
                if isinstance(item, float):
                    time.sleep(item)
                else:
                    yield _piece(item)
            Clock.ended = time.perf_counter()

        return say()

    async def astream_chat(self, messages: Any, **kwargs: Any) -> ChatResponseAsyncGen:  # noqa: ARG002 - as above
        async def say() -> ChatResponseAsyncGen:
            for item in self.talk:
                if isinstance(item, float):
                    await asyncio.sleep(item)
                else:
                    yield _piece(item)
            Clock.ended = time.perf_counter()

        return say()


def _piece(word: str) -> ChatResponse:
    return ChatResponse(message=ChatMessage(role=MessageRole.ASSISTANT, content=word), delta=word)


class Service:
    """Says a talk; all that the engine asks of a backend."""

    service = "benchmark"
    timeouts = Timeouts()
    index_ids = ("idx",)

    def __init__(self, talk: Talk) -> None:
        self._left = iter(talk)
        self.aio: Service = self if isinstance(self, AsyncService) else AsyncService(talk)
        self.transport = self

    def event(self) -> Event | float:
        item = next(self._left, None)
        if isinstance(item, float):
            return item
        if item is not None:
            return TextDelta(content=item)
        Clock.ended = time.perf_counter()
        return Stop(usage=Usage(), is_error=False)

    def queue_key(self, session_id: str) -> tuple[str, ...]:
        return (str(id(self)), session_id)

    def check_turn(self, prompt: str, index_ids: Sequence[str] | None) -> None: ...

    def session(self, session_id: str | None = None, *, index_ids: Sequence[str] | None = None) -> ChatSession:
        return ChatSession(cast("Backend", self), session_id or "ses-1", index_ids=index_ids or self.index_ids)

    def open_turn(self, request: TurnRequest, clock: EventClock) -> Self:  # noqa: ARG002 - the protocol's
        return self

    def __next__(self) -> Event:
        while isinstance(item := self.event(), float):
            time.sleep(item)
        return item

    def finish(self) -> None: ...

    def close(self) -> None: ...


class AsyncService(Service):
    """The same for code that awaits."""

    async def open_turn(self, request: TurnRequest, clock: EventClock) -> Self:  # type: ignore[override]  # noqa: ARG002
        return self

    async def __anext__(self) -> Event:
        while isinstance(item := self.event(), float):  # noqa: ASYNC110 - the pause is what is played
            await asyncio.sleep(item)
        return item

    async def finish(self) -> None: ...  # type: ignore[override]

    async def close(self) -> None: ...  # type: ignore[override]


async def ours(talk: Talk, *, is_async: bool) -> StreamingAgentChatResponse:
    # It has what an engine uses of a client, and no more.
    engine = SessionChatEngine(client=cast("Backend", Service(talk)))
    return await engine.astream_chat("?") if is_async else engine.stream_chat("?")


async def stock(talk: Talk, *, is_async: bool) -> StreamingAgentChatResponse:
    model = Model(max_tokens=None)
    model.talk = talk
    engine = SimpleChatEngine.from_defaults(llm=model, memory=ChatMemoryBuffer.from_defaults())
    response = await engine.astream_chat("?") if is_async else engine.stream_chat("?")
    assert isinstance(response, StreamingAgentChatResponse)
    return response


async def read(make: Make, talk: Talk, *, is_async: bool) -> tuple[float, float, int]:
    """One turn: seconds of CPU, seconds from the end of the talk to the end of the reading, tokens."""
    count = 0
    response = await make(talk, is_async=is_async)
    before = time.process_time()
    if is_async:
        async for _ in response.async_response_gen():
            count += 1
    else:
        for _ in response.response_gen:
            count += 1
    return time.process_time() - before, time.perf_counter() - Clock.ended, count


def row(name: str, make: Make, *, is_async: bool) -> str:
    def runs(talk: Talk, times: int) -> list[tuple[float, float, int]]:
        return [asyncio.run(read(make, talk, is_async=is_async)) for _ in range(times)]

    silence = statistics.median(cpu for cpu, _, _ in runs(SILENCE, 3))
    tail = statistics.median(late for _, late, _ in runs(TAIL, 9))
    tokens = statistics.median(cpu / count for cpu, _, count in runs(TOKENS, 3))
    return f"{name:<34}{silence * 1e3:>12.1f}{tail * 1e3:>14.1f}{tokens * 1e6:>14.1f}"


def main() -> None:
    print(f"{'':<34}{'silence':>12}{'end seen':>14}{'per token':>14}")
    print(f"{'':<34}{'ms CPU / s':>12}{'ms late':>14}{'us CPU':>14}")
    for is_async in (False, True):
        method = "astream_chat" if is_async else "stream_chat"
        print(row(f"stock, {method}", stock, is_async=is_async))
        print(row(f"ours, {method}", ours, is_async=is_async))


if __name__ == "__main__":
    main()
