"""What it costs to make messages of a long history."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Sequence

from pydantic import JsonValue

from benchmarks.row import Row, at_most
from benchmarks.wires import words
from chat_sessions import Event, Stop, Text, TextDelta, ThinkingDelta, ToolCall, ToolResult, Usage, UserInput, replay
from chat_sessions.langchain import events_to_messages
from chat_sessions.llama_index import messages_of

__all__ = ["rows"]

_COUNT = 50_000
_FEWER = 5_000
_STOP = Stop(usage=Usage(input_tokens=812, output_tokens=10_000), is_error=False)


def _one_turn(count: int) -> list[Event]:
    """A single turn of deltas."""
    return [UserInput(content="q"), *(TextDelta(content=word) for word in words(count - 2)), _STOP]


def _many_turns(count: int) -> list[Event]:
    """Turns that think, search twice and answer, in deltas and finals."""
    passage: dict[str, JsonValue] = {
        "file_name": "report.pdf",
        "page": 3,
        "text": "The margin rose. " * 6,
        "score": 0.9,
    }
    turn: list[Event] = [UserInput(content="What were the main findings in Q3?")]
    turn += [ThinkingDelta(content="so, ")] * 10
    for call in ("call-1", "call-2"):
        turn.append(ToolCall(call_id=call, name="search", arguments={"query": "margin"}))
        turn.append(ToolResult(call_id=call, name="search", result={"results": [passage, passage]}))
    pieces = list(words(33))
    turn += [*(TextDelta(content=piece) for piece in pieces), Text(content="".join(pieces)), _STOP]
    return [event for _ in range(count // len(turn)) for event in turn]


def rows(*, repeats: int = 3) -> list[Row]:
    """Two rows for each adapter and kind of history: what an event costs, and whether more cost more each."""
    adapters: dict[str, Callable[[Sequence[Event]], object]] = {
        "events_to_messages (LangChain)": events_to_messages,
        "messages_of (LlamaIndex)": lambda events: messages_of(replay(events)),
    }
    found: list[Row] = []
    for name, convert in adapters.items():
        for kind, make in (("one turn", _one_turn), ("turns of 50", _many_turns)):
            many, few = make(_COUNT), make(_FEWER)
            each, fewer = _cost(convert, many, repeats), _cost(convert, few, 5 * repeats)
            surface = f"{name}: {_COUNT:,} events, {kind}"
            found.append(at_most("history", surface, "≤ 10 µs each", each, 10, "µs"))
            found.append(at_most("history", "  beside a history of 5,000", "linear: ≤ 1.3", each / fewer, 1.3, ""))
    return found


def _cost(convert: Callable[[Sequence[Event]], object], events: Sequence[Event], repeats: int) -> float:
    samples: list[float] = []
    for _ in range(repeats):
        gc.collect()
        began = time.process_time()
        messages = convert(events)
        samples.append((time.process_time() - began) / len(events) * 1e6)
        del messages
    return statistics.median(samples)
