"""Thoughts and tools beside the text of an answer: other models get its words, and `content_blocks` all of it."""

from __future__ import annotations

import json
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
    merge_message_runs,
    message_chunk_to_message,
    message_to_dict,
    messages_from_dict,
)
from langchain_core.messages.block_translators import get_translator
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from chat_sessions.core.events import TextDelta, ThinkingDelta, ToolCall, ToolResult
from chat_sessions.core.turn import TurnFold
from chat_sessions.langchain import SessionChatModel, events_to_messages, source_documents, text_message
from chat_sessions.langchain.blocks import blocks_in, portable
from chat_sessions.langchain.content import BlockWriter, MessageForm
from tests.langchain.messages.test_readers import APART, WORDS
from tests.langchain.stage import SEARCH, SEARCH_RESULT, STOP, Stage, plain_blocks, total

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


def _kinds(message: Any) -> list[tuple[str, Any]]:
    """The kind of each block, and what it says."""
    named = {"server_tool_call": "name", "server_tool_result": "tool_call_id"}
    return [(block["type"], block[named.get(block["type"], block["type"])]) for block in message.content_blocks]


FIRST = [
    ("reasoning", "Where?"),
    ("text", "Let me look."),
    ("server_tool_call", "search"),
    ("server_tool_result", "c1"),
    ("reasoning", "\n\nThere."),
    ("text", "\n\nRevenue grew."),
]
# Thoughts, a tool and no text before it; the ids of calls are those of the first.
OTHER = (ThinkingDelta(content="Again."), SEARCH, SEARCH_RESULT, TextDelta(content="So it did."), STOP)
SECOND = [
    ("reasoning", "Again."),
    ("server_tool_call", "search"),
    ("server_tool_result", "c1"),
    ("text", "So it did."),
]


def test_the_blocks_of_answers_that_are_added_up_come_one_answer_after_the_other(stage: Stage) -> None:
    model = stage.play(*APART).model()
    one, chunks = model.invoke("q"), list(model.stream("q"))
    stage.play(*OTHER)
    two, more = model.invoke("q"), list(model.stream("q"))
    assert _kinds(total(chunks) + total(more)) == _kinds(total([*chunks, *more])) == [*FIRST, *SECOND]
    assert _kinds(total(more) + total(chunks)) == [*SECOND, *FIRST]
    assert _kinds(total(more) + total(list(model.stream("q")))) == [*SECOND, *SECOND]
    broken = FIRST[-1]
    (merged,) = merge_message_runs([one, two])
    assert merged.content == f"{WORDS}\nSo it did."
    assert _kinds(merged) == [*FIRST[:-1], (broken[0], f"{broken[1]}\n"), *SECOND]
    (merged,) = merge_message_runs([two, one, two.model_copy(), total(chunks)])
    assert [kind for kind, _ in _kinds(merged)] == [kind for kind, _ in [*SECOND, *FIRST, *SECOND, *FIRST]]
    assert [said for kind, said in _kinds(merged) if kind == "text"] == [
        "So it did.\n",
        "Let me look.",
        "\n\nRevenue grew.\n",
        "So it did.\n",
        "Let me look.",
        "\n\nRevenue grew.",
    ]
    assert [block["index"] for block in merged.content_blocks] == [*range(len(merged.content_blocks))]
    assert len(source_documents(merged)) == 1


def test_an_answer_with_more_before_its_first_tool_is_not_taken_for_the_end_of_the_one_before_it(stage: Stage) -> None:
    thoughtful = stage.play(ThinkingDelta(content="Hm."), TextDelta(content="Let me see."), STOP).model().invoke("q")
    spoken = stage.play(*APART[1:3], SEARCH_RESULT, TextDelta(content="It grew."), STOP).model().invoke("q")
    (merged,) = merge_message_runs([thoughtful, spoken])
    assert _kinds(merged) == [("reasoning", "Hm."), ("text", "Let me see.\n"), *FIRST[1:4], ("text", "\n\nIt grew.")]


def test_words_of_others_around_an_answer_leave_its_tools_where_they_were(stage: Stage) -> None:
    one = stage.play(*APART).model().invoke("q")
    two = stage.play(*OTHER).model().invoke("q")
    hello = stage.play(TextDelta(content="Hello there."), STOP).model().invoke("q")
    words = ("text", "Hello there.\n")
    for answers, wanted in (
        ([hello, one], [("reasoning", "Where?"), *FIRST[1:]]),
        ([one, hello], [*FIRST[:-1], ("text", "\n\nRevenue grew.\nHello there.")]),
        ([hello, one, two], [*FIRST[:-1], ("text", "\n\nRevenue grew.\n"), *SECOND]),
        (
            [one, two, hello],
            [*FIRST[:-1], ("text", "\n\nRevenue grew.\n"), *SECOND[:-1], ("text", "So it did.\nHello there.")],
        ),
        ([one, hello, two], [*FIRST[:-1], ("text", "\n\nRevenue grew.\nHello there.\n"), *SECOND]),
    ):
        (merged,) = merge_message_runs(answers)
        assert _kinds(merged) == ([words] if answers[0] is hello else []) + wanted
        assert [block["index"] for block in merged.content_blocks] == [*range(len(merged.content_blocks))]


def test_answers_without_words_and_answers_that_broke_off_are_added_up_too(stage: Stage) -> None:
    model = stage.play(ThinkingDelta(content="Hm."), SEARCH, SEARCH_RESULT, STOP).model()
    silent = [("reasoning", "Hm."), ("server_tool_call", "search"), ("server_tool_result", "c1")]
    wordless = model.invoke("q")
    one = stage.play(*APART).model().invoke("q")
    chunks = list(stage.model().stream("q"))
    for found, wanted in (
        (merge_message_runs([wordless, one]), [*silent, *FIRST]),
        (merge_message_runs([one, wordless]), [*FIRST, *silent]),
        (merge_message_runs([wordless, wordless]), [*silent, *silent]),
    ):
        assert _kinds(found[0]) == wanted
    broken_off = total(chunks[:4])
    assert _kinds(broken_off) == FIRST[:4]
    assert _kinds(broken_off + total(list(stage.model().stream("q")))) == [*FIRST[:4], *FIRST]


def test_a_sum_that_begins_within_an_answer_has_its_tools_where_they_were(stage: Stage) -> None:
    chunks = list(stage.play(*APART).model().stream("q"))
    for begin in range(len(chunks) - 1):
        whole, part = _kinds(total(chunks)), _kinds(total(chunks[begin:]))
        assert [said for _, said in part[1:]] == [said for _, said in whole[len(whole) - len(part) + 1 :]]
        assert str(whole[len(whole) - len(part)][1]).endswith(str(part[0][1]))
    for begin in (2, 4):
        assert _kinds(total(chunks[begin:-1])) == FIRST[begin:]
    assert _kinds(total(chunks[4:]) + total(list(stage.model().stream("q")))) == [*FIRST[4:], *FIRST]


@pytest.mark.parametrize("change", [float, str, lambda _: None, lambda number: -number, lambda _: "lc_1"])
def test_numbers_that_a_store_has_changed_cost_no_word_and_no_tool(stage: Stage, change: Callable[[Any], Any]) -> None:
    stage.play(*APART)
    for message in (stage.model().invoke("q"), total(list(stage.model().stream("q")))):
        kept = [
            {name: change(value) if isinstance(value, int) else value for name, value in block.items()}
            for block in message.additional_kwargs["session_blocks"]
        ]
        found = message.model_copy(update={"additional_kwargs": {"session_blocks": kept}})
        assert "".join(said for kind, said in _kinds(found) if kind == "text") == WORDS
        assert [each for each in _kinds(found) if each[0] != "text"] == [each for each in FIRST if each[0] != "text"]
        if change is float:
            assert _kinds(found) == FIRST
    for odd in (None, "x", [None, 3, {}, {"type": 3}], {"type": "reasoning"}):
        answer = AIMessage("x", additional_kwargs={"session_blocks": odd}, response_metadata=message.response_metadata)
        assert answer.content_blocks == [{"type": "text", "text": "x"}]


@pytest.mark.parametrize("service", ["openai", "anthropic", ""])
def test_a_service_has_its_blocks_whatever_its_name_is(service: str) -> None:
    fold = TurnFold("q")
    for event in APART:
        fold.add(event)
    form = MessageForm(service, "m")
    answer = form.message(fold.turn, "ses-1")
    assert _kinds(answer) == FIRST
    assert answer.response_metadata["model_provider"] == f"{service}-session" == MessageForm(service, "m").provider
    writer = BlockWriter()
    thought = writer.block(next(iter(fold.turn.updates)))
    assert thought is not None
    assert _kinds(AIMessageChunk(**form.piece(thought, writer))) == FIRST[:1]


def _nested(levels: int) -> Any:
    value: Any = "the bottom"
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize("options", [{}, {"output_version": "v1"}, {"output": "text"}], ids=["v0", "v1", "text"])
@pytest.mark.parametrize(
    ("odd", "told"),
    [
        (2**64 - 1, 2**64 - 1),
        (2**64, "18446744073709551616"),
        (-(2**63) - 1, "-9223372036854775809"),
        (_nested(80), _nested(80)),
    ],
    ids=["64 bits", "65 bits", "negative", "80 levels"],
)
def test_a_number_that_a_checkpointer_cannot_store_reaches_it_as_its_digits(
    odd: Any, told: Any, options: dict[str, Any]
) -> None:
    form = MessageForm("llama_cloud", "m", **options)
    fold, writer, chunks = TurnFold("q"), BlockWriter(), []
    for event in (
        ToolCall(call_id="c1", name="search", arguments={"odd": odd, "q": "Q3"}),
        ToolResult(call_id="c1", name="search", result={"results": [{"content": "Yes.", "metadata": {"odd": odd}}]}),
        STOP,
    ):
        for update in fold.updates(event):
            block = form.shown(writer.block(update))
            chunks += [] if block is None else [form.chunks().cast(**form.piece(block, writer))]
    stored = JsonPlusSerializer()
    for message in (form.message(fold.turn, "ses-1"), total([*chunks, form.last_chunk(fold.turn, "ses-1", writer)])):
        kept = stored.loads_typed(stored.dumps_typed({"messages": [message]}))["messages"][0]
        assert kept == message
        assert [document.metadata["odd"] for document in source_documents(kept)] == [told]
        if "output" not in options:
            assert plain_blocks(kept)[0]["args"] == {"odd": told, "q": "Q3"}


def test_json_that_is_nested_too_deep_for_a_checkpointer_is_a_string_of_json_further_down() -> None:
    for levels in (90, 110, 300):
        value = {"deep": _nested(levels), "plain": [1, None, "x", 1.5, True]}
        found = portable(value)
        assert (found is value) == (levels == 90)
        assert found["plain"] == value["plain"]
        JsonPlusSerializer().dumps_typed(AIMessage("", additional_kwargs={"found": found}))
        inner, given = found["deep"], value["deep"]
        while not isinstance(inner, str):
            inner, given = inner[0], given[0]
        assert given == (inner if levels == 90 else json.loads(inner))
    assert portable({"n": 10**5000}) == {"n": "[too large]"}
