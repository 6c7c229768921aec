"""What one token and one tool run cost, counted in calls: as much in a long turn as in a short one."""

from __future__ import annotations

import asyncio
import statistics
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from types import FrameType
from typing import Any

import pytest
from langchain_core.callbacks import AsyncCallbackHandler

from chat_sessions import LlamaCloudChat
from chat_sessions.core.events import Event, TextDelta, ToolCall, ToolResult
from chat_sessions.langchain import SessionChatModel
from chat_sessions.langchain.runs.async_turn import AsyncLiveTurn
from chat_sessions.langchain.runs.turn import LiveTurn
from tests.langchain.stage import STOP, Recorder
from tests.wire_server import Connection, Request, WireServer

TOKENS = [TextDelta(content=f"word{number} ") for number in range(1_020)]
RUNS: list[Event] = [
    event
    for number in range(1_020)
    for event in (
        ToolCall(call_id=f"c{number}", name="search", arguments={"q": f"{number}"}),
        ToolResult(call_id=f"c{number}", name="search", result={"content": f"Passage {number}.", "file_name": "a.md"}),
    )
]
# The two ends of a turn that are compared, around the 10th and the 1,000th.
EARLY, LATE = slice(2, 20), slice(992, 1_010)


class _Async(AsyncCallbackHandler):
    """An async handler, which is given all that there is."""

    async def on_llm_new_token(self, token: Any, **kwargs: Any) -> None:
        pass

    async def on_tool_start(self, *args: Any, **kwargs: Any) -> None:
        pass


async def _astream(model: SessionChatModel, config: Any) -> None:
    async for _ in model.astream("q", config):
        pass


async def _astream_events(model: SessionChatModel, config: Any) -> None:
    async for _ in await model.astream_events("q", config, version="v3"):
        pass


PATHS: dict[str, Callable[[SessionChatModel, Any], Any]] = {
    "stream": lambda model, config: [None for _ in model.stream("q", config)],
    "invoke": lambda model, config: model.invoke("q", config),
    "invoke(stream=True)": lambda model, config: model.invoke("q", config, stream=True),
    "stream_events v3": lambda model, config: [None for _ in model.stream_events("q", config, version="v3")],
    "astream": _astream,
    "ainvoke": lambda model, config: model.ainvoke("q", config),
    "astream_events v3": _astream_events,
}


def _calls_per_event(run: Callable[[], object]) -> list[int]:
    """Return how many calls this thread makes from one look for an event that is ready to the next."""
    looks = {LiveTurn.take.__code__, AsyncLiveTurn.take.__code__}
    calls, counts = 0, [0]

    def note(frame: FrameType, what: str, _: object) -> None:
        nonlocal calls
        calls += what in ("call", "c_call")
        if what == "call" and frame.f_code in looks:
            counts.append(calls)

    sys.setprofile(note)
    try:
        run()
    finally:
        sys.setprofile(None)
    return [later - earlier for earlier, later in pairwise(counts)]


@pytest.fixture
def play() -> Iterator[Callable[..., SessionChatModel]]:
    """Makes a model of a service that sends these events at once."""
    with WireServer() as wire, LlamaCloudChat(api_key="llx-test", base_url=wire.url, index_ids=["idx"]) as client:

        def played(events: list[Event]) -> SessionChatModel:
            def stream(_: Request, connection: Connection) -> None:
                connection.start_stream()
                connection.events(*events)
                connection.end_stream()

            summary = {"session_id": "ses-1", "last_updated_at": "2026-11-21T10:00:00Z", "index_ids": ["idx"]}
            wire.on("POST", "/chat", lambda _, connection: connection.respond(200, summary))
            wire.on("POST", "/messages/stream", stream)
            return SessionChatModel(client=client)

        yield played


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize(("events", "each"), [(TOKENS, 1), (RUNS, 2)], ids=["token", "tool run"])
def test_the_thousandth_costs_as_many_calls_as_the_tenth(
    play: Callable[..., SessionChatModel], name: str, events: list[Event], each: int
) -> None:
    model = play([*events, STOP])
    path, is_async = PATHS[name], name.startswith("a")

    def run() -> None:
        if is_async:
            asyncio.run(path(model, {"callbacks": [_Async()]}))
        else:
            path(model, {"callbacks": [Recorder()]})

    counts = _calls_per_event(run)[1:]
    per_event = [sum(counts[at : at + each]) for at in range(0, len(counts) - each, each)]
    assert len(per_event) >= 1_010
    # The middle of some, as some of them wait for the socket.
    assert statistics.median(per_event[LATE]) <= statistics.median(per_event[EARLY])
