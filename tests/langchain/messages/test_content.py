"""What a turn becomes: tokens, blocks, one message, the same on every way."""

from __future__ import annotations

import pytest
from hypothesis import given
from langchain_core.messages import AIMessage

from chat_sessions.core.events import (
    Stop,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ToolCall,
    ToolResult,
    UnknownEvent,
    UserInput,
)
from chat_sessions.core.models import Usage
from chat_sessions.core.turn import TurnFold
from chat_sessions.langchain import events_to_messages
from chat_sessions.langchain.content import BlockWriter, MessageForm
from tests.core.turns import Told, told_turns
from tests.langchain.stage import STOP, TEXT, TEXT_TOOL_TEXT, TURN, Opener, Stage, as_blocks, plain_blocks, total

FORMS = [MessageForm("llama_cloud", "llama-cloud-chat"), MessageForm("llama_cloud", "llama-cloud-chat", "v1")]


@pytest.mark.checklist(59)
@pytest.mark.parametrize("form", FORMS, ids=["default", "v1"])
@given(turn=told_turns())
def test_a_live_turn_gives_the_message_that_its_history_gives(turn: Told, form: MessageForm) -> None:
    fold, writer = TurnFold("q"), BlockWriter()
    chunks = []
    for event in turn.told:
        for update in fold.updates(event):
            block = None if isinstance(update, Text | Thinking) else writer.block(update)
            if block is not None:
                chunks.append(form.chunks().cast(**form.piece(block, writer)))
    chunks.append(form.last_chunk(fold.turn, "ses-1", writer))
    live = form.message(fold.turn, "ses-1")
    (_, replayed) = events_to_messages(
        [UserInput(content="q"), *turn.canonical], session_id="ses-1", output_version=form.output_version
    )
    assert replayed == live
    streamed = total(chunks)
    # LangChain's addition puts a token that is a string among blocks as it is.
    assert as_blocks(streamed) == as_blocks(live)
    assert plain_blocks(streamed) == plain_blocks(live)
    assert not isinstance(live.content, list) or all(isinstance(block, dict) for block in live.content)
    assert streamed.usage_metadata == live.usage_metadata
    assert streamed.response_metadata == live.response_metadata


@pytest.mark.checklist(4, 6, 59)
@pytest.mark.parametrize("finals", ["after_deltas", "only", "never"])
@pytest.mark.parametrize("history", ["finals", "deltas", "both"])
def test_the_message_is_the_same_however_the_service_tells_and_stores_it(
    open_with: Opener, finals: str, history: str
) -> None:
    from chat_sessions.server import Behaviour

    stage = open_with(Behaviour(finals=finals, history=history)).play(*TEXT_TOOL_TEXT)  # type: ignore[arg-type]
    model = stage.model(session_id=stage.client.create(index_ids=["idx-docs"]).session_id)
    live = model.invoke("q")
    streamed = total(list(model.stream("q")))
    stored = [
        message
        for message in events_to_messages(
            stage.client.retrieve(model.session_id or "").events, session_id=model.session_id
        )
        if message.type == "ai"
    ]
    assert live.text == streamed.text == "Looking. Found it."
    assert live.content == stored[0].content == stored[1].content
    assert as_blocks(live) == as_blocks(streamed)
    live.response_metadata["turn_usage"].pop("duration_ms", None)
    stored[0].response_metadata["turn_usage"].pop("duration_ms", None)
    assert live.response_metadata == stored[0].response_metadata


@pytest.mark.checklist(1)
def test_each_chunk_comes_before_the_service_writes_the_next_event(stage: Stage) -> None:
    steps = [stage.actor.gate() for _ in TURN]
    stage.play(*[step for event, gate in zip(TURN, steps, strict=True) for step in (event, gate)])
    chunks = stage.model().stream("q")
    for gate in steps:
        assert next(chunks).content is not None
        gate.set()
    assert next(chunks, None) is None


@pytest.mark.checklist(1)
async def test_each_async_chunk_comes_before_the_service_writes_the_next_event(stage: Stage) -> None:
    steps = [stage.actor.gate() for _ in TURN]
    stage.play(*[step for event, gate in zip(TURN, steps, strict=True) for step in (event, gate)])
    chunks = stage.model().astream("q")
    for gate in steps:
        assert (await anext(chunks)).content is not None
        gate.set()
    assert await anext(chunks, None) is None


@pytest.mark.checklist(2)
def test_a_text_delta_is_a_plain_string_token(stage: Stage) -> None:
    chunks = list(stage.model().stream("q"))
    assert [chunk.content for chunk in chunks] == ["", "", "", "", "", "", "Hello ", "world", ""]
    assert [chunk.additional_kwargs for chunk in chunks[-3:-1]] == [{}, {}]
    assert [block["text"] for block in chunks[-1].additional_kwargs["session_blocks"]] == [""]
    assert stage.play(*TEXT).model().invoke("q").additional_kwargs == {}
    assert [chunk.additional_kwargs for chunk in stage.model().stream("q")] == [{}, {}, {}]


@pytest.mark.checklist(2)
def test_each_chunk_has_its_own_blocks_beside_its_content(stage: Stage) -> None:
    found = [chunk.content_blocks for chunk in stage.model().stream("q")]
    in_v1 = [chunk.content_blocks for chunk in stage.model(output_version="v1").stream("q")]
    assert found[:6] == in_v1[:6]
    assert found[6:] == [[{"type": "text", "text": "Hello "}], [{"type": "text", "text": "world"}], []]


@pytest.mark.checklist(3)
def test_in_v1_each_block_has_an_index_of_its_own_and_its_deltas_share_it(stage: Stage) -> None:
    chunks = list(stage.model(output_version="v1").stream("q"))
    indexed = [(block["type"], block["index"]) for chunk in chunks for block in chunk.content]  # type: ignore[index]
    assert indexed == [
        ("reasoning", 0),
        ("reasoning", 0),
        ("server_tool_call", 1),
        ("server_tool_call", 2),
        ("server_tool_result", 3),
        ("server_tool_result", 4),
        ("text", 5),
        ("text", 5),
    ]
    assert total(chunks).content == stage.model(output_version="v1").invoke("q").content


@pytest.mark.checklist(4)
@pytest.mark.parametrize("output_version", [None, "v1"])
def test_invoke_the_sum_of_the_stream_and_v3_are_one_message(stage: Stage, output_version: str | None) -> None:
    model = stage.model(output_version=output_version)
    invoked, streamed = model.invoke("q"), total(list(model.stream("q")))
    v3 = model.stream_events("q", version="v3").output
    assert as_blocks(invoked) == as_blocks(streamed)
    assert plain_blocks(invoked) == plain_blocks(streamed) == plain_blocks(v3)
    assert invoked.text == streamed.text == v3.text == "Hello world"
    assert invoked.usage_metadata == streamed.usage_metadata == v3.usage_metadata
    for message in (invoked, streamed, v3):
        message.response_metadata.pop("session_id")
        message.response_metadata["output_version"] = "any"
        message.response_metadata["turn_usage"].pop("duration_ms")
    assert invoked.response_metadata == streamed.response_metadata == v3.response_metadata


@pytest.mark.checklist(4)
async def test_the_async_entry_points_give_the_message_of_the_sync_ones(stage: Stage) -> None:
    model = stage.model()
    invoked, streamed = await model.ainvoke("q"), total([chunk async for chunk in model.astream("q")])
    v3 = await (await model.astream_events("q", version="v3")).output
    assert invoked.content == model.invoke("q").content
    assert as_blocks(invoked) == as_blocks(streamed)
    assert plain_blocks(invoked) == plain_blocks(v3)
    assert invoked.usage_metadata == streamed.usage_metadata == v3.usage_metadata


@pytest.mark.checklist(5)
def test_text_before_and_after_a_tool_stays_in_two_parts(stage: Stage) -> None:
    model = stage.play(*TEXT_TOOL_TEXT).model()
    invoked, streamed = model.invoke("q"), total(list(model.stream("q")))
    v3: AIMessage = model.stream_events("q", version="v3").output
    kinds = ["text", "server_tool_call", "server_tool_result", "text"]
    for message in (invoked, streamed, v3):
        assert [block["type"] for block in message.content_blocks] == kinds
        assert [block["text"] for block in message.content_blocks if block["type"] == "text"] == [
            "Looking. ",
            "Found it.",
        ]


@pytest.mark.checklist(6)
@pytest.mark.parametrize("output_version", [None, "v1"])
async def test_a_thought_within_a_word_does_not_cut_it(stage: Stage, output_version: str | None) -> None:
    model = stage.play(
        TextDelta(content="Reve"), ThinkingDelta(content="Hm."), TextDelta(content="nue"), Text(content="Revenue"), STOP
    ).model(output_version=output_version)
    assert "".join(chunk.text for chunk in model.stream("q")) == "Revenue"
    assert "".join([chunk.text async for chunk in model.astream("q")]) == "Revenue"
    assert model.invoke("q").text == stage.client.session(stage.actor.sessions[-1]).turns()[-1].text == "Revenue"


def test_a_final_without_deltas_is_shown_and_one_after_them_adds_nothing(stage: Stage) -> None:
    stage.play(TextDelta(content="A"), Text(content="A"), Text(content="B"), STOP)
    assert [chunk.content for chunk in stage.model().stream("q")] == ["A", "B", ""]
    assert stage.model().invoke("q").content == "AB"


@pytest.mark.checklist(6)
def test_the_message_has_the_final_where_it_corrects_what_was_shown(stage: Stage) -> None:
    stage.play(TextDelta(content="Helo"), Text(content="Hello"), STOP)
    assert stage.model().invoke("q").text == "Hello"


@pytest.mark.checklist(7)
@pytest.mark.parametrize("output_version", [None, "v1"])
async def test_two_results_in_a_row_never_merge(stage: Stage, output_version: str | None) -> None:
    model = stage.model(output_version=output_version)
    for message in (total(list(model.stream("q"))), total([chunk async for chunk in model.astream("q")])):
        results = [block for block in message.content_blocks if block["type"] == "server_tool_result"]
        assert [(block["tool_call_id"], block["status"]) for block in results] == [
            ("c2", "success"),
            ("c1", "success"),
        ]


@pytest.mark.checklist(8)
def test_server_tools_are_never_tool_calls(stage: Stage) -> None:
    model = stage.model()
    chunks = list(model.stream("q"))
    for message in (*chunks, total(chunks), model.invoke("q"), model.stream_events("q", version="v3").output):
        assert message.tool_calls == []
        assert message.invalid_tool_calls == []
        assert getattr(message, "tool_call_chunks", []) == []


@pytest.mark.checklist(9)
def test_call_and_result_blocks_have_the_arguments_and_ids_of_their_events(stage: Stage) -> None:
    blocks = stage.model().invoke("q").content_blocks
    calls = {block["id"]: block for block in blocks if block["type"] == "server_tool_call"}
    assert {key: (block["name"], block["args"]) for key, block in calls.items()} == {
        "c1": ("search", {"q": "Q3"}),
        "c2": ("read", {"page": 2}),
    }
    results = [block["tool_call_id"] for block in blocks if block["type"] == "server_tool_result"]
    assert results == ["c2", "c1"]


@pytest.mark.checklist(10)
def test_an_image_attachment_is_in_the_extras_and_no_image_block(stage: Stage) -> None:
    model = stage.model()
    for message in (model.invoke("q"), total(list(model.stream("q"))), model.stream_events("q", version="v3").output):
        extras = [block.get("extras") for block in message.content_blocks if block["type"] == "server_tool_result"]
        assert extras == [
            {"name": "read", "image_attachment": {"attachment_name": "page_2.jpg", "source_id": "dfl-1"}},
            {"name": "search"},
        ]
        assert all(block["type"] != "image" for block in message.content_blocks)


@pytest.mark.checklist(11)
def test_only_the_last_chunk_is_marked_so_and_has_the_usage(stage: Stage) -> None:
    chunks = list(stage.model().stream("q"))
    assert [chunk.chunk_position for chunk in chunks] == [None] * (len(chunks) - 1) + ["last"]
    assert [chunk.usage_metadata for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1].usage_metadata == {"input_tokens": 10, "output_tokens": 4, "total_tokens": 14}


@pytest.mark.checklist(12)
def test_the_chunks_of_a_call_share_one_id_that_no_other_call_has(stage: Stage) -> None:
    model = stage.model()
    ids = [{chunk.id for chunk in model.stream("q")} for _ in range(2)]
    ids += [{model.invoke("q").id}, {model.stream_events("q", version="v3").output.id}]
    assert all(len(each) == 1 and None not in each for each in ids)
    assert len(set.union(*ids)) == 4


@pytest.mark.checklist(13)
def test_the_metadata_name_service_model_session_and_sources_once(stage: Stage) -> None:
    metadata = total(list(stage.model().stream("q"))).response_metadata
    assert metadata["model_provider"] == "llama_cloud"
    assert metadata["model_name"] == "llama-cloud-chat"
    assert metadata["session_id"] == stage.actor.sessions[0]
    assert metadata["finish_reason"] == "stop"
    assert metadata["turn_usage"]["turns"] == 2
    assert [(source["file_name"], source["page"]) for source in metadata["sources"]] == [
        ("report.pdf", 1),
        ("report.pdf", 2),
    ]


@pytest.mark.checklist(14)
def test_an_event_of_an_unknown_type_is_passed_over(stage: Stage) -> None:
    stage.play(UnknownEvent(raw={"type": "progress", "percent": 50}), *TEXT)
    model = stage.model()
    assert model.invoke("q").content == "Hello world"
    assert total(list(model.stream("q"))).content == "Hello world"
    assert model.stream_events("q", version="v3").output.text == "Hello world"


@pytest.mark.checklist(15)
def test_a_chain_with_a_parser_gives_the_same_text_streamed_and_invoked(stage: Stage) -> None:
    from langchain_core.output_parsers import StrOutputParser
    from langchain_core.prompts import ChatPromptTemplate

    chain = ChatPromptTemplate.from_messages([("human", "{question}")]) | stage.model() | StrOutputParser()
    for script in (TURN, TEXT, TEXT_TOOL_TEXT):
        stage.play(*script)
        assert "".join(chain.stream({"question": "q"})) == chain.invoke({"question": "q"})
    assert stage.actor.prompts == ["q"] * 6


def test_a_result_that_says_error_has_the_status_error(stage: Stage) -> None:
    stage.play(
        ToolCall(call_id="c", name="read", arguments={}),
        ToolResult(call_id="c", name="read", result={"is_error": True, "error": "no such page"}),
        *TEXT,
    )
    blocks = stage.model().invoke("q").content_blocks
    assert blocks[1]["status"] == "error"  # type: ignore[typeddict-item]


@pytest.mark.parametrize(
    "usage", [Usage(input_tokens=None, output_tokens=4), Usage(input_tokens=3, output_tokens=None), Usage()]
)
@pytest.mark.checklist(51)
def test_a_count_that_the_service_does_not_tell_is_never_zero(usage: Usage) -> None:
    form = MessageForm("llama_cloud", "m")
    fold = TurnFold("q")
    fold.add(Stop(usage=usage, is_error=False))
    message = form.message(fold.turn, "ses-1")
    assert message.usage_metadata is None
    assert 0 not in [message.response_metadata["turn_usage"].get(key) for key in ("input_tokens", "output_tokens")]
