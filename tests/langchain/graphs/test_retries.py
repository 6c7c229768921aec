"""Whatever tries again: a session gets a prompt once, and the answer is found where it is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NotRequired

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import ModelRetryMiddleware
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import ConfigurableField
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Command, RetryPolicy, interrupt

from chat_sessions import (
    APIError,
    ConflictError,
    LocalServer,
    ProtocolError,
    Timeouts,
    Turn,
    TurnError,
    TurnFailed,
    TurnInterrupted,
    TurnOutcomeUnknown,
    TurnStalled,
)
from chat_sessions.core.events import TextDelta
from chat_sessions.langchain import SessionChatModel, session_node
from chat_sessions.server.faults import Cut, Fault, LostAnswer, LostRequest, Refuse
from tests.langchain.stage import FAILED, STOP, TEXT, Actor, finished

ADA: Any = {"configurable": {"thread_id": "ada"}}


class State(MessagesState):
    session_id: NotRequired[str]


def _node(node: Any, **options: Any) -> Any:
    graph = StateGraph(State).add_node("ask", node, **options).add_edge(START, "ask")
    return graph.compile(checkpointer=InMemorySaver())


def _agent(model: SessionChatModel, retry: ModelRetryMiddleware[Any]) -> Any:
    return create_agent(model, tools=[], middleware=[retry], checkpointer=InMemorySaver())


def _any(error: Exception) -> bool:
    return True


RETRIES: dict[str, Callable[[SessionChatModel], Any]] = {
    "RetryPolicy": lambda model: _node(
        session_node(model), retry_policy=RetryPolicy(initial_interval=0.001, jitter=False, retry_on=_any)
    ),
    "with_retry": lambda model: _node(
        session_node(model).with_retry(exponential_jitter_params={"max": 0, "jitter": 0})
    ),
    "ModelRetryMiddleware": lambda model: _agent(
        model, ModelRetryMiddleware(initial_delay=0, jitter=False, on_failure="error", retry_on=_any)
    ),
}
DEFAULTS: dict[str, Callable[[SessionChatModel], Any]] = {
    "RetryPolicy": lambda model: _node(
        session_node(model), retry_policy=RetryPolicy(initial_interval=0.001, jitter=False)
    ),
    "ModelRetryMiddleware": lambda model: _agent(
        model, ModelRetryMiddleware(initial_delay=0, jitter=False, on_failure="error")
    ),
}
FAULTS: dict[str, Fault] = {
    "a refusal": Refuse(503),
    "a conflict": Refuse(409),
    "a lost request": LostRequest(),
    "a lost answer": LostAnswer(finish_first=True),
    "an answer that was cut": Cut(at_byte=30, how="reset", finish_first=True),
}


@dataclass
class Scene:
    """A server whose faults are scripted, and a model of it that does not look for a lost turn by itself."""

    server: LocalServer
    actor: Actor
    model: SessionChatModel


@pytest.fixture(scope="module")
def a_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LocalServer, Actor]]:
    folder = tmp_path_factory.mktemp("documents")
    Path(folder, "a.md").write_text("# A\n\nRevenue grew.\n")
    actor = Actor()
    with LocalServer(indexes={"idx-docs": str(folder)}, agent=actor, faults=[]) as server:
        yield server, actor


@pytest.fixture
def scene(a_server: tuple[LocalServer, Actor]) -> Iterator[Scene]:
    server, actor = a_server
    server.faults.clear()
    actor.prompts.clear()
    actor.sessions.clear()
    actor.script = TEXT
    timeouts = Timeouts(first_event=5, idle=5, recovery=0.0)
    with server.client(timeouts=timeouts, max_retries=0) as client:
        yield Scene(server, actor, SessionChatModel(client=client, index_ids=["idx-docs"]))


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("made", RETRIES.values(), ids=RETRIES)
async def test_what_tries_again_gets_the_answer_and_the_session_got_the_prompt_once(
    scene: Scene, made: Callable[[SessionChatModel], Any], fault: Fault
) -> None:
    for is_async in (False, True):
        scene.actor.prompts.clear()
        scene.server.faults.script(fault)
        graph = made(scene.model)
        given = {"messages": [HumanMessage("pay")]}
        state = await graph.ainvoke(given, ADA) if is_async else graph.invoke(given, ADA)
        assert state["messages"][-1].text == "Hello world"
        assert scene.actor.prompts == ["pay"]


@pytest.mark.parametrize(
    "made", [*RETRIES.values(), *DEFAULTS.values()], ids=[*RETRIES, *(f"{n} default" for n in DEFAULTS)]
)
async def test_a_turn_that_failed_is_not_sent_again(scene: Scene, made: Callable[[SessionChatModel], Any]) -> None:
    for is_async in (False, True):
        scene.actor.prompts.clear()
        scene.actor.script = (TextDelta(content="half"), FAILED)
        graph = made(scene.model)
        given = {"messages": [HumanMessage("pay")]}
        with pytest.raises(TurnFailed, match="the index burned"):
            await graph.ainvoke(given, ADA) if is_async else graph.invoke(given, ADA)
        assert scene.actor.prompts == ["pay"]
        assert len(set(scene.actor.sessions)) == 1 + is_async


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
async def test_a_model_with_retry_sends_words_once(scene: Scene, fault: Fault) -> None:
    model: Any = scene.model.with_retry(exponential_jitter_params={"max": 0, "jitter": 0})
    chain = ChatPromptTemplate.from_template("{question}") | model
    configurable: Any = scene.model.configurable_fields(index_ids=ConfigurableField("indexes"))
    configured = configurable.with_retry(exponential_jitter_params={"max": 0, "jitter": 0})
    indexes: Any = {"configurable": {"indexes": ["idx-docs"]}}
    ways: list[Any] = [
        lambda: model.invoke("pay"),
        lambda: model.ainvoke("pay"),
        lambda: chain.invoke({"question": "pay"}),
        lambda: model.batch(["pay"]),
        lambda: model.abatch(["pay"]),
        lambda: configured.invoke("pay", indexes),
        lambda: configured.ainvoke("pay"),
    ]
    for way in ways:
        scene.actor.prompts.clear()
        scene.server.faults.script(fault)
        answer = await finished(way())
        assert (answer[0] if isinstance(answer, list) else answer).text == "Hello world"
        assert scene.actor.prompts == ["pay"]


@pytest.mark.parametrize("config", [ADA, {}], ids=["in a thread", "without one"])
async def test_a_tool_that_is_called_again_sends_its_question_once(scene: Scene, config: Any) -> None:
    call = AIMessage("", tool_calls=[{"name": "ask_documents", "args": {"question": "pay"}, "id": "c1"}])
    retry: Any = RetryPolicy(initial_interval=0.001, jitter=False, retry_on=_any)
    graph: Any = StateGraph(MessagesState).add_edge(START, "tools")
    compiled = graph.add_node("tools", ToolNode([scene.model.as_tool()]), retry_policy=retry).compile()
    for is_async in (False, True):
        scene.actor.prompts.clear()
        scene.server.faults.script(LostAnswer(finish_first=True))
        given = {"messages": [call]}
        state = await compiled.ainvoke(given, config) if is_async else compiled.invoke(given, config)
        assert state["messages"][-1].text == "Hello world"
        assert scene.actor.prompts == ["pay"]


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_node_that_asks_again_what_failed_gets_that_answer_and_then_another(scene: Scene, fault: Fault) -> None:
    def ask(state: State) -> Any:
        try:
            answer = scene.model.invoke(state["messages"])
        except (APIError, TurnError):
            answer = scene.model.invoke(state["messages"])
            if len(scene.actor.prompts) > 1:
                raise
        answers = [answer, scene.model.invoke(state["messages"])]
        interrupt("may this be shown?")
        return {"messages": answers}

    scene.server.faults.script(fault)
    graph = _node(ask)
    graph.invoke({"messages": "pay"}, ADA)
    assert scene.actor.prompts == ["pay", "pay"]
    graph.invoke(Command(resume=True), ADA)
    assert scene.actor.prompts == ["pay", "pay"]


async def test_a_message_that_has_its_answer_may_be_asked_again(scene: Scene) -> None:
    session_id = scene.server.client().create(index_ids=["idx-docs"]).session_id
    message = HumanMessage("go on")
    model: Any = scene.model.with_retry(exponential_jitter_params={"max": 0, "jitter": 0})
    scene.server.faults.script(LostAnswer(finish_first=True))
    for _ in range(2):
        model.invoke([message], session_id=session_id)
        await model.ainvoke([message], session_id=session_id)
    assert scene.actor.prompts == ["go on"] * 4


@pytest.mark.parametrize("status", [409, 503])
def test_a_refused_prompt_is_not_answered_by_an_older_turn_of_the_same_words(scene: Scene, status: int) -> None:
    model: Any = scene.model.with_retry(exponential_jitter_params={"max": 0, "jitter": 0})
    session_id = model.invoke("go on").response_metadata["session_id"]
    scene.server.faults.script(Refuse(status))
    scene.actor.script = (TextDelta(content="and on"), STOP)
    assert model.invoke("go on", session_id=session_id).text == "and on"
    assert scene.actor.prompts == ["go on", "go on"]


async def _conversation(scene: Scene, before: list[str], *, is_async: bool) -> Callable[[str], Awaitable[None]]:
    """A new graph that has asked these questions, to ask more."""
    graph = _node(session_node(scene.model))

    async def ask(question: str) -> None:
        await graph.ainvoke({"messages": question}, ADA) if is_async else graph.invoke({"messages": question}, ADA)

    scene.actor.prompts.clear()
    scene.actor.sessions.clear()
    for question in before:
        await ask(question)
    return ask


@pytest.mark.parametrize("is_first", [True, False], ids=["first turn", "later turn"])
async def test_a_message_that_was_refused_is_sent_with_the_next(scene: Scene, is_first: bool) -> None:
    before = [] if is_first else ["one"]
    for is_async in (False, True):
        ask = await _conversation(scene, before, is_async=is_async)
        scene.server.faults.script(Refuse(409))
        with pytest.raises(ConflictError):
            await ask("two")
        await ask("three")
        assert scene.actor.prompts == [*before, "two\n\nthree"]
        assert len(set(scene.actor.sessions)) == 1


@pytest.mark.parametrize("status", [409, 503])
def test_a_message_that_was_refused_is_sent_though_another_program_said_its_words(scene: Scene, status: int) -> None:
    graph = _node(session_node(scene.model))
    session_id = graph.invoke({"messages": "one"}, ADA)["messages"][-1].response_metadata["session_id"]
    scene.server.faults.script(Refuse(status))
    with pytest.raises((APIError, TurnError)):
        graph.invoke({"messages": "two"}, ADA)
    assert scene.model.client is not None
    scene.model.client.session(session_id, index_ids=["idx-docs"]).ask("one and two")
    graph.invoke({"messages": "three"}, ADA)
    assert scene.actor.prompts == ["one", "one and two", "two\n\nthree"]


@pytest.mark.parametrize("is_first", [True, False], ids=["first turn", "later turn"])
@pytest.mark.parametrize("name", [name for name in FAULTS if name.startswith("a lost") or "cut" in name])
async def test_a_message_whose_answer_was_lost_is_sent_once_whatever_comes_next(
    scene: Scene, name: str, is_first: bool
) -> None:
    before = [] if is_first else ["one"]
    for is_async in (False, True):
        ask = await _conversation(scene, before, is_async=is_async)
        scene.server.faults.script(FAULTS[name])
        with pytest.raises((TurnError, APIError)):
            await ask("two")
        await ask("three")
        # A request that was lost has not landed, so the next one has its words too.
        assert scene.actor.prompts == [*before, *(["two\n\nthree"] if name == "a lost request" else ["two", "three"])]
        assert len(set(scene.actor.sessions)) == 1


def test_the_default_policy_of_a_node_leaves_the_errors_of_a_turn_alone() -> None:
    repeats: Any = RetryPolicy().retry_on
    turn = Turn("pay")
    for kind in (TurnFailed, TurnInterrupted, TurnStalled, TurnOutcomeUnknown):
        assert not repeats(kind("it broke", turn=turn, session_id="ses-1"))
    assert not repeats(ProtocolError("not an event stream"))
