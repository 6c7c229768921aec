"""The legacy callbacks, which many applications still count their tokens with."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from llama_index.core.callbacks import (
    CallbackManager,
    CBEventType,
    EventPayload,
    LlamaDebugHandler,
    TokenCountingHandler,
)
from llama_index.core.callbacks.base import global_stack_trace, global_stack_trace_ids

from chat_sessions import Stop, TextDelta, ToolCall, TurnFailed, Usage
from chat_sessions.llama_index import SessionChatEngine
from chat_sessions.llama_index.messages import token_counts
from tests.llama_index.checklist import proves
from tests.llama_index.conftest import ANSWER, METHODS, Gate, Script, ScriptedAgent, Serve, ask
from tests.llama_index.reading import CANCELS, read_until_error, stream


class Log(LlamaDebugHandler):
    """Keeps each call in order, as "start retrieve" or "end trace"."""

    def __init__(self) -> None:
        super().__init__(print_trace_on_end=False)
        self.calls: list[str] = []
        self.parents: dict[str, str] = {}
        self.ends: dict[str, dict[str, Any]] = {}

    def start_trace(self, trace_id: str | None = None) -> None:
        self.calls.append(f"start trace {trace_id}")

    def end_trace(self, trace_id: str | None = None, trace_map: dict[str, list[str]] | None = None) -> None:
        self.calls.append(f"end trace {trace_id}")

    def on_event_start(
        self,
        event_type: CBEventType,
        payload: dict[str, Any] | None = None,
        event_id: str = "",
        parent_id: str = "",
        **kwargs: Any,
    ) -> str:
        self.calls.append(f"start {event_type.value}")
        self.parents[event_id] = parent_id
        return super().on_event_start(event_type, payload, event_id, parent_id, **kwargs)

    def on_event_end(
        self, event_type: CBEventType, payload: dict[str, Any] | None = None, event_id: str = "", **kwargs: Any
    ) -> None:
        self.calls.append(f"end {event_type.value}")
        self.ends[event_type.value] = payload or {}
        super().on_event_end(event_type, payload, event_id, **kwargs)


def engine_with(serve: Serve, handler: LlamaDebugHandler | TokenCountingHandler, *scripts: Script) -> SessionChatEngine:
    return SessionChatEngine(client=serve(*scripts), callback_manager=CallbackManager([handler]))


@proves(38)
@pytest.mark.parametrize("method", METHODS)
async def test_a_debug_handler_sees_the_turn_as_a_chat_trace(serve: Serve, method: str) -> None:
    handler = Log()
    await ask(engine_with(serve, handler), method)
    assert handler.calls == [
        "start trace chat",
        "start llm",
        "start function_call",
        "start retrieve",
        "end retrieve",
        "end function_call",
        "end llm",
        "end trace chat",
    ]
    for kind in (CBEventType.LLM, CBEventType.FUNCTION_CALL):
        ((start, end),) = handler.get_event_pairs(kind)
        assert start.id_ == end.id_
    info = handler.get_event_time_info(CBEventType.LLM)
    assert info.total_secs > 0
    assert info.total_count == 1
    assert [node.text for node in handler.ends["retrieve"][EventPayload.NODES]] == ["Revenue was 84.2 million."]
    assert "84.2 million" in handler.ends["function_call"][EventPayload.FUNCTION_OUTPUT]
    assert str(handler.ends["llm"][EventPayload.RESPONSE].message.content) == "Revenue was 84.2."


@proves(38)
def test_tool_runs_that_overlap_are_siblings(serve: Serve) -> None:
    handler = Log()
    calls = tuple(ToolCall(call_id=name, name=name, arguments={}) for name in "abc")
    engine_with(serve, handler, (*calls, ANSWER[-1])).chat("How much?")
    assert set(handler.parents.values()) == {"root"}
    assert len(handler.parents) == 4


@proves(38)
@pytest.mark.parametrize("method", METHODS)
async def test_what_was_opened_is_closed_when_the_turn_fails(serve: Serve, method: str) -> None:
    handler = Log()
    script = (*ANSWER[:4], Stop(usage=Usage(), is_error=True, error="broken"))
    with pytest.raises(TurnFailed):
        await ask(engine_with(serve, handler, script), method)
    assert handler.calls[-3:] == ["end function_call", "end llm", "end trace chat"]
    assert isinstance(handler.ends["llm"][EventPayload.EXCEPTION], TurnFailed)
    assert isinstance(handler.ends["function_call"][EventPayload.EXCEPTION], TurnFailed)


async def test_nothing_of_a_turn_is_left_in_the_readers_context(serve: Serve) -> None:
    engine = engine_with(serve, Log())
    before = (global_stack_trace.get(), list(global_stack_trace_ids.get()))
    for _ in engine.stream_chat("How much?").response_gen:
        assert (global_stack_trace.get(), list(global_stack_trace_ids.get())) == before
    await engine.achat("How much?")
    assert (global_stack_trace.get(), list(global_stack_trace_ids.get())) == before


def test_a_turn_within_a_trace_is_a_part_of_it(serve: Serve) -> None:
    handler = Log()
    engine = engine_with(serve, handler)
    with engine.callback_manager.as_trace("app"):
        engine.chat("How much?")
    assert [call for call in handler.calls if "trace" in call] == ["start trace app", "end trace app"]


@proves(39)
@pytest.mark.parametrize("method", METHODS)
async def test_a_token_counter_counts_what_the_service_counted(serve: Serve, method: str) -> None:
    handler = TokenCountingHandler(tokenizer=str.split)
    await ask(engine_with(serve, handler), method)
    assert (handler.prompt_llm_token_count, handler.completion_llm_token_count) == (11, 7)
    assert handler.total_llm_token_count == 18


@proves(39)
@pytest.mark.parametrize(
    ("usage", "completion"),
    [(Usage(turns=None, duration_ms=None), None), (Usage(output_tokens=7), 7), (Usage(input_tokens=11), None)],
)
def test_a_token_counter_estimates_what_the_service_does_not_tell(
    serve: Serve, usage: Usage, completion: int | None
) -> None:
    handler = TokenCountingHandler(tokenizer=str.split)
    script = (TextDelta(content="Two words"), Stop(usage=usage, is_error=False))
    engine_with(serve, handler, script).chat("How much is it?")
    assert handler.completion_llm_token_count == (completion or len(["assistant:", "Two", "words"]))
    assert "total_tokens" not in token_counts(usage)
    assert handler.prompt_llm_token_count == (usage.input_tokens or handler.prompt_llm_token_count) > 0


@pytest.mark.parametrize("method", METHODS)
async def test_a_token_counter_counts_a_turn_that_failed(serve: Serve, method: str) -> None:
    handler = TokenCountingHandler(tokenizer=str.split)
    failed = Stop(usage=Usage(input_tokens=11, output_tokens=7), is_error=True, error="broken")
    with pytest.raises(TurnFailed):
        await ask(engine_with(serve, handler, (TextDelta(content="Two words"), failed)), method)
    assert (handler.prompt_llm_token_count, handler.completion_llm_token_count) == (11, 7)
    assert handler.llm_token_counts[0].completion == "assistant: Two words"


def test_a_token_counter_estimates_a_turn_that_was_left_early(serve: Serve) -> None:
    handler = TokenCountingHandler(tokenizer=str.split)
    with engine_with(serve, handler, (TextDelta(content="Two words"), *ANSWER)).stream_chat("How much?") as response:
        next(response.response_gen)
    assert handler.completion_llm_token_count == len(["assistant:", "Two", "words"])
    assert handler.prompt_llm_token_count > 0


class Angry(LlamaDebugHandler):
    """Raises at one event, as a token budget does."""

    def __init__(self, at: str) -> None:
        super().__init__(print_trace_on_end=False)
        self.at = at

    def on_event_start(self, event_type: CBEventType, *args: Any, **kwargs: Any) -> str:
        if self.at == f"start {event_type.value}":
            raise ValueError("over budget")
        return super().on_event_start(event_type, *args, **kwargs)

    def on_event_end(self, event_type: CBEventType, *args: Any, **kwargs: Any) -> None:
        if self.at == f"end {event_type.value}":
            raise ValueError("over budget")
        super().on_event_end(event_type, *args, **kwargs)


@proves(40)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "at", ["start llm", "start function_call", "end function_call", "start retrieve", "end retrieve"]
)
async def test_an_error_of_a_handler_comes_out_and_closes_the_socket(serve: Serve, method: str, at: str) -> None:
    gate = Gate()
    agent = ScriptedAgent((*ANSWER[:5], gate))
    chat = serve(agent=agent, behaviour=CANCELS)
    engine = SessionChatEngine(client=chat, callback_manager=CallbackManager([Angry(at)]))
    with pytest.raises(ValueError, match="over budget"):
        await ask(engine, method)
    if at == "start llm":
        assert agent.prompts == []
    else:
        assert await asyncio.to_thread(agent.ended.wait, 10)
        agent.scripts = [ANSWER]
    # The session is free for the next turn.
    again = SessionChatEngine(client=chat, session_id=engine.session_id, index_ids=["idx"])
    if at != "start llm":
        assert again.chat("And now?").response == "Revenue was 84.2."


@proves(40)
@pytest.mark.parametrize("method", METHODS)
async def test_a_budget_that_is_used_up_by_the_answer_comes_out_after_it(serve: Serve, method: str) -> None:
    engine = engine_with(serve, Angry("end llm"))
    if method in ("stream_chat", "astream_chat"):
        response = await stream(engine, method)
        pieces, error = await read_until_error(response, method)
        assert "".join(pieces) == "Revenue was 84.2."
        assert isinstance(error, ValueError)
        assert response.exception is error
    else:
        with pytest.raises(ValueError, match=r"(?i)budget"):
            await ask(engine, method)
