"""A conversation that others take part in: agents that hand it over, and middleware that rewrites it."""

from __future__ import annotations

from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import SummarizationMiddleware
from langchain_core.callbacks import UsageMetadataCallbackHandler
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langgraph.checkpoint.memory import InMemorySaver

from chat_sessions import ConfigurationError
from chat_sessions.langchain import SessionChatModel, SessionInputWarning
from tests.langchain.stage import TEXT, Stage, total

ADA: Any = {"configurable": {"thread_id": "ada"}}


@pytest.fixture(autouse=True)
def short_answers(stage: Stage) -> None:
    stage.play(*TEXT)


def _transfer(name: str = "transfer_to_documents") -> list[BaseMessage]:
    """A hand-off as langgraph-supervisor and langgraph-swarm write it: a call of a tool, and its result."""
    call = {"name": name, "args": {}, "id": name}
    return [AIMessage("", tool_calls=[call]), ToolMessage(f"Successfully did {name}", name=name, tool_call_id=name)]


async def test_an_agent_that_is_handed_the_conversation_answers_the_user(stage: Stage) -> None:
    given = [HumanMessage("q"), *_transfer()]
    model = stage.model()
    assert model.invoke(given).text == "Hello world"
    assert (await model.ainvoke(given)).text == "Hello world"
    assert stage.actor.prompts == ["q", "q"]


def test_words_of_other_agents_after_the_user_are_not_sent(stage: Stage) -> None:
    other = AIMessage("Let me ask the documents.", name="front")
    with pytest.warns(SessionInputWarning, match="are not sent"):
        stage.model().invoke([HumanMessage("q"), other, *_transfer()])
    assert stage.actor.prompts == ["q"]


def test_a_hand_off_back_and_forth_gets_the_answer_that_is_there(stage: Stage) -> None:
    model = stage.model(session_from_messages=True, on_prior_messages="error")
    first = model.invoke([HumanMessage("q"), *_transfer()])
    back = _transfer("transfer_back_to_supervisor")
    again = model.invoke([HumanMessage("q"), *_transfer(), first, *back, *_transfer("transfer_to_documents_again")])
    assert stage.actor.prompts == ["q"]
    assert again.text == first.text
    assert again.response_metadata["session_id"] == first.response_metadata["session_id"]


async def test_the_tokens_of_an_answer_that_is_there_are_not_counted_again(stage: Stage) -> None:
    model = stage.model(session_from_messages=True, on_prior_messages="error")
    counter = UsageMetadataCallbackHandler()
    config: Any = {"callbacks": [counter]}
    first = model.invoke([HumanMessage("q"), *_transfer()], config)
    given = [HumanMessage("q"), *_transfer(), first, *_transfer("transfer_back"), *_transfer("transfer_again")]
    again = [
        model.invoke(given, config),
        await model.ainvoke(given, config),
        total(list(model.stream(given, config))),
        total([chunk async for chunk in model.astream(given, config)]),
        model.stream_events(given, config, version="v3").output,
    ]
    assert stage.actor.prompts == ["q"]
    assert [message.text for message in again] == [first.text] * 5
    assert [message.usage_metadata for message in again] == [None] * 5
    assert counter.usage_metadata == {"llama-cloud-chat": first.usage_metadata}


def test_a_new_question_after_a_hand_off_is_sent_alone(stage: Stage) -> None:
    model = stage.model(session_from_messages=True, on_prior_messages="error")
    first = model.invoke([HumanMessage("one"), *_transfer()])
    history = [HumanMessage("one"), *_transfer(), first, *_transfer("transfer_back_to_supervisor")]
    second = model.invoke([*history, HumanMessage("two"), *_transfer()])
    assert stage.actor.prompts == ["one", "two"]
    assert second.response_metadata["session_id"] == first.response_metadata["session_id"]


def test_what_a_supervisor_said_itself_is_told_of_by_what_it_is(stage: Stage) -> None:
    model = stage.model(session_from_messages=True)
    first = model.invoke([HumanMessage("one"), *_transfer()])
    back = _transfer("transfer_back_to_supervisor")
    history = [HumanMessage("one"), *_transfer(), first, *back, AIMessage("In short: one.", name="supervisor")]
    with pytest.warns(SessionInputWarning, match="another model, and session .* knows only its own turns") as warned:
        model.invoke([*history, HumanMessage("two"), *_transfer()])
    assert "pass its session_id" not in str(warned[0].message)
    stage.model(session_from_messages=True, on_prior_messages="ignore").invoke([*history, HumanMessage("three"), *back])
    assert stage.actor.prompts == ["one", "two", "three"]
    assert len(set(stage.actor.sessions)) == 1


@pytest.mark.parametrize("name", ["search", None])
async def test_a_result_of_a_tool_that_hands_nothing_over_is_told_of(stage: Stage, name: str | None) -> None:
    call: Any = {"name": "search", "args": {}, "id": "t1"}
    result = ToolMessage("42", tool_call_id="t1", name=name)
    given = [HumanMessage("q"), AIMessage("", tool_calls=[call]), result]
    with pytest.warns(SessionInputWarning, match="the result of the tool 'search' is not sent"):
        stage.model().invoke(given)
    with pytest.warns(SessionInputWarning, match="the result of the tool 'search' is not sent"):
        await stage.model().ainvoke([*given, *_transfer()])
    with pytest.raises(ConfigurationError, match="the result of the tool 'search' is not sent"):
        stage.model(on_prior_messages="error").invoke(given)
    stage.model(on_prior_messages="ignore").invoke(given)
    assert stage.actor.prompts == ["q"] * 3


def test_a_result_of_a_tool_that_nobody_called_is_refused(stage: Stage) -> None:
    with pytest.raises(ConfigurationError, match="ends with a message of type 'tool'"):
        stage.model().invoke([HumanMessage("q"), ToolMessage("42", tool_call_id="t1")])


def _summarized(model: SessionChatModel, keep: int) -> Any:
    summary = GenericFakeChatModel(messages=iter(AIMessage("They talked.") for _ in range(9)))
    middleware = SummarizationMiddleware(summary, trigger=("messages", 4), keep=("messages", keep))
    return create_agent(model, tools=[], middleware=[middleware], checkpointer=InMemorySaver())


@pytest.mark.parametrize("keep", [1, 2, 3])
async def test_a_summary_of_the_conversation_is_no_prompt_and_the_session_goes_on(stage: Stage, keep: int) -> None:
    agent = _summarized(stage.model(session_from_messages=True), keep)
    for question in ("one", "two", "three"):
        agent.invoke({"messages": question}, ADA)
    await agent.ainvoke({"messages": "four"}, ADA)
    assert stage.actor.prompts == ["one", "two", "three", "four"]
    assert len(set(stage.actor.sessions)) == 1


def test_a_summary_that_leaves_no_answer_is_told_of_where_the_session_is_not_known(stage: Stage) -> None:
    summary = HumanMessage("They talked.", additional_kwargs={"lc_source": "summarization"})
    model = stage.model(session_from_messages=True)
    with pytest.warns(SessionInputWarning, match="no answer is left that says which session"):
        model.invoke([summary, HumanMessage("q")], ADA)
    assert stage.actor.prompts == ["q"]
