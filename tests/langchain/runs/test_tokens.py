"""Tokens are LangChain's own objects, and its handlers are told of each, whoever they are."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk

from chat_sessions.core.events import TextDelta
from chat_sessions.langchain._compat import Mold
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
