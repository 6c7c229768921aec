"""Tokens are LangChain's own objects, and its handlers are told of each, whoever they are."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.messages import AIMessageChunk, HumanMessage
from langchain_core.outputs import ChatGenerationChunk
from langgraph.graph import START, MessagesState, StateGraph

from chat_sessions.core.events import TextDelta
from chat_sessions.langchain import session_node
from chat_sessions.langchain._compat import Mold
from chat_sessions.langchain.content import Content, MessageForm
from tests.langchain.stage import STOP, Stage

TOKENS = (TextDelta(content="Hel"), TextDelta(content="lo"), STOP)


def test_a_cast_object_equals_a_validated_one_and_shares_nothing_with_the_next() -> None:
    mold = Mold(AIMessageChunk(content="", id="run-1", response_metadata={"output_version": "v1"}))
    one, two = mold.cast(content="a"), mold.cast(content="b")
    assert one == AIMessageChunk(content="a", id="run-1", response_metadata={"output_version": "v1"})
    assert one.model_fields_set == AIMessageChunk(content="a", id="r", response_metadata={}).model_fields_set
    one.tool_calls.append({"name": "t", "args": {}, "id": "1", "type": "tool_call"})
    one.response_metadata["x"] = 1
    one.additional_kwargs["x"] = 1
    assert two == AIMessageChunk(content="b", id="run-1", response_metadata={"output_version": "v1"})
    assert (one + two).content == "ab"


@pytest.mark.parametrize(("version", "content"), [(None, "a"), ("v1", [{"type": "text", "text": "a", "index": 0}])])
def test_a_piece_of_an_answer_is_the_chunk_that_langchain_makes(version: str | None, content: Content) -> None:
    form = MessageForm("llama_cloud", "model", version, message_id="lc_run--1")
    metadata = {} if version is None else {"output_version": version}
    one = form.chunks().cast(content=content)
    two = AIMessageChunk(content=content, additional_kwargs={}, id="lc_run--1", response_metadata=metadata)
    assert one == two
    assert one.model_fields_set == two.model_fields_set


class Sync(BaseCallbackHandler):
    def __init__(self) -> None:
        self.told: list[tuple[Any, Any]] = []

    def on_llm_new_token(self, token: Any, *, chunk: Any = None, **kwargs: Any) -> None:
        assert isinstance(chunk, ChatGenerationChunk)
        assert chunk == ChatGenerationChunk(message=chunk.message)
        assert kwargs["run_id"] is not None
        self.told.append((token, chunk.text))


class Inline(Sync):
    run_inline = True


class Async(AsyncCallbackHandler):
    def __init__(self) -> None:
        self.sync = Sync()

    @property
    def told(self) -> list[tuple[Any, Any]]:
        return self.sync.told

    async def on_llm_new_token(self, token: Any, **kwargs: Any) -> None:
        await asyncio.sleep(0)
        self.sync.on_llm_new_token(token, **kwargs)


class Deaf(Async):
    ignore_llm = True


@pytest.mark.parametrize(
    "kinds", [(Sync,), (Inline,), (Async,), (Async, Async), (Inline, Async), (Sync, Inline, Async), (Deaf, Inline)]
)
async def test_every_handler_is_told_of_every_token(
    stage: Stage, kinds: tuple[Callable[[], Sync | Async], ...]
) -> None:
    for stream in (True, False):
        handlers: list[Sync | Async] = [kind() for kind in kinds]
        config: Any = {"callbacks": handlers}
        model = stage.play(*TOKENS).model()
        if stream:
            assert "".join([chunk.text async for chunk in model.astream("q", config)]) == "Hello"
        else:
            assert (await model.ainvoke("q", config, stream=True)).text == "Hello"
        expected = [("Hel", "Hel"), ("lo", "lo"), ("", "")]
        assert [handler.told for handler in handlers] == [
            [] if isinstance(handler, Deaf) else expected for handler in handlers
        ]


@pytest.mark.parametrize("strict", [True, False])
async def test_an_async_handler_that_fails_is_logged_and_ends_the_stream_only_if_it_asks_to(
    stage: Stage, caplog: pytest.LogCaptureFixture, strict: bool
) -> None:
    class Failing(AsyncCallbackHandler):
        raise_error = strict

        async def on_llm_new_token(self, token: Any, **kwargs: Any) -> None:
            raise RuntimeError("no room")

    stream = stage.play(*TOKENS).model().astream("q", {"callbacks": [Failing()]})
    with caplog.at_level(logging.WARNING, "langchain_core.callbacks.manager"):
        if strict:
            with pytest.raises(RuntimeError, match="no room"):
                await anext(stream)
        else:
            assert "".join([chunk.text async for chunk in stream]) == "Hello"
    assert "Error in Failing.on_llm_new_token callback: RuntimeError('no room')" in caplog.text


async def test_streaming_says_whether_handlers_get_tokens_and_whether_there_are_pieces_at_all(stage: Stage) -> None:
    stage.play(*TOKENS)
    told: dict[bool | None, int] = {}
    pieces: dict[bool | None, int] = {}
    for streaming in (None, True, False):
        handler = Sync()
        config: Any = {"callbacks": [handler]}
        model = stage.model(streaming=streaming)
        model.invoke("q", config)
        await model.ainvoke("q", config)
        told[streaming] = len(handler.told)
        pieces[streaming] = len(list(model.stream("q"))) + len([chunk async for chunk in model.astream("q")])
    assert told == {None: 0, True: 6, False: 0}
    assert pieces == {None: 6, True: 6, False: 2}


def test_a_model_that_does_not_stream_gives_a_graph_one_message(stage: Stage) -> None:
    def parts(streaming: bool) -> int:
        node = session_node(stage.play(*TOKENS).model(streaming=streaming))
        graph = StateGraph(MessagesState).add_node("ask", node).add_edge(START, "ask").compile()
        return len(list(graph.stream({"messages": [HumanMessage("q")]}, stream_mode="messages")))

    assert (parts(streaming=True), parts(streaming=False)) == (3, 1)


async def test_others_get_their_turn_between_tokens_that_come_at_once(stage: Stage) -> None:
    class Queue(AsyncCallbackHandler):
        """Passes tokens on to another task, as the handlers of LangChain's iterators do."""

        def __init__(self) -> None:
            self.tokens: asyncio.Queue[Any] = asyncio.Queue()

        async def on_llm_new_token(self, token: Any, **kwargs: Any) -> None:
            self.tokens.put_nowait(token)

    queue, most = Queue(), 0

    async def take() -> None:
        nonlocal most
        while True:
            waiting = queue.tokens.qsize()
            most = max(most, waiting)
            await queue.tokens.get()

    taker = asyncio.create_task(take())
    stage.play(*(TextDelta(content=f"{number} ") for number in range(40)), STOP)
    await stage.model().ainvoke("q", {"callbacks": [queue]}, stream=True)
    taker.cancel()
    assert most <= 2
