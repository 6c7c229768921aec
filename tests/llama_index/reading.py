"""A plain answer, and the two ways to read one as it comes."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable

import pytest
from llama_index.core.chat_engine.types import StreamingAgentChatResponse

from chat_sessions import (
    Stop,
    TextDelta,
)
from chat_sessions.core.events import Event
from chat_sessions.llama_index import SessionChatEngine, StreamingSessionResponse
from chat_sessions.server import Behaviour
from tests.llama_index.conftest import USAGE
from tests.wire_server import Connection, Request

TOKENS = (" Rev", "enue", " \n", "was  ", "84.2. ")
STOP = Stop(usage=USAGE, is_error=False)
TEXT: tuple[Event, ...] = (*(TextDelta(content=token) for token in TOKENS), STOP)
# A turn whose reader has gone is cancelled, which its agent notices; the next one waits for that.
CANCELS = Behaviour(on_disconnect="cancel", concurrent_turns="queue")
BOTH = pytest.mark.parametrize("method", ["stream_chat", "astream_chat"])


async def stream(engine: SessionChatEngine, method: str) -> StreamingSessionResponse:
    return engine.stream_chat("How much?") if method == "stream_chat" else await engine.astream_chat("How much?")


async def pieces(response: StreamingAgentChatResponse, method: str) -> AsyncIterator[str]:
    if method == "stream_chat":
        for piece in response.response_gen:
            yield piece
    else:
        async for piece in response.async_response_gen():
            yield piece


async def all_pieces(response: StreamingAgentChatResponse, method: str) -> list[str]:
    return [piece async for piece in pieces(response, method)]


async def read_until_error(response: StreamingAgentChatResponse, method: str) -> tuple[list[str], Exception]:
    seen: list[str] = []
    try:
        async for piece in pieces(response, method):
            seen.append(piece)
    except Exception as error:
        return seen, error
    raise AssertionError("there was no error")


def live_threads() -> set[threading.Thread]:
    """The threads that run, but for those of an event loop: its workers, and the end of another test's server."""
    return {
        thread
        for thread in threading.enumerate()
        if not thread.name.startswith("asyncio_") and "_do_shutdown" not in thread.name
    }


def breaks_after(count: int) -> Callable[[Request, Connection], None]:
    def respond(_: Request, wire: Connection) -> None:
        wire.start_stream()
        wire.events(*TEXT[:count])
        wire.end_stream()

    return respond


def until(condition: Callable[[], bool]) -> None:
    """Return when this holds; the test's own timeout ends it if it never does."""
    while not condition():
        pass
