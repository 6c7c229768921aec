"""Sessions as memory: summaries, messages, loader, legacy history."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, message_to_dict, messages_from_dict

from chat_sessions import APIStatusError, ConfigurationError, LocalServer, NotFoundError, Turn
from chat_sessions.core.events import Stop, Text, TextDelta, ToolCall, ToolResult, UserInput
from chat_sessions.core.models import ImageAttachment, JobMetadata, SessionSummary, Usage
from chat_sessions.langchain import (
    SessionChatMessageHistory,
    SessionChatModel,
    SessionLoader,
    SessionMemory,
    aimage_blocks,
    events_to_messages,
    image_blocks,
    source_documents,
    text_message,
)
from tests.faces import do
from tests.langchain.stage import FAILED, READ, STOP, TEXT, TURN, Opener, Stage, total


def _by_page(documents: list[Document]) -> list[Document]:
    return sorted(documents, key=lambda document: document.metadata["page"])


def _asked(stage: Stage, *questions: str) -> str:
    session = stage.client.session(index_ids=["idx-docs"])
    for question in questions:
        session.ask(question)
    return session.id or ""


@pytest.mark.checklist(59)
def test_the_messages_of_a_history_are_a_question_and_an_answer_for_each_turn() -> None:
    messages = events_to_messages(
        [UserInput(content="one"), Text(content="a"), STOP, UserInput(content="two"), *TURN], session_id="ses-1"
    )
    assert [(message.type, message.text) for message in messages] == [
        ("human", "one"),
        ("ai", "a"),
        ("human", "two"),
        ("ai", "Hello world"),
    ]
    assert [message.response_metadata["session_id"] for message in messages if message.type == "ai"] == ["ses-1"] * 2


def test_what_is_no_list_of_events_is_refused(stage: Stage) -> None:
    session = stage.client.retrieve(stage.new_session())
    for given in ("ses-1", session):
        wrong: Any = given
        with pytest.raises(ConfigurationError, match=r"such as chat.retrieve\(session_id\).events, not a "):
            events_to_messages(wrong)
    others: list[Any] = [3, None, [3], {"events": []}, [*session.events, "text"], [Turn(prompt="q", events=())]]
    for wrong in others:
        with pytest.raises(ConfigurationError, match=r"such as chat.retrieve\(session_id\).events, not a "):
            events_to_messages(wrong)
    output: Any = "blocs"
    with pytest.raises(ConfigurationError, match='output=\'blocs\': use "blocks" or "text"'):
        events_to_messages(session.events, output=output)


@pytest.mark.parametrize("given", ["x", 3, None, {"role": "ai"}, [AIMessage("x")]])
async def test_what_is_no_message_is_refused(stage: Stage, given: Any) -> None:
    client = stage.client
    calls: dict[str, Callable[[], object]] = {
        "text_message": lambda: text_message(given),
        "source_documents": lambda: source_documents(given),
        "image_blocks": lambda: image_blocks(given, client),
        "aimage_blocks": lambda: aimage_blocks(given, client),
    }
    for name, call in calls.items():
        with pytest.raises(ConfigurationError, match=f"^{name} takes a message .*, not a {type(given).__name__}$"):
            await do(call())


@pytest.mark.parametrize("kind", ["int", "str", "AsyncLlamaCloudChat"])
async def test_what_is_no_sync_client_is_refused(stage: Stage, kind: str) -> None:
    message = AIMessage("x")
    wrong: Any = {"int": 3, "str": "key", "AsyncLlamaCloudChat": stage.client.aio}[kind]
    for call in (
        lambda: image_blocks(message, wrong),
        lambda: aimage_blocks(message, wrong),
        lambda: SessionLoader(client=wrong),
        lambda: SessionMemory.from_session_id("ses-1", client=wrong),
        lambda: SessionMemory.afrom_session_id("ses-1", client=wrong),
        lambda: SessionChatMessageHistory("ses-1", client=wrong),
    ):
        with pytest.raises(ConfigurationError, match=f"^client is of type {kind}: give a sync client"):
            await do(call())


def test_a_turn_that_failed_or_runs_is_there_as_far_as_it_came() -> None:
    failed, running = (
        events_to_messages([UserInput(content="q"), *events])[1]
        for events in (
            (TextDelta(content="so far"), FAILED),
            (TextDelta(content="so far"), ToolCall(call_id="c", name="read", arguments={})),
        )
    )
    assert failed.response_metadata["finish_reason"] == "error"
    assert failed.response_metadata["error"] == "the index burned"
    assert "finish_reason" not in running.response_metadata
    assert failed.text == running.text == "so far"
    assert [message.type for message in events_to_messages([UserInput(content="q")])] == ["human"]


@pytest.mark.checklist(60)
async def test_a_summary_is_a_typed_object_with_messages(stage: Stage) -> None:
    session_id = _asked(stage.play(*TEXT), "one", "two")
    memory = SessionMemory.from_summary(stage.client.get_summary(session_id), client=stage.client)
    assert memory.session_id == session_id
    assert memory.title == stage.client.get_summary(session_id).generated_title
    assert memory.last_updated_at.tzinfo is not None
    assert memory.index_ids == ("idx-docs",)
    assert memory.last_run is not None
    assert memory.usage_metadata == {"input_tokens": 10, "output_tokens": 4, "total_tokens": 14}
    messages = memory.messages()
    assert [message.text for message in messages] == ["one", "Hello world", "two", "Hello world"]
    assert await memory.amessages() == messages
    assert SessionMemory.from_session_id(session_id, client=stage.client) == memory
    assert await SessionMemory.afrom_session_id(session_id, client=stage.client) == memory
    assert memory.as_model().invoke("three").response_metadata["session_id"] == session_id
    assert stage.server.api_key not in repr(memory) + memory.model_dump_json()


@pytest.mark.checklist(60)
def test_a_summary_without_title_indexes_or_last_run_is_valid(stage: Stage) -> None:
    summary = SessionSummary.model_validate({"session_id": "ses-1", "last_updated_at": "2026-11-21T10:00:00"})
    memory = SessionMemory.from_summary(summary, client=stage.client)
    assert (memory.title, memory.index_ids, memory.last_run, memory.usage_metadata) == (None, None, None, None)
    partly = SessionSummary(
        session_id="ses-1",
        last_updated_at=summary.last_updated_at,
        job_metadata=JobMetadata(output_tokens=3, is_error=True, error="e"),
    )
    assert SessionMemory.from_summary(partly, client=stage.client).usage_metadata is None


@pytest.mark.checklist(60)
async def test_the_loader_goes_through_all_pages_as_they_are_needed(open_with: Opener) -> None:
    stage = open_with().play(*TEXT)
    asked = [_asked(stage, f"question {number}") for number in range(5)]
    loader = SessionLoader(client=stage.client, page_size=2)
    memories = loader.memories()
    first = next(memories)
    gone = [memory.session_id for memory in memories]
    assert {first.session_id, *gone} == set(asked)
    loaded = loader.load()
    assert {session["messages"][0].text for session in loaded} == {f"question {number}" for number in range(5)}
    assert [session["messages"][1].text for session in loaded] == ["Hello world"] * 5
    assert [session async for session in loader.alazy_load()] == loaded
    assert len([memory async for memory in loader.amemories()]) == 5


@pytest.mark.checklist(60)
async def test_the_loader_leaves_out_a_session_that_is_deleted_meanwhile(open_with: Opener) -> None:
    stage = open_with().play(*TEXT)
    asked = {_asked(stage, "a"), _asked(stage, "b"), _asked(stage, "c")}
    loading = SessionLoader(client=stage.client).lazy_load()
    aloading = SessionLoader(client=stage.client).alazy_load()
    first = next(loading)["messages"][1].response_metadata["session_id"]
    assert (await anext(aloading))["messages"][1].response_metadata["session_id"] == first
    for other in asked - {first}:
        stage.client.delete(other)
    assert list(loading) == []
    assert [session async for session in aloading] == []


async def test_the_legacy_history_reads_accepts_what_is_there_and_refuses_the_rest(stage: Stage) -> None:
    session_id = _asked(stage.play(*TEXT), "one")
    history = SessionChatMessageHistory(session_id, client=stage.client)
    assert [message.text for message in history.messages] == ["one", "Hello world"]
    assert await history.aget_messages() == history.messages
    history.add_messages([HumanMessage("one"), AIMessage("Hello world")])
    await history.aadd_messages([AIMessage("Hello world")])
    with pytest.raises(NotImplementedError, match="cannot be written into a session"):
        history.add_user_message("never asked")
    with pytest.raises(NotImplementedError, match="cannot be written into a session"):
        await history.aadd_messages([AIMessage("Hello world"), HumanMessage("one")])
    history.clear()
    with pytest.raises(NotFoundError):
        _ = history.messages


async def test_the_async_legacy_history_deletes_its_session(stage: Stage) -> None:
    history = SessionChatMessageHistory(_asked(stage.play(*TEXT), "one"), client=stage.client)
    await history.aclear()
    with pytest.raises(APIStatusError):
        await history.aget_messages()


@pytest.mark.checklist(57)
def test_the_legacy_history_warns_nobody(stage: Stage) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SessionChatMessageHistory("ses-1", client=stage.client)


def test_the_passages_of_an_answer_are_documents(stage: Stage) -> None:
    model = stage.model()
    documents = source_documents(model.invoke("q"))
    assert [(document.page_content, document.metadata["page"]) for document in documents] == [
        ("Revenue grew.", 2),
        ("Q3 was good.", 1),
    ]
    assert documents[0].metadata["image"] == {"attachment_name": "page_2.jpg", "source_id": "dfl-1"}
    assert documents[1].metadata["file_name"] == "report.pdf"
    assert source_documents(model.stream_events("q", version="v3").output) == documents
    assert source_documents(AIMessage("no tools")) == []
    assert source_documents(AIMessage("none", response_metadata={"sources": "a book"})) == []
    assert source_documents(AIMessage("none", response_metadata={"sources": ["a book"]})) == []
    foreign: Any = [{"type": "server_tool_call"}, {"type": "server_tool_result", "extras": None}, "text"]
    assert source_documents(AIMessage(foreign)) == []


async def test_an_answer_that_is_text_only_has_the_same_passages_and_screenshots(stage: Stage) -> None:
    # Blocks are in the order of the results, the metadata in that of the calls.
    wanted = _by_page(source_documents(stage.model().invoke("q")))
    model = stage.model(output="text")
    live = model.invoke("q")
    stored = events_to_messages(stage.client.retrieve(stage.actor.sessions[-1]).events, output="text")[-1]
    told = text_message(stage.model().invoke("q"))
    answers: list[BaseMessage] = [
        live,
        await model.ainvoke("q"),
        total(list(model.stream("q"))),
        total([chunk async for chunk in model.astream("q")]),
        model.stream_events("q", version="v3").output,
        stored,
        told,
        text_message(told),
        text_message(live),
        *messages_from_dict([message_to_dict(live)]),
    ]
    for answer in answers:
        assert answer.text == "Hello world"
        assert _by_page(source_documents(answer)) == wanted
    older = AIMessage("Hello", response_metadata={"sources": [{"file_name": "report.pdf", "page": 2}]})
    (document,) = source_documents(older)
    assert (document.page_content, document.metadata) == ("", {"file_name": "report.pdf", "page": 2})


def test_a_passage_of_a_file_without_pages_has_no_page(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("The warranty lasts 36 months.\n")
    with LocalServer(indexes={"idx": str(tmp_path)}) as server, server.client() as client:
        answer = SessionChatModel(client=client).invoke("How long is the warranty?")
        for told in (answer, text_message(answer)):
            (document,) = source_documents(told)
            assert (document.metadata["file_name"], document.metadata["page"]) == ("note.txt", None)


def test_a_screenshot_that_is_of_no_passage_is_kept_with_an_answer_that_is_text_only(stage: Stage) -> None:
    picture = ImageAttachment(attachment_name="page_7.jpg", source_id="dfl-7")
    shown = ToolResult(call_id="c2", name="read", result="see the image", image_attachment=picture)
    model = stage.play(READ, shown, *TEXT).model()
    for answer in (text_message(model.invoke("q")), stage.model(output="text").invoke("q")):
        assert answer.response_metadata["image_attachments"] == [picture.model_dump(mode="json")]


async def test_the_screenshots_of_an_answer_become_image_blocks_with_a_link_that_opens() -> None:
    import httpx

    documents = Path(__file__).parents[3] / "examples" / "documents"
    with LocalServer(indexes={"idx": str(documents)}) as server, server.client() as client:
        answer = SessionChatModel(client=client).invoke("What was the revenue by product line?")
        blocks = image_blocks(answer, client)
        assert blocks
        assert len(await aimage_blocks(answer, client)) == len(blocks)
        for told in (
            text_message(answer),
            SessionChatModel(client=client, output="text").invoke("What was the revenue by product line?"),
        ):
            assert [block["extras"]["attachment_name"] for block in image_blocks(told, client)] == [
                block["extras"]["attachment_name"] for block in blocks
            ]
            assert len(await aimage_blocks(told, client)) == len(blocks)
        async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
            picture = await http.get(blocks[0]["url"])
        assert picture.headers["Content-Type"].startswith("image/")
        assert blocks[0]["extras"]["source_id"].startswith("dfl-")


def test_usage_of_a_turn_without_counts_is_left_out() -> None:
    (_, answer) = events_to_messages([UserInput(content="q"), Text(content="a"), Stop(usage=Usage(), is_error=False)])
    unused: Any = answer
    assert unused.usage_metadata is None
