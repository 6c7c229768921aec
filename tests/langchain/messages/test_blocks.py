"""Thoughts and tools beside the text of an answer: other models get its words, and `content_blocks` all of it."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any, TypedDict

import pytest
from langchain_core.load import dumpd, load
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    HumanMessage,
    convert_to_openai_messages,
    get_buffer_string,
    message_chunk_to_message,
    message_to_dict,
    messages_from_dict,
)
from langchain_core.messages.block_translators import get_translator

from chat_sessions.langchain import SessionChatModel, events_to_messages, text_message
from chat_sessions.langchain.blocks import blocks_in
from chat_sessions.langchain.content import MessageForm
from tests.langchain.messages.test_readers import APART, WORDS
from tests.langchain.stage import Stage, plain_blocks, total

KINDS = ["reasoning", "text", "server_tool_call", "server_tool_result", "reasoning", "text"]


async def _answers(stage: Stage) -> dict[str, AIMessage]:
    """An answer, from each place where users find one."""
    model = stage.model(session_id=stage.new_session())
    found = {
        "invoke": model.invoke("q"),
        "ainvoke": await model.ainvoke("q"),
        "stream": total(list(model.stream("q"))),
        "astream": total([chunk async for chunk in model.astream("q")]),
    }
    stored = events_to_messages(stage.client.retrieve(str(model.session_id)).events, session_id=model.session_id)
    assert isinstance(stored[-1], AIMessage)
    return {**found, "stored": stored[-1]}


async def test_content_is_the_text_and_content_blocks_are_all_of_it(stage: Stage) -> None:
    in_v1 = plain_blocks(stage.play(*APART).model(output_version="v1").invoke("q"))
    assert [block["type"] for block in in_v1] == KINDS
    for message in (await _answers(stage)).values():
        assert message.content == message.text == WORDS
        assert plain_blocks(message) == in_v1
        assert [block["index"] for block in message.content_blocks] == [0, 1, 2, 3, 4, 5]


async def test_another_model_gets_the_words_of_an_answer_and_nothing_else(stage: Stage) -> None:
    stage.play(*APART)
    for message in (await _answers(stage)).values():
        assert convert_to_openai_messages([message]) == [{"role": "assistant", "content": WORDS}]
        assert get_buffer_string([message]).partition(": ")[2] == WORDS


@pytest.mark.parametrize(
    "kept",
    [
        lambda message: messages_from_dict([message_to_dict(message)])[0],
        lambda message: load(dumpd(message), allowed_objects="messages"),
        lambda message: pickle.loads(pickle.dumps(message)),
        lambda message: type(message).model_validate_json(message.model_dump_json()),
        lambda message: message.model_copy(deep=True),
        lambda message: message_chunk_to_message(message) if isinstance(message, AIMessageChunk) else message,
    ],
    ids=["dict", "load", "pickle", "json", "copy", "message of a chunk"],
)
async def test_an_answer_that_was_kept_still_has_its_blocks(stage: Stage, kept: Callable[[Any], AIMessage]) -> None:
    stage.play(*APART)
    for message in (await _answers(stage)).values():
        assert plain_blocks(kept(message)) == plain_blocks(message)
        assert kept(message).content == WORDS


def test_an_answer_of_text_alone_has_nothing_beside_it(stage: Stage) -> None:
    answer = stage.play(*APART).model(output="text").invoke("q")
    assert (answer.content, answer.additional_kwargs, blocks_in(answer)) == (WORDS, {}, [])
    assert [block["type"] for block in answer.content_blocks] == ["text"]
    told = text_message(stage.model().invoke("q"))
    assert (told.content, told.additional_kwargs) == (WORDS, {})


def test_user_interfaces_see_thoughts_in_chunks_and_other_models_none_in_a_message(stage: Stage) -> None:
    model = stage.play(*APART).model()
    shown = [chunk.additional_kwargs.get("reasoning_content") for chunk in model.stream("q")]
    assert [thought for thought in shown if thought] == ["Where?", "\n\nThere."]
    assert list(model.invoke("q").additional_kwargs) == ["session_blocks"]


def test_a_text_that_was_changed_keeps_all_its_words_among_the_blocks(stage: Stage) -> None:
    answer = stage.play(*APART).model().invoke("q")
    for text in ("Short.", "", "A much longer answer than the one that the session gave, and about other things."):
        changed = answer.model_copy(update={"content": text})
        assert "".join(block["text"] for block in changed.content_blocks if block["type"] == "text") == text
    listed = answer.model_copy(update={"content": [{"type": "text", "text": "Other."}]})
    assert listed.content_blocks[-1] == {"type": "text", "text": "Other."}


def test_a_service_of_your_own_has_blocks_too_and_no_translator_of_another_is_replaced() -> None:
    openai = get_translator("openai")
    for service in ("a-service-of-mine", "openai"):
        MessageForm(service, "m")
    assert get_translator("a-service-of-mine") is not None
    assert get_translator("openai") is openai


class _State(TypedDict, total=False):
    messages: list[Any]


def test_a_graph_that_is_streamed_in_v3_keeps_the_answer_as_text(stage: Stage) -> None:
    from langgraph.graph import END, START, StateGraph

    model: SessionChatModel = stage.play(*APART).model()
    graph: Any = StateGraph(_State)
    graph = graph.add_node("ask", lambda state: {"messages": [*state["messages"], model.invoke(state["messages"])]})
    stream = (
        graph.add_edge(START, "ask")
        .add_edge("ask", END)
        .compile()
        .stream_events({"messages": [HumanMessage("q")]}, version="v3")
    )
    answer = stream.output["messages"][-1]
    assert answer.content == WORDS
    assert [block["type"] for block in answer.content_blocks] == KINDS
