"""The work for one event does not grow with the turn: calls are counted, not time."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, Self

import pytest
from llama_index.core.agent.workflow import AgentStream, ToolCallResult
from llama_index.core.base.llms.types import ChatMessage, MessageRole
from llama_index_instrumentation import root_dispatcher
from llama_index_instrumentation.base import BaseEvent
from llama_index_instrumentation.event_handlers import BaseEventHandler
from pydantic import JsonValue

from chat_sessions import Event, Stop, TextDelta, ToolCall, ToolResult, Usage
from chat_sessions.llama_index import SessionAgent, outputs
from chat_sessions.llama_index.memory.run_memory import RunMemory
from tests.llama_index.told_backend import engine_of, told_client

MANY = 1000
STOP = Stop(usage=Usage(), is_error=False)
Kind = Callable[[int], Iterator[Event]]


def passage(number: int) -> JsonValue:
    return {"results": [{"text": f"Passage {number}.", "file_name": f"{number}.pdf", "page": number, "score": 0.5}]}


def rounds(count: int) -> Iterator[Event]:
    """Rounds of a token, a call and its result with a passage that no other has."""
    for number in range(count):
        yield TextDelta(content=f"step {number}. ")
        yield ToolCall(call_id=f"c{number}", name="search", arguments={"query": f"q{number}"})
        yield ToolResult(call_id=f"c{number}", name="search", result=passage(number))
    yield STOP


def tokens(count: int) -> Iterator[Event]:
    """Tokens, and nothing else."""
    yield from (TextDelta(content=f"{number} ") for number in range(count))
    yield STOP


BOTH_KINDS = pytest.mark.parametrize("kind", [tokens, rounds], ids=["token", "tool run"])


class Counter:
    """Counts the calls of Python functions between two marks."""

    def __init__(self) -> None:
        self.calls = 0
        self.marks: list[int] = []

    def __enter__(self) -> Self:
        # What the collector calls is not the answer's.
        gc.collect()
        gc.disable()
        sys.setprofile(self._count)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)
        gc.enable()

    def _count(self, frame: FrameType, event: str, arg: object) -> None:
        self.calls += event == "call"

    def mark(self) -> None:
        self.marks.append(self.calls)

    def between(self, number: int) -> int:
        """The calls from this mark to the next one."""
        return self.marks[number + 1] - self.marks[number]


def assert_flat(counter: Counter) -> None:
    """The 10th of a kind costs what the 1,000th does."""
    assert len(counter.marks) >= MANY
    early, late = counter.between(9), counter.between(MANY - 2)
    assert late <= early, f"the 10th takes {early} calls, the 1,000th {late}"


@BOTH_KINDS
def test_the_thousandth_of_a_kind_costs_what_the_tenth_does_through_stream_chat(kind: Kind) -> None:
    response = engine_of(tuple(kind(MANY))).stream_chat("q")
    with Counter() as counter:
        for _ in response.response_gen:
            counter.mark()
    assert len(response.sources) == len(response.source_nodes) == (MANY if kind is rounds else 0)
    assert_flat(counter)


@BOTH_KINDS
async def test_the_thousandth_of_a_kind_costs_what_the_tenth_does_through_astream_chat(kind: Kind) -> None:
    response = await engine_of(tuple(kind(MANY))).astream_chat("q")
    with Counter() as counter:
        async for _ in response.async_response_gen():
            counter.mark()
    assert len(response.sources) == len(response.source_nodes) == (MANY if kind is rounds else 0)
    assert_flat(counter)


@BOTH_KINDS
def test_the_thousandth_of_a_kind_costs_what_the_tenth_does_as_chat_responses(kind: Kind) -> None:
    response = engine_of(tuple(kind(MANY))).stream_chat("q")
    with Counter() as counter:
        for _ in response.chat_stream or ():
            counter.mark()
    assert_flat(counter)


class Ears(BaseEventHandler):
    """Is given every event."""

    def handle(self, event: BaseEvent, **kwargs: Any) -> None: ...


@BOTH_KINDS
def test_the_thousandth_of_a_kind_costs_what_the_tenth_does_where_it_is_traced(kind: Kind) -> None:
    ears = Ears()
    root_dispatcher.add_event_handler(ears)
    try:
        response = engine_of(tuple(kind(MANY))).stream_chat("q")
        with Counter() as counter:
            for _ in response.response_gen:
                counter.mark()
    finally:
        root_dispatcher.event_handlers.remove(ears)
    assert_flat(counter)


class Written:
    """The part of a workflow's context that an agent's step uses; what a workflow does with an event is its own."""

    is_running = True

    def __init__(self, counter: Counter) -> None:
        self.store = self
        self.events: list[object] = []
        self._counter = counter
        self._values: dict[str, Any] = {}

    async def get(self, path: str, default: Any = None) -> Any:
        return self._values.get(path, default)

    async def set(self, path: str, value: Any) -> None:
        self._values[path] = value

    def write_event_to_stream(self, event: object) -> None:
        if isinstance(event, AgentStream):
            self._counter.mark()
        self.events.append(event)


@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning")
@BOTH_KINDS
async def test_the_thousandth_of_a_kind_costs_what_the_tenth_does_through_an_agent(kind: Kind) -> None:
    agent = SessionAgent(client=told_client(tuple(kind(MANY))))
    counter = Counter()
    ctx: Any = Written(counter)
    asked = [ChatMessage(role=MessageRole.USER, content="q")]
    with counter:
        await agent.take_step(ctx, asked, [], RunMemory())
    assert sum(isinstance(event, ToolCallResult) for event in ctx.events) == (MANY if kind is rounds else 0)
    assert_flat(counter)


def test_a_node_is_built_once_per_passage(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []
    build = outputs._node_of

    def counting(source: Any) -> Any:
        made.append(source)
        return build(source)

    monkeypatch.setattr(outputs, "_node_of", counting)
    response = engine_of(tuple(rounds(50))).stream_chat("q")
    response.drain()
    assert len(made) == len(response.source_nodes) == 50
