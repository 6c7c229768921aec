"""What of a list of messages is sent."""

from __future__ import annotations

import asyncio
import warnings
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.runnables import RunnableLambda

from chat_sessions import ConfigurationError
from chat_sessions.langchain import SessionInputWarning
from tests.langchain.stage import Recorder, Stage


@pytest.mark.checklist(41)
def test_of_a_conversation_only_the_last_words_of_the_user_are_sent(stage: Stage) -> None:
    model = stage.model(session_id=stage.new_session())
    first = model.invoke([HumanMessage("one")])
    model.invoke([HumanMessage("one"), first, HumanMessage("two")])
    assert stage.actor.prompts == ["one", "two"]


@pytest.mark.checklist(41)
def test_messages_of_the_user_in_a_row_are_one_prompt(stage: Stage) -> None:
    stage.model().invoke([HumanMessage("one"), HumanMessage([{"type": "text", "text": "two"}, " more"])])
    assert stage.actor.prompts == ["one\n\ntwo more"]


@pytest.mark.checklist(42)
@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("", "the prompt is empty"),
        ("  \n", "the prompt is empty"),
        ([], "ends with no message"),
        ([SystemMessage("be brief")], "ends with no message"),
        ([HumanMessage("q"), AIMessage("a")], "ends with a message of type 'ai'"),
        ([HumanMessage("q"), ToolMessage("a", tool_call_id="c")], "ends with a message of type 'tool'"),
        (
            [HumanMessage([{"type": "file", "url": "https://example.com/a.pdf"}])],
            "holds a block of type 'file'",
        ),
        (
            [HumanMessage([{"type": "image", "url": "https://example.com/a.png"}])],
            "text only, and the prompt has an image",
        ),
        (
            [HumanMessage(["What is this?", {"type": "image", "url": "https://example.com/a.png"}])],
            "text only, and the prompt has an image",
        ),
        ("x" * 1001, "1,?000"),
    ],
)
def test_input_that_no_session_can_be_sent_is_an_error_before_any_request(
    stage: Stage, recorder: Recorder, given: Any, says: str
) -> None:
    model = stage.model()
    before = list(stage.client.list())
    with pytest.raises(ConfigurationError, match=says):
        model.invoke(given, {"callbacks": [recorder]})
    with pytest.raises(ConfigurationError, match=says):
        asyncio.run(model.ainvoke(given))
    assert recorder.names == ["llm_start", "llm_error"]
    assert list(stage.client.list()) == before


@pytest.mark.checklist(43)
def test_a_system_message_is_dropped_with_a_warning(stage: Stage) -> None:
    with pytest.warns(SessionInputWarning, match="system message is not sent"):
        stage.model().invoke([SystemMessage("be brief"), HumanMessage("q")])
    assert stage.actor.prompts == ["q"]


@pytest.mark.checklist(43)
def test_a_system_message_is_an_error_if_so_wished(stage: Stage) -> None:
    with pytest.raises(ConfigurationError, match="system message is not sent"):
        stage.model(system="error").invoke([SystemMessage("be brief"), HumanMessage("q")])
    assert stage.actor.prompts == []


@pytest.mark.checklist(43)
def test_a_system_message_is_put_before_the_first_prompt_of_a_session_alone(stage: Stage) -> None:
    model = stage.model(system="prepend", session_id=stage.new_session())
    system = SystemMessage("be brief")
    first = model.invoke([system, HumanMessage("one")])
    model.invoke([system, HumanMessage("one"), first, HumanMessage("two")])
    asyncio.run(model.ainvoke([system, HumanMessage("three")]))
    asyncio.run(stage.model(system="prepend").ainvoke([system, HumanMessage("four")]))
    assert stage.actor.prompts == ["be brief\n\none", "two", "three", "be brief\n\nfour"]


@pytest.mark.checklist(41)
def test_messages_that_the_session_does_not_know_are_told_of(stage: Stage) -> None:
    foreign = [HumanMessage("one"), AIMessage("said by another model"), HumanMessage("two")]
    with pytest.warns(
        SessionInputWarning, match="the messages before the prompt are not sent: they are a conv"
    ) as warned:
        stage.model().invoke(foreign)
    # There is no session that could be continued.
    assert "session_id" not in str(warned[0].message)
    assert 'on_prior_messages="ignore"' in str(warned[0].message)
    with pytest.raises(ConfigurationError, match="the messages before the prompt are not sent"):
        stage.model(on_prior_messages="error").invoke(foreign)
    stage.model(on_prior_messages="ignore").invoke(foreign)
    assert stage.actor.prompts == ["two", "two"]


@pytest.mark.checklist(41)
def test_messages_of_another_session_are_told_of_with_both_ids(stage: Stage) -> None:
    here = stage.new_session()
    elsewhere = stage.model().invoke("one")
    there = elsewhere.response_metadata["session_id"]
    given = [HumanMessage("one"), elsewhere, HumanMessage("two")]
    with pytest.warns(SessionInputWarning, match=f"{there}.*{here}.*To continue the other one, pass its session_id"):
        stage.model(session_id=here).invoke(given)
    with pytest.warns(SessionInputWarning, match=f"{there}.*a new session.*session_from_messages=True"):
        stage.model().invoke(given)


@pytest.mark.checklist(41)
def test_run_nable_with_message_history_sends_each_message_once(stage: Stage) -> None:
    from langchain_core.runnables.history import RunnableWithMessageHistory

    from chat_sessions.langchain import SessionChatMessageHistory

    session = stage.new_session()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # LangChain deprecates the wrapper that is the subject here
        wrapped = RunnableWithMessageHistory(
            stage.model(), lambda session_id: SessionChatMessageHistory(session_id, client=stage.client)
        )
    config: Any = {"configurable": {"session_id": session}}
    for question in ("one", "two"):
        wrapped.invoke([HumanMessage(question)], config)
    assert stage.actor.prompts == ["one", "two"]
    assert len(stage.client.session(session).turns()) == 2


@pytest.mark.checklist(43)
async def test_a_warning_points_at_the_line_that_asks(stage: Stage) -> None:
    model = stage.model()
    given = [SystemMessage("be brief"), HumanMessage("q")]
    chain: Any = RunnableLambda(lambda _: given) | model
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always", SessionInputWarning)
        model.invoke(given)
        list(model.stream(given))
        _ = model.stream_events(given, version="v3").output
        chain.invoke("q")
        model.invoke("q", stop=["x"])
        await model.ainvoke(given)
        _ = [chunk async for chunk in model.astream(given)]
    assert [warning.filename for warning in warned] == [__file__] * 7


@pytest.mark.checklist(43)
def test_a_warning_of_a_task_points_at_the_line_that_runs_the_loop(stage: Stage) -> None:
    # LangChain runs each step of an async chain as a task, which knows nobody who awaits it.
    given = [SystemMessage("be brief"), HumanMessage("q")]
    chain: Any = RunnableLambda(lambda _: given) | stage.model()
    with pytest.warns(SessionInputWarning) as warned:
        asyncio.run(chain.ainvoke("q"))
    assert warned[0].filename == __file__
