"""A turn that is cut, cancelled or refused: what was opened is closed, in order, and the truth is told."""

from __future__ import annotations

import asyncio
import gc
from contextlib import aclosing
from typing import Any

import anyio
import pytest
import trio
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.runnables import RunnableConfig

from chat_sessions import (
    APIConnectionError,
    AuthenticationError,
    ConfigurationError,
    LlamaCloudChat,
    NotFoundError,
    Timeouts,
    TurnFailed,
    TurnInterrupted,
)
from chat_sessions.core.events import TextDelta
from chat_sessions.langchain import SessionChatModel
from chat_sessions.langchain.runs.contexts import async_finish
from chat_sessions.langchain.runs.tool_records import ToolRunUnanswered
from tests.langchain.runs.test_runs import ASYNC_PATHS, SYNC_PATHS, AsyncPath, SyncPath
from tests.langchain.stage import FAILED, SEARCH, SEQUENCE, STOP, TEXT, TURN, Opener, Recorder, Stage, finished

CUT = ["llm_start", "tool_start", "tool_start", "tool_error", "tool_error", "llm_error"]


def _held(stage: Stage) -> SessionChatModel:
    """A model whose turn waits for ever after its two tool calls."""
    return stage.play(*TURN[:4], stage.actor.gate(), *TURN[4:]).model()


def _assert_free(model: SessionChatModel, stage: Stage) -> None:
    """The turn's stream was closed: its session takes another turn at once."""
    for gate in stage.actor.gates:
        gate.set()
    assert stage.actor.ended.wait(20)
    session = stage.client.session(stage.actor.sessions[0])
    # The agent is the first to know: until the stop is stored, the server is busy with the session.
    while not session.turns()[-1].is_complete:
        pass
    stage.play(*TEXT)
    assert session.ask("again").text == "Hello world"


@pytest.mark.checklist(32)
def test_leaving_a_stream_early_closes_the_tools_then_the_model_then_nothing_is_open(
    stage: Stage, recorder: Recorder
) -> None:
    model = _held(stage)
    chunks = model.stream("q", {"callbacks": [recorder]})
    for _ in range(4):
        next(chunks)
    chunks.close()  # type: ignore[attr-defined]
    assert recorder.names == CUT
    assert [run for event, run, _ in recorder.runs if event == "tool_error"] == ["R2", "R1"]
    _assert_free(model, stage)


@pytest.mark.checklist(32)
def test_a_loop_that_breaks_closes_the_runs(stage: Stage, recorder: Recorder) -> None:
    model = _held(stage)
    for number, _ in enumerate(model.stream("q", {"callbacks": [recorder]})):
        if number == 3:
            break
    gc.collect()
    assert recorder.names == CUT
    _assert_free(model, stage)


@pytest.mark.checklist(32)
def test_a_v3_stream_that_is_dropped_closes_the_runs(stage: Stage, recorder: Recorder) -> None:
    model = _held(stage)
    events = iter(model.stream_events("q", {"callbacks": [recorder]}, version="v3"))
    while "tool_start" not in recorder.names or recorder.names.count("tool_start") < 2:
        next(events)
    del events
    gc.collect()
    assert sorted(recorder.names) == sorted(CUT)
    _assert_free(model, stage)


@pytest.mark.checklist(33)
async def test_closing_an_async_stream_closes_all_before_it_returns(stage: Stage, recorder: Recorder) -> None:
    model = _held(stage)
    before = asyncio.all_tasks()
    async with aclosing(model.astream("q", {"callbacks": [recorder]})) as chunks:  # type: ignore[type-var]
        for _ in range(4):
            await anext(chunks)
    assert recorder.names == CUT
    assert asyncio.all_tasks() == before
    await asyncio.to_thread(_assert_free, model, stage)


@pytest.mark.checklist(34)
@pytest.mark.parametrize("name", [name for name in ASYNC_PATHS if "v3" not in name])
async def test_cancelling_a_task_closes_every_run(stage: Stage, recorder: Recorder, name: str) -> None:
    model = _held(stage)
    started = asyncio.Event()
    loop = asyncio.get_running_loop()

    class Told(BaseCallbackHandler):
        calls = 0

        def on_tool_start(self, serialized: Any, input_str: str, **kwargs: Any) -> None:
            self.calls += 1
            if self.calls == 2:
                loop.call_soon_threadsafe(started.set)

    task = asyncio.ensure_future(ASYNC_PATHS[name](model, {"callbacks": [recorder, Told()]}))
    async with asyncio.timeout(20):
        await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert recorder.names == CUT
    await asyncio.to_thread(_assert_free, model, stage)


@pytest.mark.checklist(34)
async def test_closing_an_async_v3_stream_closes_every_run(stage: Stage, recorder: Recorder) -> None:
    model = _held(stage)
    stream = await model.astream_events("q", {"callbacks": [recorder]}, version="v3")
    async for _ in stream:
        if recorder.names.count("tool_start") == 2:
            break
    await stream.aclose()
    assert recorder.names == CUT
    await asyncio.to_thread(_assert_free, model, stage)


@pytest.mark.checklist(35)
@pytest.mark.parametrize("path", SYNC_PATHS.values(), ids=SYNC_PATHS)
def test_a_turn_that_the_service_calls_failed_raises_with_its_session_and_text(
    stage: Stage, recorder: Recorder, path: SyncPath
) -> None:
    stage.play(SEARCH, TextDelta(content="so far"), FAILED)
    with pytest.raises(TurnFailed, match="the index burned") as caught:
        path(stage.model(), {"callbacks": [recorder]})
    assert caught.value.session_id == stage.actor.sessions[0]
    assert caught.value.turn.text == "so far"
    assert recorder.names == ["llm_start", "tool_start", "tool_error", "llm_error"]
    if path is not SYNC_PATHS["stream_events v3"]:  # there LangChain ends the run, and knows no partial answer
        message = recorder.first("llm_error")[1].generations[0][0].message
        assert message.text == "so far"
        assert message.response_metadata["finish_reason"] == "error"


@pytest.mark.checklist(35)
@pytest.mark.parametrize("path", ASYNC_PATHS.values(), ids=ASYNC_PATHS)
async def test_an_async_turn_that_failed_raises_the_same(stage: Stage, recorder: Recorder, path: AsyncPath) -> None:
    stage.play(SEARCH, TextDelta(content="so far"), FAILED)
    with pytest.raises(TurnFailed, match="the index burned") as caught:
        await path(stage.model(), {"callbacks": [recorder]})
    assert caught.value.turn.text == "so far"
    assert recorder.names == ["llm_start", "tool_start", "tool_error", "llm_error"]


@pytest.mark.checklist(36)
async def test_a_stream_that_ends_without_a_stop_is_no_success(open_with: Opener, recorder: Recorder) -> None:
    stage = open_with(timeouts=Timeouts(recovery=0.0))
    model = stage.play(*TURN[:4], stage.actor.gate()).model()
    chunks = model.stream("q", {"callbacks": [recorder]})
    for _ in range(4):
        next(chunks)
    closing = asyncio.create_task(asyncio.to_thread(stage.server.close))
    # The server ends its turns as errors; a dead connection is a TurnInterrupted. Neither is a success.
    with pytest.raises((TurnFailed, TurnInterrupted)):
        await asyncio.to_thread(list, chunks)
    stage.actor.gates[0].set()
    await closing
    assert recorder.names == CUT


@pytest.mark.checklist(37)
async def test_a_tool_without_a_result_is_an_error_in_a_turn_that_succeeds(stage: Stage) -> None:
    model = stage.play(SEARCH, *TEXT).model()
    for path in (*SYNC_PATHS.values(), *ASYNC_PATHS.values()):
        recorder = Recorder()
        await finished(path(model, {"callbacks": [recorder]}))
        assert recorder.names == ["llm_start", "tool_start", "tool_error", "llm_end"]
        assert isinstance(recorder.first("tool_error"), ToolRunUnanswered)


@pytest.mark.checklist(38)
async def test_a_refused_turn_raises_with_its_status(stage: Stage) -> None:
    refused = SessionChatModel(client=stage.client, session_id="ses-nobody", index_ids=["idx-docs"])
    for path in (*SYNC_PATHS.values(), *ASYNC_PATHS.values()):
        recorder = Recorder()
        with pytest.raises(NotFoundError) as caught:
            await finished(path(refused, {"callbacks": [recorder]}))
        assert caught.value.status_code == 404
        assert recorder.names == ["llm_start", "llm_error"]


@pytest.mark.checklist(38)
def test_a_wrong_key_raises_an_authentication_error(stage: Stage) -> None:
    stranger = LlamaCloudChat(api_key="llx-wrong", base_url=stage.server.url, index_ids=["idx-docs"])
    with stranger, pytest.raises(AuthenticationError):
        SessionChatModel(client=stranger).invoke("q")


@pytest.mark.checklist(39)
async def test_a_prompt_that_may_have_landed_is_not_posted_again(open_with: Opener) -> None:
    stage = open_with(timeouts=Timeouts(idle=0.2, recovery=0.0))
    model = stage.play(TextDelta(content="a"), stage.actor.gate(), STOP).model()
    with pytest.raises(Exception, match="no event"):
        model.invoke("q")
    with pytest.raises(Exception, match="no event"):
        await model.ainvoke("q2")
    assert stage.actor.prompts == ["q", "q2"]


@pytest.mark.checklist(40)
async def test_a_fallback_takes_over_before_the_first_chunk(stage: Stage) -> None:
    with LlamaCloudChat(
        api_key="llx-x", base_url="http://127.0.0.1:9", index_ids=["idx-docs"], max_retries=0
    ) as nowhere:
        with pytest.raises(APIConnectionError):
            SessionChatModel(client=nowhere).invoke("q")
        model = SessionChatModel(client=nowhere).with_fallbacks([stage.play(*TEXT).model()])
        assert "".join(chunk.text for chunk in model.stream("q")) == "Hello world"
        assert "".join([chunk.text async for chunk in model.astream("q")]) == "Hello world"
        assert model.invoke("q").text == "Hello world"


def test_a_handler_that_raises_closes_the_stream_and_the_other_runs(stage: Stage, recorder: Recorder) -> None:
    class Strict(BaseCallbackHandler):
        raise_error = True

        def on_tool_end(self, output: Any, **kwargs: Any) -> None:
            raise RuntimeError("not on my watch")

    model = stage.model()
    with pytest.raises(RuntimeError, match="not on my watch"):
        list(model.stream("q", {"callbacks": [recorder, Strict()]}))
    assert recorder.names[-2:] == ["tool_error", "llm_error"]
    assert stage.client.session(stage.actor.sessions[0]).ask("again").text == "Hello world"


@pytest.mark.checklist(34)
async def test_cancelling_while_a_handler_is_told_of_a_start_tells_it_of_the_end(
    stage: Stage, recorder: Recorder
) -> None:
    reached, go_on = asyncio.Event(), asyncio.Event()

    class Slow(AsyncCallbackHandler):
        async def on_chat_model_start(self, *args: Any, **kwargs: Any) -> None:
            reached.set()
            await go_on.wait()

    for path in (ASYNC_PATHS["ainvoke"], ASYNC_PATHS["astream"]):
        seen = Recorder()
        task = asyncio.ensure_future(path(stage.model(), {"callbacks": [seen, Slow()]}))
        async with asyncio.timeout(20):
            await reached.wait()
        task.cancel()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert seen.names == ["llm_start", "llm_error"]
        reached.clear()
        go_on.clear()
    assert stage.actor.prompts == []


@pytest.mark.parametrize("event", ["on_tool_start", "on_tool_end"])
async def test_cancelling_while_a_handler_is_told_of_a_tool_ends_the_tools_run_once(stage: Stage, event: str) -> None:
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def wait(*_: Any, **__: Any) -> None:
        reached.set()
        await go_on.wait()

    slow: Any = type("Slow", (AsyncCallbackHandler,), {event: staticmethod(wait)})
    for path in (ASYNC_PATHS["ainvoke"], ASYNC_PATHS["astream"]):
        seen = Recorder()
        task = asyncio.ensure_future(path(stage.play(*TURN).model(), {"callbacks": [slow(), seen]}))
        async with asyncio.timeout(20):
            await reached.wait()
        task.cancel()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        starts, ends = seen.names.count("tool_start"), seen.names.count("tool_end") + seen.names.count("tool_error")
        assert starts == ends > 0
        assert seen.names[-1] == "llm_error"
        reached.clear()
        go_on.clear()


def test_the_session_is_free_when_the_last_chunk_is_shown(stage: Stage) -> None:
    """Whoever stops reading there holds the stream, and may send the next prompt all the same."""
    model = stage.play(*TEXT).model(session_id=stage.client.create(index_ids=["idx-docs"]).session_id)
    chunks = model.stream("one")
    while next(chunks).chunk_position != "last":
        pass
    events = iter(model.stream_events("two", version="v3"))
    while next(events)["event"] != "message-finish":
        pass
    assert model.invoke("three").text == "Hello world"
    assert stage.actor.prompts == ["one", "two", "three"]


def test_a_v3_stream_read_to_its_end_ends_its_run_once(stage: Stage, recorder: Recorder) -> None:
    message = stage.model().stream_events("q", {"callbacks": [recorder]}, version="v3").output
    gc.collect()
    assert message.text == "Hello world"
    assert recorder.runs == SEQUENCE


@pytest.mark.checklist(34)
async def test_a_cancelled_scope_that_cancels_each_wait_anew_closes_every_run(stage: Stage, recorder: Recorder) -> None:
    model = _held(stage)
    with anyio.CancelScope() as scope:
        number = 0
        async for _ in model.astream("q", {"callbacks": [recorder]}):
            number += 1
            if number == 4:
                scope.cancel()
    assert scope.cancelled_caught
    assert recorder.names == CUT
    await asyncio.to_thread(_assert_free, model, stage)


async def test_a_reader_that_leaves_at_the_last_chunk_leaves_a_turn_that_ended_well(stage: Stage) -> None:
    model = stage.model()
    sync_seen, async_seen = Recorder(), Recorder()
    chunks = model.stream("q", {"callbacks": [sync_seen]})
    while next(chunks).chunk_position != "last":
        pass
    chunks.close()  # type: ignore[attr-defined]
    async with aclosing(model.astream("q", {"callbacks": [async_seen]})) as achunks:  # type: ignore[type-var]
        async for chunk in achunks:
            if chunk.chunk_position == "last":
                break
    assert sync_seen.runs == async_seen.runs == SEQUENCE


async def test_a_cancelled_closing_that_fails_is_a_cancellation_because_of_that(stage: Stage) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def closing() -> None:
        begun.set()
        await go_on.wait()
        raise RuntimeError("the handler broke")

    task = asyncio.create_task(async_finish(closing))
    await begun.wait()
    task.cancel()
    go_on.set()
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    assert isinstance(caught.value.__cause__, RuntimeError)


@pytest.mark.parametrize("name", ["ainvoke", "astream", "astream_events v3", "disable_streaming"])
async def test_a_model_says_that_trio_will_not_do(stage: Stage, recorder: Recorder, name: str) -> None:
    model = stage.model()
    config: RunnableConfig = {"callbacks": [recorder]}

    def under_trio() -> None:
        with pytest.raises(ConfigurationError, match="under asyncio only"):
            trio.run(ASYNC_PATHS[name], model, config)

    await asyncio.to_thread(under_trio)
    gc.collect()  # a coroutine that was never awaited would be a warning
    assert (recorder.names, stage.actor.sessions) == ([], [])
