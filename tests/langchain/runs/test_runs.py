"""What handlers are told of a turn: the same on every entry point."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from contextvars import ContextVar, Token
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tracers._streaming import _V2StreamingCallbackHandler
from langchain_tests.utils.stream_lifecycle import assert_valid_event_stream

from chat_sessions import ConfigurationError
from chat_sessions.core.events import TextDelta, ThinkingDelta, ToolResult
from chat_sessions.langchain import SessionChatModel
from tests.langchain.stage import (
    SEARCH,
    SEQUENCE,
    STOP,
    TEXT,
    TEXT_TOOL_TEXT,
    TURN,
    Recorder,
    Stage,
    finished,
    plain_blocks,
    total,
)

SyncPath = Callable[[SessionChatModel, RunnableConfig], Any]
AsyncPath = Callable[[SessionChatModel, RunnableConfig], Awaitable[Any]]

SYNC_PATHS: dict[str, SyncPath] = {
    "invoke": lambda model, config: model.invoke("q", config),
    "stream": lambda model, config: list(model.stream("q", config)),
    "invoke(stream=True)": lambda model, config: model.invoke("q", config, stream=True),
    "stream_events v3": lambda model, config: list(model.stream_events("q", config, version="v3")),
    "batch": lambda model, config: model.batch(["q"], config),
    "disable_streaming": lambda model, config: list(
        model.model_copy(update={"disable_streaming": True}).stream("q", config)
    ),
    "generate": lambda model, config: model.generate_prompt([_prompt("q")], callbacks=config["callbacks"]),
}


def _prompt(text: str) -> Any:
    from langchain_core.prompt_values import StringPromptValue

    return StringPromptValue(text=text)


async def _astream(model: SessionChatModel, config: RunnableConfig) -> list[Any]:
    return [chunk async for chunk in model.astream("q", config)]


async def _v2(model: SessionChatModel, config: RunnableConfig) -> list[Any]:
    return [event async for event in model.astream_events("q", config, version="v2")]


async def _v3(model: SessionChatModel, config: RunnableConfig) -> list[Any]:
    stream = await model.astream_events("q", config, version="v3")
    try:
        return [event async for event in stream]
    finally:
        await stream.aclose()  # the run is ended from a task of its own


async def _disabled(model: SessionChatModel, config: RunnableConfig) -> list[Any]:
    return [chunk async for chunk in model.model_copy(update={"disable_streaming": True}).astream("q", config)]


ASYNC_PATHS: dict[str, AsyncPath] = {
    "ainvoke": lambda model, config: model.ainvoke("q", config),
    "astream": _astream,
    "astream_events v2": _v2,
    "astream_events v3": _v3,
    "abatch": lambda model, config: model.abatch(["q"], config),
    "disable_streaming": _disabled,
}


@pytest.mark.checklist(18, 20)
@pytest.mark.parametrize("path", SYNC_PATHS.values(), ids=SYNC_PATHS)
def test_a_handler_sees_the_model_run_and_each_tool_run_in_it(stage: Stage, recorder: Recorder, path: SyncPath) -> None:
    path(stage.model(), {"callbacks": [recorder]})
    assert recorder.runs == SEQUENCE


@pytest.mark.checklist(19, 20)
@pytest.mark.parametrize("path", ASYNC_PATHS.values(), ids=ASYNC_PATHS)
async def test_an_async_call_tells_a_handler_the_same(stage: Stage, recorder: Recorder, path: AsyncPath) -> None:
    await path(stage.model(), {"callbacks": [recorder]})
    assert recorder.runs == SEQUENCE


@pytest.mark.checklist(19)
async def test_astream_events_has_the_tools_below_the_model(stage: Stage) -> None:
    events = [event async for event in stage.model().astream_events("q", version="v2")]
    (model_run,) = {event["run_id"] for event in events if event["event"] == "on_chat_model_start"}
    tools = [event for event in events if event["event"] in ("on_tool_start", "on_tool_end")]
    assert [(event["event"], event["name"]) for event in tools] == [
        ("on_tool_start", "search"),
        ("on_tool_start", "read"),
        ("on_tool_end", "read"),
        ("on_tool_end", "search"),
    ]
    assert all(event["parent_ids"] == [model_run] for event in tools)
    assert tools[0]["data"]["input"] == {"q": "Q3"}


@pytest.mark.checklist(21)
async def test_a_tool_run_has_name_inputs_call_id_and_a_tool_message(stage: Stage, recorder: Recorder) -> None:
    stage.model().invoke("q", {"callbacks": [recorder]})
    await stage.model().ainvoke("q", {"callbacks": [recorder]})
    search = ("search", {"q": "Q3"}, "c1", "search")
    read = ("read", {"page": 2}, "c2", "read")
    assert recorder.details("tool_start") == [search, read] * 2
    outputs = recorder.details("tool_end")
    assert all(isinstance(output, ToolMessage) for output in outputs)
    assert [(output.name, output.tool_call_id, output.status) for output in outputs] == [
        ("read", "c2", "success"),
        ("search", "c1", "success"),
    ] * 2
    assert outputs[0].artifact["image_attachment"]["source_id"] == "dfl-1"
    assert '"page": 2' in outputs[0].content


async def test_a_result_without_a_call_is_a_tool_run_of_its_own(stage: Stage) -> None:
    model = stage.play(ToolResult(call_id="lost", name="grep", result="x"), *TEXT).model()
    for path in (SYNC_PATHS["invoke"], ASYNC_PATHS["ainvoke"]):
        recorder = Recorder()
        await finished(path(model, {"callbacks": [recorder]}))
        assert recorder.names == ["llm_start", "tool_start", "tool_end", "llm_end"]
        assert recorder.first("tool_start") == ("grep", {}, "lost", "grep")


@pytest.mark.checklist(24)
async def test_without_trace_tools_there_are_no_tool_runs_and_the_same_blocks(stage: Stage, recorder: Recorder) -> None:
    silent = stage.model(trace_tools=False)
    message = silent.invoke("q", {"callbacks": [recorder]})
    await silent.ainvoke("q", {"callbacks": [recorder]})
    list(silent.stream_events("q", {"callbacks": [recorder]}, version="v3"))
    assert recorder.names == ["llm_start", "llm_end"] * 3
    assert plain_blocks(message) == plain_blocks(stage.model().invoke("q"))


@pytest.mark.checklist(25)
async def test_tool_runs_of_calls_at_the_same_time_are_below_their_own_call(stage: Stage, recorder: Recorder) -> None:
    model = stage.model()
    await asyncio.gather(*(model.ainvoke("q", {"callbacks": [recorder]}) for _ in range(3)))
    models = [run for event, run, _ in recorder.runs if event == "llm_start"]
    parents = [parent for event, _, parent in recorder.runs if event == "tool_start"]
    assert sorted(parents) == sorted([*models, *models])


@pytest.mark.checklist(26)
async def test_tags_and_metadata_of_the_config_reach_the_tool_runs(stage: Stage) -> None:
    model = stage.model()
    for path in (model.invoke, model.ainvoke, lambda *a: list(model.stream(*a))):
        recorder = Recorder()
        await finished(path("q", {"callbacks": [recorder], "tags": ["mine"], "metadata": {"user": "u-1"}}))
        assert all("mine" in tags for tags in recorder.tags.values())
        assert all(metadata["user"] == "u-1" for metadata in recorder.metadata.values())
        assert "ls_model_name" in recorder.metadata["R0"]
        assert not any(key.startswith("ls_") for key in recorder.metadata["R1"])


@pytest.mark.checklist(26)
def test_callbacks_of_the_constructor_see_the_model_run_alone(stage: Stage, recorder: Recorder) -> None:
    inherited = Recorder()
    model = stage.model(callbacks=[recorder])
    model.invoke("q", {"callbacks": [inherited]})
    list(model.stream("q"))
    assert recorder.names == ["llm_start", "llm_end"] * 2
    assert inherited.runs == SEQUENCE


@pytest.mark.checklist(27)
async def test_the_run_id_of_the_config_is_the_runs(stage: Stage) -> None:
    model = stage.model()
    for path in (model.invoke, model.ainvoke, lambda *a: list(model.stream(*a))):
        recorder, run_id = Recorder(), uuid.uuid4()
        message = await finished(path("q", {"callbacks": [recorder], "run_id": run_id}))
        assert recorder.run_ids["R0"] == run_id
        assert str(run_id) in str(message[0].id if isinstance(message, list) else message.id)


@pytest.mark.checklist(27)
async def test_a_run_id_is_for_the_first_of_several_turns(stage: Stage) -> None:
    run_id = uuid.uuid4()
    prompts: Any = [[HumanMessage("a")], [HumanMessage("b")]]
    for result in (
        stage.model().generate(prompts, run_id=run_id),
        await stage.model().agenerate(prompts, run_id=run_id),
    ):
        first, second = [run.run_id for run in result.run or []]
        assert first == run_id != second
        assert len(result.generations) == 2


@pytest.mark.checklist(28)
def test_invocation_params_hold_what_the_caller_gave_and_nothing_else(stage: Stage, recorder: Recorder) -> None:
    session = stage.client.create(index_ids=["idx-docs"]).session_id
    list(stage.model().stream("q", {"callbacks": [recorder]}, session_id=session))
    stage.model().invoke("q", {"callbacks": [recorder]}, session_id=session)
    for name in ("R0", "R3"):
        assert recorder.started[name]["invocation_params"] == {
            "model_name": "llama-cloud-chat",
            "session_id": session,
            "index_ids": None,
            "_type": "chat-session",
            "stop": None,
        }


@pytest.mark.checklist(29)
async def test_each_chunk_is_one_token_for_a_handler(stage: Stage, recorder: Recorder) -> None:
    model = stage.model()
    chunks = [chunk.content for chunk in model.stream("q", {"callbacks": [recorder]})]
    assert recorder.details("token") == chunks
    later = Recorder()
    chunks = [chunk.content async for chunk in model.astream("q", {"callbacks": [later]})]
    assert later.details("token") == chunks


@pytest.mark.checklist(29)
async def test_an_invoke_asked_to_stream_tells_the_tokens_to_its_handler(stage: Stage) -> None:
    model = stage.model()
    expected = [chunk.content for chunk in model.stream("q")]
    for call in (model.invoke, model.ainvoke):
        recorder = Recorder()
        await finished(call("q", {"callbacks": [recorder]}, stream=True))
        assert recorder.details("token") == expected


class _ProtocolRecorder(Recorder, _V2StreamingCallbackHandler):
    """A handler that asks for protocol events, as LangGraph's newest streams do."""


@pytest.mark.checklist(16)
async def test_an_invoke_with_a_protocol_handler_tells_it_a_valid_stream(stage: Stage) -> None:
    for call in (stage.model().invoke, stage.model().ainvoke):
        recorder = _ProtocolRecorder()
        message = await finished(call("q", {"callbacks": [recorder]}))
        events = recorder.details("stream_event")
        assert_valid_event_stream(events)
        assert recorder.details("token") == []
        assert recorder.runs == SEQUENCE
        assert events[0]["id"] == message.id
        assert message.content == "Hello world", "the version is the model's own, whoever listens"


@pytest.mark.checklist(16)
@pytest.mark.parametrize(
    "script",
    [
        TURN,
        TEXT,
        TEXT_TOOL_TEXT,
        (ThinkingDelta(content="a"), TextDelta(content="b"), ThinkingDelta(content="c"), SEARCH, STOP),
        (STOP,),
    ],
    ids=["tools", "text", "text-tool-text", "interleaved", "empty"],
)
async def test_v3_streams_are_valid(stage: Stage, script: Any) -> None:
    model = stage.play(*script).model()
    sync_events = list(model.stream_events("q", version="v3"))
    async_events = [event async for event in await model.astream_events("q", version="v3")]
    assert_valid_event_stream(sync_events)
    assert_valid_event_stream(async_events)
    assert [event["event"] for event in sync_events] == [event["event"] for event in async_events]
    finish: Any = sync_events[-1]
    assert finish["event"] == "message-finish"
    # Newer versions of LangChain read these here and not in the metadata.
    assert (finish["finish_reason"], finish["normalized_finish_reason"]) == ("stop", "stop")
    assert finish["usage"]["total_tokens"] == 14


class _ActiveSpan(BaseCallbackHandler):
    """Keeps the active run in a context variable, as MLflow does, and notes below which each run began."""

    raise_error = True
    _active: ContextVar[str | None] = ContextVar("active", default=None)

    def __init__(self) -> None:
        self.below: dict[str, str | None] = {}
        self._tokens: dict[uuid.UUID, Token[str | None]] = {}

    @property
    def active(self) -> str | None:
        return self._active.get()

    def _start(self, name: str, run_id: uuid.UUID) -> None:
        self.below[name] = self.active
        self._tokens[run_id] = self._active.set(name)

    def on_chat_model_start(self, serialized: Any, messages: Any, *, run_id: uuid.UUID, **kwargs: Any) -> None:
        self._start("model", run_id)

    def on_tool_start(self, serialized: Any, input_str: str, *, run_id: uuid.UUID, **kwargs: Any) -> None:
        self._start(serialized["name"], run_id)

    def on_retriever_start(self, serialized: Any, query: str, *, run_id: uuid.UUID, **kwargs: Any) -> None:
        self._start(f"{serialized['name']} retrieves", run_id)

    def _end(self, run_id: uuid.UUID) -> None:
        # Raises in another context than that of the start.
        self._active.reset(self._tokens.pop(run_id))

    def on_tool_end(self, output: Any, *, run_id: uuid.UUID, **kwargs: Any) -> None:
        self._end(run_id)

    def on_retriever_end(self, documents: Any, *, run_id: uuid.UUID, **kwargs: Any) -> None:
        self._end(run_id)

    def on_llm_end(self, response: Any, *, run_id: uuid.UUID, **kwargs: Any) -> None:
        self._end(run_id)


@pytest.mark.parametrize("name", SYNC_PATHS)
def test_tools_that_run_at_the_same_time_are_not_below_each_other_for_who_keeps_the_active_one(
    stage: Stage, name: str
) -> None:
    handler = _ActiveSpan()
    SYNC_PATHS[name](stage.model(), {"callbacks": [handler]})
    assert handler.below == {
        "model": None,
        "search": "model",
        "read": "model",
        "read retrieves": "read",
        "search retrieves": "search",
    }
    assert handler.active is None


@pytest.mark.checklist(17)
def test_in_v3_a_tool_result_is_there_before_the_service_writes_the_next_event(stage: Stage) -> None:
    gate = stage.actor.gate()
    stage.play(*TURN[:5], gate, *TURN[5:])
    finished = (
        event["content"]
        for event in stage.model().stream_events("q", version="v3")
        if event["event"] == "content-block-finish"
    )
    kinds = [next(finished)["type"] for _ in range(4)]
    assert kinds == ["reasoning", "server_tool_call", "server_tool_call", "server_tool_result"]
    gate.set()
    assert [block["type"] for block in finished] == ["server_tool_result", "text"]


@pytest.mark.checklist(17)
async def test_in_async_v3_a_tool_result_is_there_before_the_service_writes_the_next_event(stage: Stage) -> None:
    gate = stage.actor.gate()
    stage.play(*TURN[:5], gate, *TURN[5:])
    kinds = []
    async for event in await stage.model().astream_events("q", version="v3"):
        if event["event"] == "content-block-finish":
            kinds.append(event["content"]["type"])
            if len(kinds) == 4:
                gate.set()
    assert kinds[3:] == ["server_tool_result", "server_tool_result", "text"]


async def test_langchains_own_drivers_get_the_same_from_the_producers(stage: Stage) -> None:
    model, base = stage.model(), BaseChatModel
    prompt: Any = [HumanMessage("q")]
    invoked = plain_blocks(model.invoke(prompt))
    assert plain_blocks(base.generate(model, [prompt]).generations[0][0].message) == invoked  # type: ignore[union-attr]
    result = await base.agenerate(model, [prompt])
    assert plain_blocks(result.generations[0][0].message) == invoked  # type: ignore[union-attr]
    assert plain_blocks(total(list(base.stream(model, prompt)))) == invoked
    assert plain_blocks(total([chunk async for chunk in base.astream(model, prompt)])) == invoked


async def test_of_several_turns_at_once_the_others_end_when_one_fails(stage: Stage, recorder: Recorder) -> None:
    prompts: Any = [[HumanMessage("q")], [AIMessage("no question")]]
    with pytest.raises(ConfigurationError):
        await stage.model().agenerate(prompts, callbacks=[recorder])
    assert sorted(name for name in recorder.names if name.startswith("llm")) == [
        "llm_end",
        "llm_error",
        "llm_start",
        "llm_start",
    ]
