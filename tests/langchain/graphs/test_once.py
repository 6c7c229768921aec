"""A prompt is sent once, also where a graph keeps the message of a turn that did not end well, or tries it again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from typing import Any, NotRequired

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import ModelRequest, wrap_model_call
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.runnables import ConfigurableField, Runnable, RunnableConfig, RunnableLambda
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command, interrupt

from chat_sessions import TurnFailed
from chat_sessions.core.events import TextDelta
from chat_sessions.langchain import SessionInputWarning, session_node
from tests.langchain.stage import FAILED, STOP, TEXT, Stage

ADA: Any = {"configurable": {"thread_id": "ada"}}


class State(MessagesState):
    session_id: NotRequired[str]


class Branches(MessagesState):
    docs: NotRequired[AIMessage]
    more: NotRequired[AIMessage]


def _graph(node: Runnable[Any, Any], saver: InMemorySaver, **options: Any) -> Any:
    return StateGraph(State).add_node("ask", node, **options).add_edge(START, "ask").compile(checkpointer=saver)


def _failed(graph: Any, stage: Stage, question: str) -> None:
    stage.play(TextDelta(content="half"), FAILED)
    with pytest.raises(TurnFailed):
        graph.invoke({"messages": question}, ADA)


async def _afailed(graph: Any, stage: Stage, question: str) -> None:
    stage.play(TextDelta(content="half"), FAILED)
    with pytest.raises(TurnFailed):
        await graph.ainvoke({"messages": question}, ADA)


def _stopped(graph: Any, stage: Stage, question: str) -> None:
    stage.play(*TEXT)
    parts = graph.stream({"messages": question}, ADA, stream_mode="messages")
    next(parts)
    # LangGraph waits for the thread of the node, and drops what it returns.
    parts.close()


async def _astopped(graph: Any, stage: Stage, question: str) -> None:
    gate = stage.actor.gate()
    stage.play(TextDelta(content="half"), gate, STOP)
    async with aclosing(graph.astream({"messages": question}, ADA, stream_mode="messages")) as parts:
        await anext(parts)
    gate.set()


async def _cancelled(graph: Any, stage: Stage, question: str) -> None:
    gate = stage.actor.gate()
    stage.play(TextDelta(content="half"), gate, STOP)
    begun = asyncio.Event()

    async def read() -> None:
        async for _ in graph.astream({"messages": question}, ADA, stream_mode="messages"):
            begun.set()

    task = asyncio.create_task(read())
    async with asyncio.timeout(20):
        await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    gate.set()


@pytest.mark.parametrize("is_first", [True, False], ids=["first turn", "later turn"])
@pytest.mark.parametrize("end", [_failed, _stopped], ids=["failed", "stopped"])
def test_the_message_of_a_turn_that_did_not_end_well_is_not_sent_with_the_next(
    stage: Stage, end: Callable[[Any, Stage, str], None], is_first: bool
) -> None:
    graph = _graph(session_node(stage.play(*TEXT).model(on_prior_messages="error")), InMemorySaver())
    before = [] if is_first else ["one"]
    for question in before:
        graph.invoke({"messages": question}, ADA)
    end(graph, stage, "two")
    stage.play(*TEXT)
    state = graph.invoke({"messages": "three"}, ADA)
    assert stage.actor.prompts == [*before, "two", "three"]
    assert set(stage.actor.sessions) == {state["session_id"]}
    assert state["messages"][-1].text == "Hello world"


@pytest.mark.parametrize("is_first", [True, False], ids=["first turn", "later turn"])
@pytest.mark.parametrize("end", [_afailed, _astopped, _cancelled], ids=["failed", "stopped", "cancelled"])
async def test_the_message_of_an_async_turn_that_did_not_end_well_is_not_sent_with_the_next(
    stage: Stage, end: Callable[[Any, Stage, str], Any], is_first: bool
) -> None:
    graph = _graph(session_node(stage.play(*TEXT).model(on_prior_messages="error")), InMemorySaver())
    before = [] if is_first else ["one"]
    for question in before:
        await graph.ainvoke({"messages": question}, ADA)
    await end(graph, stage, "two")
    stage.play(*TEXT)
    state = await graph.ainvoke({"messages": "three"}, ADA)
    assert stage.actor.prompts == [*before, "two", "three"]
    assert set(stage.actor.sessions) == {state["session_id"]}


@pytest.mark.parametrize("end", [_failed, _stopped], ids=["failed", "stopped"])
def test_another_process_finds_in_the_session_what_was_sent(
    stage: Stage, end: Callable[[Any, Stage, str], None]
) -> None:
    saver = InMemorySaver()
    graph = _graph(session_node(stage.play(*TEXT).model()), saver)
    graph.invoke({"messages": "one"}, ADA)
    end(graph, stage, "two")
    stage.play(*TEXT)
    state = _graph(session_node(stage.model()), saver).invoke({"messages": "three"}, ADA)
    assert stage.actor.prompts == ["one", "two", "three"]
    assert set(stage.actor.sessions) == {state["session_id"]}


async def test_a_graph_that_goes_on_after_a_stop_gets_the_answer_that_the_turn_had_meanwhile(stage: Stage) -> None:
    graph = _graph(session_node(stage.play(*TEXT).model()), InMemorySaver())
    await graph.ainvoke({"messages": "one"}, ADA)
    await _cancelled(graph, stage, "two")
    state = await graph.ainvoke(None, ADA)
    assert stage.actor.prompts == ["one", "two"]
    assert [message.text for message in state["messages"]] == ["one", "Hello world", "two", "half"]


def test_a_node_that_waits_for_somebody_sends_its_prompt_once(stage: Stage) -> None:
    """LangGraph runs a node again from its beginning when the answer to its interrupt comes."""
    node = session_node(stage.play(*TEXT).model())

    def ask(state: State, config: RunnableConfig) -> Any:
        update = node.invoke(state, config)
        interrupt("may this be shown?")
        return update

    graph = _graph(RunnableLambda(ask), InMemorySaver())
    graph.invoke({"messages": "one"}, ADA)
    state = graph.invoke(Command(resume=True), ADA)
    assert stage.actor.prompts == ["one"]
    assert [message.text for message in state["messages"]] == ["one", "Hello world"]


CONFIGS: dict[str, Callable[[Runnable[Any, Any], str], Runnable[Any, Any]]] = {
    "a config of the call": lambda model, session_id: _called_with(model, {"configurable": {"session_id": session_id}}),
    "and metadata": lambda model, session_id: _called_with(
        model, {"configurable": {"session_id": session_id}, "metadata": {"of": "mine"}}
    ),
    "a bound config": lambda model, session_id: model.with_config(configurable={"session_id": session_id}),
    "the config of a chain": lambda model, session_id: _called_with(
        RunnableLambda(lambda messages: messages) | model, {"configurable": {"session_id": session_id}}
    ),
}


def _called_with(model: Runnable[Any, Any], config: RunnableConfig) -> Runnable[Any, Any]:
    async def call(messages: Any) -> Any:
        return await model.ainvoke(messages, config)

    return RunnableLambda(lambda messages: model.invoke(messages, config), call)


@pytest.mark.parametrize("how", CONFIGS)
async def test_a_node_that_gives_the_session_by_a_config_of_its_own_sends_its_prompt_once(
    stage: Stage, how: str
) -> None:
    session_id = stage.new_session()
    model = CONFIGS[how](stage.play(*TEXT).model(), session_id)

    # Copies, as from a store.
    def given(state: State) -> list[Any]:
        return [message.model_copy() for message in state["messages"]]

    def ask(state: State) -> Any:
        answer = model.invoke(given(state))
        interrupt("may this be shown?")
        return {"messages": [answer]}

    async def ask_async(state: State) -> Any:
        answer = await model.ainvoke(given(state))
        interrupt("may this be shown?")
        return {"messages": [answer]}

    graph = _graph(RunnableLambda(ask, ask_async), InMemorySaver())
    graph.invoke({"messages": "one"}, ADA)
    state = graph.invoke(Command(resume=True), ADA)
    await graph.ainvoke({"messages": "two"}, ADA)
    state = await graph.ainvoke(Command(resume=True), ADA)
    assert stage.actor.prompts == ["one", "two"]
    assert [message.text for message in state["messages"]] == ["one", "Hello world", "two", "Hello world"]


def test_nodes_that_ask_other_indexes_the_same_have_turns_of_their_own(stage: Stage) -> None:
    model = stage.play(*TEXT).model()
    builder = StateGraph(Branches)
    builder.add_node("docs", lambda state: {"docs": model.invoke(state["messages"], index_ids=["idx-docs"])})
    builder.add_node("more", lambda state: {"more": model.invoke(state["messages"], index_ids=["idx-more"])})
    builder.add_edge(START, "docs").add_edge("docs", "more")
    state = builder.compile(checkpointer=InMemorySaver()).invoke({"messages": [HumanMessage("q")]}, ADA)
    assert state["docs"].response_metadata["session_id"] != state["more"].response_metadata["session_id"]
    assert stage.actor.indexes == [("idx-docs",), ("idx-more",)]


def test_the_same_words_are_sent_again_if_the_user_says_them_again(stage: Stage) -> None:
    graph = _graph(session_node(stage.play(*TEXT).model()), InMemorySaver())
    for _ in range(2):
        graph.invoke({"messages": "yes"}, ADA)
    _failed(graph, stage, "yes")
    stage.play(*TEXT)
    graph.invoke({"messages": "yes"}, ADA)
    assert stage.actor.prompts == ["yes"] * 4


def test_messages_of_turns_that_failed_one_after_the_other_are_each_sent_once(stage: Stage) -> None:
    """In one process, and where each turn is in a process of its own."""
    for is_fresh in (False, True):
        stage.actor.prompts.clear()
        saver, model = InMemorySaver(), stage.play(*TEXT).model()
        graphs = [_graph(session_node(stage.model() if is_fresh else model), saver) for _ in range(4)]
        graphs[0].invoke({"messages": "one"}, ADA)
        _failed(graphs[1], stage, "two")
        _failed(graphs[2], stage, "three")
        stage.play(*TEXT)
        graphs[3].invoke({"messages": "four"}, ADA)
        assert stage.actor.prompts == ["one", "two", "three", "four"]


def test_a_failed_message_that_the_user_rewrites_is_a_new_one(stage: Stage) -> None:
    graph = _graph(session_node(stage.play(*TEXT).model()), InMemorySaver())
    graph.invoke({"messages": [HumanMessage("one", id="1")]}, ADA)
    stage.play(FAILED)
    with pytest.raises(TurnFailed):
        graph.invoke({"messages": [HumanMessage("two", id="2")]}, ADA)
    stage.play(*TEXT)
    graph.invoke({"messages": [HumanMessage("zwei", id="2")]}, ADA)
    assert stage.actor.prompts == ["one", "two", "zwei"]


@pytest.mark.parametrize("keeps_id", [False, True], ids=["a new message", "a copy"])
@pytest.mark.parametrize("is_first", [True, False], ids=["first turn", "later turn"])
def test_a_message_that_a_middleware_rewrote_is_not_sent_again_as_it_was(
    stage: Stage, is_first: bool, keeps_id: bool
) -> None:
    @wrap_model_call
    def with_context(request: ModelRequest, handler: Callable[[ModelRequest], Any]) -> Any:
        *before, last = request.messages
        message = HumanMessage(f"In 2025: {last.text}", id=last.id if keeps_id else None)
        return handler(request.override(messages=[*before, message]))

    model = stage.play(*TEXT).model(session_from_messages=True)
    agent: Any = create_agent(model, tools=[], middleware=[with_context], checkpointer=InMemorySaver())
    before = [] if is_first else ["one"]
    for question in before:
        agent.invoke({"messages": question}, ADA)
    for question in ("two", "three"):
        _failed(agent, stage, question)
    stage.play(*TEXT)
    agent.invoke({"messages": "four"}, ADA)
    assert stage.actor.prompts == [f"In 2025: {question}" for question in (*before, "two", "three", "four")]
    assert len(set(stage.actor.sessions)) == 1


def test_words_of_a_failed_message_are_sent_if_the_user_says_them_alone(stage: Stage) -> None:
    """Only messages before the last one are looked for among other words."""
    graph = _graph(session_node(stage.play(*TEXT).model()), InMemorySaver())
    _failed(graph, stage, "yes, please")
    stage.play(*TEXT)
    graph.invoke({"messages": "please"}, ADA)
    assert stage.actor.prompts == ["yes, please", "please"]


def test_a_node_that_asks_in_words_of_its_own_goes_on_with_the_turn_that_failed(stage: Stage) -> None:
    model = stage.model()
    graph = _graph(RunnableLambda(lambda _: {"messages": [model.invoke("sum it up")]}), InMemorySaver())
    _failed(graph, stage, "one")
    with pytest.raises(TurnFailed):
        graph.invoke(None, ADA)
    assert stage.actor.prompts == ["sum it up"]
    stage.play(*TEXT)
    graph.invoke({"messages": "two"}, ADA)
    assert stage.actor.prompts == ["sum it up", "sum it up"]


async def test_words_whose_answer_was_read_later_may_be_asked_again(stage: Stage) -> None:
    model, attempts = stage.model(), iter(range(2))

    async def ask(_: State) -> Any:
        first = await model.ainvoke("go on")
        return {"messages": [first, await model.ainvoke("go on", session_id=first.response_metadata["session_id"])]}

    async def left(state: State) -> Any:
        if next(attempts):
            return await ask(state)
        stream: Any = model.astream("go on")
        async with aclosing(stream) as chunks:
            await anext(chunks)
        raise RuntimeError("gone")

    graph = _graph(RunnableLambda(left), InMemorySaver())
    gate = stage.actor.gate()
    stage.play(TextDelta(content="half"), gate, STOP)
    with pytest.raises(RuntimeError, match="gone"):
        await graph.ainvoke({"messages": "one"}, ADA)
    gate.set()
    stage.play(*TEXT)
    state = await graph.ainvoke(None, ADA)
    assert stage.actor.prompts == ["go on", "go on"]
    assert [message.text for message in state["messages"]] == ["one", "half", "Hello world"]


def test_a_node_may_ask_the_same_words_twice(stage: Stage) -> None:
    model, session_id = stage.play(*TEXT).model(), stage.new_session()

    def ask(_: State) -> Any:
        return {"messages": [model.invoke("go on", session_id=session_id) for _ in range(2)]}

    _graph(RunnableLambda(ask), InMemorySaver()).invoke({"messages": "one"}, ADA)
    assert stage.actor.prompts == ["go on", "go on"]


def test_the_models_of_configurable_fields_know_what_each_other_sent(stage: Stage) -> None:
    model = stage.model().configurable_fields(index_ids=ConfigurableField("indexes"))
    graph = _graph(session_node(model.with_config(configurable={"indexes": ["idx-more"]})), InMemorySaver())
    _failed(graph, stage, "one")
    stage.play(*TEXT)
    graph.invoke({"messages": "two"}, ADA)
    assert stage.actor.prompts == ["one", "two"]
    assert stage.actor.indexes == [("idx-more",), ("idx-more",)]
    assert len(set(stage.actor.sessions)) == 1


def test_the_system_text_is_not_sent_again_after_a_first_turn_that_failed(stage: Stage) -> None:
    node = session_node(stage.model(system="prepend"))

    def ask(state: State, config: RunnableConfig) -> Any:
        return node.invoke({**state, "messages": [SystemMessage("be brief"), *state["messages"]]}, config)

    graph = _graph(RunnableLambda(ask), InMemorySaver())
    _failed(graph, stage, "one")
    stage.play(*TEXT)
    graph.invoke({"messages": "two"}, ADA)
    assert stage.actor.prompts == ["be brief\n\none", "two"]


def test_an_agent_finds_the_session_of_a_first_turn_that_failed(stage: Stage) -> None:
    model = stage.model(session_from_messages=True, on_prior_messages="error")
    agent: Any = create_agent(model, tools=[], checkpointer=InMemorySaver())
    _failed(agent, stage, "one")
    stage.play(*TEXT)
    agent.invoke({"messages": "two"}, ADA)
    assert stage.actor.prompts == ["one", "two"]
    assert len(set(stage.actor.sessions)) == 1


def test_a_graph_that_goes_back_is_warned_that_the_session_does_not(stage: Stage) -> None:
    graph = _graph(session_node(stage.play(*TEXT).model()), InMemorySaver())
    for question in ("one", "two"):
        graph.invoke({"messages": question}, ADA)
    after_one = next(state for state in graph.get_state_history(ADA) if len(state.values["messages"]) == 2)
    with pytest.warns(SessionInputWarning, match="goes back to an earlier checkpoint") as warned:
        graph.invoke({"messages": "two, but other"}, after_one.config)
    assert warned[0].filename == __file__
    assert stage.actor.prompts == ["one", "two", "two, but other"]


def test_a_replay_asks_again_and_is_warned_of_the_same(stage: Stage) -> None:
    graph = _graph(session_node(stage.play(*TEXT).model()), InMemorySaver())
    for question in ("one", "two"):
        graph.invoke({"messages": question}, ADA)
    before = next(state for state in graph.get_state_history(ADA) if len(state.values["messages"]) == 3)
    with pytest.warns(SessionInputWarning, match="goes back to an earlier checkpoint"):
        graph.invoke(None, before.config)
    assert stage.actor.prompts == ["one", "two", "two"]
