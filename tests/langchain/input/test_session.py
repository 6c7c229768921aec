"""Which session a turn runs in."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from langchain_core.runnables import ConfigurableField

from chat_sessions import AuthenticationError, ConfigurationError, LlamaCloudChat
from chat_sessions.langchain import SessionChatModel, SessionMemory
from chat_sessions.langchain.input.sessions import Ask, Place, Record, Sessions
from tests.langchain.stage import TEXT, Opener, Stage
from tests.wire_server import Connection, Request, WireServer


@pytest.mark.checklist(44)
async def test_the_session_is_the_calls_then_the_configs_then_the_models(stage: Stage) -> None:
    own, configured, called, bound = (stage.new_session() for _ in range(4))
    model = stage.model(session_id=own)
    config: Any = {"configurable": {"session_id": configured}}
    model.invoke("q")
    model.invoke("q", config)
    model.invoke("q", config, session_id=called)
    assert stage.actor.sessions == [own, configured, called]
    stage.actor.sessions.clear()
    model.bind(session_id=bound).invoke("q")
    model.bind(session_id=bound).invoke("q", config)
    model.bind(session_id=bound).invoke("q", config, session_id=called)
    assert stage.actor.sessions == [bound, configured, called]
    stage.actor.sessions.clear()
    await model.ainvoke("q", config)
    list(model.stream("q", config))
    _ = [chunk async for chunk in model.astream("q", config)]
    _ = model.stream_events("q", config, version="v3").output
    _ = await (await model.astream_events("q", config, version="v3")).output
    _ = [event async for event in model.astream_events("q", config, version="v2")]
    (model | (lambda message: message.text)).invoke("q", config)
    model.with_config(config).invoke("q")
    assert stage.actor.sessions == [configured] * 8
    assert model.session_id == own


@pytest.mark.checklist(44)
def test_each_item_of_a_batch_runs_in_the_session_of_its_config(stage: Stage) -> None:
    sessions = [stage.new_session() for _ in range(3)]
    configs: Any = [{"configurable": {"session_id": session}} for session in sessions]
    answers = stage.model().batch(["a", "b", "c"], configs)
    assert [answer.response_metadata["session_id"] for answer in answers] == sessions


@pytest.mark.checklist(44)
def test_configurable_fields_choose_the_session_as_well(stage: Stage) -> None:
    own, chosen = stage.new_session(), stage.new_session()
    model = stage.model(session_id=own).configurable_fields(session_id=ConfigurableField("chat"))
    model.invoke("q", {"configurable": {"chat": chosen}})
    model.invoke("q")
    assert stage.actor.sessions == [chosen, own]


@pytest.mark.checklist(45)
def test_a_thread_id_is_no_session(stage: Stage) -> None:
    thread = stage.new_session()
    answer = stage.model().invoke("q", {"configurable": {"thread_id": thread}})
    assert answer.response_metadata["session_id"] != thread
    assert stage.client.session(thread).turns() == []


@pytest.mark.checklist(46)
async def test_a_call_without_a_session_makes_one_of_its_own_and_leaves_the_model_as_it_was(open_with: Opener) -> None:
    stage = open_with().play(*TEXT)
    model = stage.model()
    before = model.model_dump()
    ids = [
        model.invoke("a").response_metadata["session_id"],
        (await model.ainvoke("b")).response_metadata["session_id"],
        list(model.stream("c"))[-1].response_metadata["session_id"],
        model.stream_events("d", version="v3").output.response_metadata["session_id"],
    ]
    assert len(set(ids)) == 4
    assert ids == stage.actor.sessions
    assert {summary.session_id for summary in stage.client.list()} == set(ids)
    assert model.model_dump() == before


def test_a_model_goes_on_with_the_session_of_the_last_answer_if_so_wished(stage: Stage) -> None:
    model = stage.model(session_from_messages=True)
    first = model.invoke([HumanMessage("one")])
    second = model.invoke([HumanMessage("one"), first, HumanMessage("two")])
    assert first.response_metadata["session_id"] == second.response_metadata["session_id"]
    assert stage.actor.prompts == ["one", "two"]


async def test_a_model_of_a_session_creates_it_once_for_sync_and_async(stage: Stage) -> None:
    session = stage.client.session(index_ids=["idx-more"])
    model = SessionChatModel.from_session(session)
    first = await model.ainvoke("one")
    second = model.invoke("two")
    third = await model.ainvoke("three")
    assert {answer.response_metadata["session_id"] for answer in (first, second, third)} == {session.id}
    assert stage.actor.indexes == [("idx-more",)] * 3
    assert model.invoke("four", session_id=(other := stage.new_session())).response_metadata["session_id"] == other


@pytest.mark.checklist(47)
async def test_turns_of_one_session_never_run_at_the_same_time(stage: Stage) -> None:
    model = stage.model(session_id=stage.new_session())
    answers = await asyncio.to_thread(model.batch, ["a", "b", "c"])
    answers += await model.abatch(["d", "e", "f"])
    assert [answer.text for answer in answers] == ["Hello world"] * 6
    assert stage.actor.most_running == 1
    assert sorted(stage.actor.prompts) == ["a", "b", "c", "d", "e", "f"]


@pytest.mark.checklist(48)
def test_the_indexes_are_the_calls_then_the_models_then_the_sessions(open_with: Opener) -> None:
    from chat_sessions.server import Behaviour

    stage = open_with(Behaviour(sources="free")).play(*TEXT)
    session = stage.new_session("idx-more")
    stage.model(session_id=session, index_ids=["idx-docs"]).invoke("q", index_ids=["idx-docs", "idx-more"])
    stage.model(session_id=session, index_ids=["idx-docs"]).invoke("q")
    stage.model(session_id=session).invoke("q")
    assert stage.actor.indexes == [("idx-docs", "idx-more"), ("idx-docs",), ("idx-more",)]


@pytest.mark.parametrize(
    ("given", "problem"), [("idx-docs", "must be a list of ids"), (5, "must be a list of ids"), ([5], "strings; got 5")]
)
def test_index_ids_of_a_call_that_are_no_list_of_strings_are_refused(stage: Stage, given: Any, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        stage.model().invoke("q", index_ids=given)


async def test_an_empty_list_of_indexes_is_refused_and_not_replaced_by_others(stage: Stage) -> None:
    """It may be what somebody is allowed to see."""
    model = stage.model(index_ids=["idx-docs"])
    with pytest.raises(ConfigurationError, match="index_ids is empty"):
        model.invoke("q", index_ids=[])
    with pytest.raises(ConfigurationError, match="index_ids is empty"):
        await model.ainvoke("q", index_ids=[])
    with pytest.raises(ConfigurationError, match="index_ids is empty"):
        stage.model(index_ids=[]).invoke("q")
    memory = SessionMemory.from_session_id(stage.new_session("idx-docs"), client=stage.client)
    with pytest.raises(ConfigurationError, match="index_ids is empty"):
        memory.as_model(index_ids=[]).invoke("q")
    assert stage.actor.prompts == []


def test_a_session_id_that_is_no_string_is_named(stage: Stage) -> None:
    with pytest.raises(ConfigurationError, match="must be a string, got 7"):
        stage.model().invoke("q", {"configurable": {"session_id": 7}})


def test_an_empty_session_id_is_an_error_and_not_another_session(stage: Stage) -> None:
    model = stage.model(session_id=stage.new_session())
    with pytest.raises(ConfigurationError, match="session_id is empty"):
        model.invoke("q", {"configurable": {"session_id": ""}})
    assert stage.actor.prompts == []


async def test_a_session_is_asked_for_its_indexes_once_and_not_before_each_turn() -> None:
    def stream(_: Request, connection: Connection) -> None:
        connection.start_stream()
        connection.events(*TEXT)
        connection.end_stream()

    with WireServer() as wire:
        summary = {"session_id": "ses-1", "last_updated_at": "2026-11-21T10:00:00Z", "index_ids": ["idx-docs"]}
        wire.on("GET", "/ses-1", lambda _, connection: connection.respond(200, {**summary, "events": []}))
        wire.on("POST", "/messages/stream", stream)
        model = SessionChatModel(client=LlamaCloudChat(api_key="llx-test", base_url=wire.url))
        for _ in range(2):
            model.invoke("q", session_id="ses-1")
            await model.ainvoke("q", session_id="ses-1")
        assert [request.json["index_ids"] for request in wire.posts()] == [["idx-docs"]] * 4
        assert [request.method for request in wire.requests].count("GET") == 1


def test_what_is_remembered_of_sessions_is_bounded(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chat_sessions.langchain.input.sessions._RECENT", 2)
    model = stage.model()
    ids = [model.invoke("q").response_metadata["session_id"] for _ in range(3)]
    assert [session_id for session_id in ids if model._sessions.get(session_id, stage.client)] == ids[1:]


def test_the_same_words_about_another_image_are_another_question() -> None:
    sessions, place, record = Sessions(), Place("ada", "ask", "ask:1"), Record("ses-1", "ask:1", 0, True, True)
    text: Any = {"type": "text", "text": "what is this?"}
    first, second = (
        HumanMessage([text, {"type": "image", "url": f"https://example.com/{name}.png"}], id="1") for name in "ab"
    )
    sessions.note([first], place, Ask(), record)
    sessions.answered([first], place, Ask(), "ses-1", "answer-1")
    assert sessions.record(first.model_copy(), place, Ask(), is_last=True) is not None
    assert sessions.record(second, place, Ask(), is_last=True) is None


def test_a_copy_with_another_client_asks_that_one(stage: Stage) -> None:
    model = stage.model()
    session_id = model.invoke("q").response_metadata["session_id"]
    with LlamaCloudChat(api_key="llx-wrong", base_url=stage.server.url, index_ids=["idx-docs"]) as stranger:
        twin = model.model_copy(update={"client": stranger})
        with pytest.raises(AuthenticationError):
            twin.invoke("q", session_id=session_id)
