"""A node that asks a message again gets another answer, and the same answers when it runs again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import ModelRequest, wrap_model_call
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.runnables import Runnable, RunnableLambda
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command, RetryPolicy, interrupt

from chat_sessions.langchain import SessionChatModel
from tests.langchain.stage import FAILED, Stage, drafts

ADA: Any = {"configurable": {"thread_id": "ada"}}

Asks = Callable[[SessionChatModel, list[Any]], Sequence[AIMessage]]


def _graph(node: Any, **options: Any) -> Any:
    graph: Any = StateGraph(MessagesState).add_node("ask", node, **options).add_edge(START, "ask")
    return graph.compile(checkpointer=InMemorySaver())


class _Waits:
    """A node that asks, and waits for somebody: it asks again when it goes on. `seen` has what it got each time."""

    def __init__(self, ask: Asks, model: SessionChatModel) -> None:
        self.seen: list[list[str]] = []
        self.model = model
        self._ask = ask

    def __call__(self, state: MessagesState) -> Any:
        answers = self._ask(self.model, state["messages"])
        self.seen.append([str(answer.text) for answer in answers])
        interrupt("may this be shown?")
        return {"messages": [answers[-1]]}


def _loop(model: SessionChatModel, messages: list[Any], **arguments: Any) -> list[AIMessage]:
    return [model.invoke(messages, **arguments) for _ in range(3)]


def _batch(model: SessionChatModel, messages: list[Any], **arguments: Any) -> list[AIMessage]:
    return model.batch([messages] * 3, **arguments)


@pytest.mark.parametrize("where", ["new sessions", "one session", "the session of the messages"])
@pytest.mark.parametrize("ask", [_loop, _batch], ids=["one by one", "batch"])
def test_a_node_that_asks_a_message_three_times_gets_three_answers_and_the_same_after_an_interrupt(
    stage: Stage, ask: Callable[..., Sequence[AIMessage]], where: str
) -> None:
    stage.actor.script = drafts
    arguments: Any = {"session_id": stage.new_session()} if where == "one session" else {}
    node = _Waits(
        lambda model, messages: ask(model, messages, **arguments),
        stage.model(session_from_messages=where == "the session of the messages"),
    )
    graph = _graph(node)
    before: list[Any] = []
    if where == "the session of the messages":
        before = [HumanMessage("hello"), node.model.invoke("hello")]
        stage.actor.prompts.clear()
    graph.invoke({"messages": [*before, HumanMessage("a slogan")]}, ADA)
    graph.invoke(Command(resume=True), ADA)
    first, second = node.seen
    assert sorted(first) == ["draft 1", "draft 2", "draft 3"]
    assert sorted(second) == sorted(first)
    assert stage.actor.prompts == ["a slogan"] * 3


async def test_an_async_node_that_asks_a_message_three_times_gets_three_answers(stage: Stage) -> None:
    stage.actor.script = drafts
    model, seen = stage.model(), list[list[str]]()

    async def ask(state: MessagesState) -> Any:
        answers = [await model.ainvoke(state["messages"]), *await model.abatch([state["messages"]] * 2)]
        seen.append([str(answer.text) for answer in answers])
        interrupt("may this be shown?")
        return {"messages": answers}

    graph = _graph(ask)
    await graph.ainvoke({"messages": "a slogan"}, ADA)
    await graph.ainvoke(Command(resume=True), ADA)
    assert [sorted(each) for each in seen] == [["draft 1", "draft 2", "draft 3"]] * 2
    assert stage.actor.prompts == ["a slogan"] * 3


def test_several_messages_of_the_user_are_asked_again_together(stage: Stage) -> None:
    stage.actor.script = drafts
    node = _Waits(_loop, stage.model(session_from_messages=True))
    graph = _graph(node)
    graph.invoke({"messages": [HumanMessage("one"), HumanMessage("two")]}, ADA)
    graph.invoke(Command(resume=True), ADA)
    assert node.seen == [["draft 1", "draft 2", "draft 3"]] * 2
    assert stage.actor.prompts == ["one\n\ntwo"] * 3


def test_a_message_is_asked_again_beside_one_whose_turn_failed(stage: Stage) -> None:
    def ask(model: SessionChatModel, messages: list[Any]) -> list[AIMessage]:
        return [model.invoke(messages)] if len(messages) == 1 else _loop(model, messages)

    node = _Waits(ask, stage.play(FAILED).model())
    graph = _graph(node)
    with pytest.raises(Exception, match="the index burned"):
        graph.invoke({"messages": "one"}, ADA)
    stage.actor.script = drafts
    graph.invoke({"messages": "two"}, ADA)
    graph.invoke(Command(resume=True), ADA)
    assert node.seen == [["draft 2", "draft 3", "draft 4"]] * 2
    assert stage.actor.prompts == ["one", "two", "two", "two"]
    assert len(set(stage.actor.sessions)) == 1


def test_each_session_that_a_node_asks_has_its_own_answer_to_the_message(stage: Stage) -> None:
    stage.actor.script = drafts
    sessions = [stage.new_session() for _ in range(3)]
    node = _Waits(lambda model, messages: [model.invoke(messages, session_id=each) for each in sessions], stage.model())
    graph = _graph(node)
    graph.invoke({"messages": "a slogan"}, ADA)
    sessions.reverse()
    graph.invoke(Command(resume=True), ADA)
    assert node.seen == [["draft 1", "draft 2", "draft 3"], ["draft 3", "draft 2", "draft 1"]]
    assert stage.actor.prompts == ["a slogan"] * 3


def test_a_node_that_fails_between_its_asks_sends_only_those_that_are_missing(stage: Stage) -> None:
    stage.actor.script = drafts
    model, attempts = stage.model(), iter(range(2))

    def ask(state: MessagesState) -> Any:
        answers = [model.invoke(state["messages"]), model.invoke(state["messages"])]
        if next(attempts) == 0:
            raise ConnectionError
        return {"messages": [*answers, model.invoke(state["messages"])]}

    graph = _graph(ask, retry_policy=RetryPolicy(initial_interval=0.001, jitter=False))
    state = graph.invoke({"messages": "a slogan"}, ADA)
    assert [message.text for message in state["messages"][1:]] == ["draft 1", "draft 2", "draft 3"]
    assert stage.actor.prompts == ["a slogan"] * 3


def test_a_node_without_a_thread_gets_the_same_answers_when_it_runs_again(stage: Stage) -> None:
    stage.actor.script = drafts
    model, seen = stage.model(), list[list[str]]()

    def ask(state: MessagesState) -> Any:
        seen.append([str(answer.text) for answer in _loop(model, state["messages"])])
        if len(seen) == 1:
            raise ConnectionError
        return {}

    retry = RetryPolicy(initial_interval=0.001, jitter=False)
    graph: Any = StateGraph(MessagesState).add_node("ask", ask, retry_policy=retry).add_edge(START, "ask").compile()
    graph.invoke({"messages": "a slogan"})
    assert seen == [["draft 1", "draft 2", "draft 3"]] * 2
    assert stage.actor.prompts == ["a slogan"] * 3


@pytest.mark.parametrize("is_inner", [True, False])
def test_a_graph_that_a_node_calls_asks_again_unless_the_policy_is_that_of_its_own_node(
    stage: Stage, is_inner: bool
) -> None:
    stage.actor.script = drafts
    model, attempts = stage.model(), iter(range(2))
    retry = RetryPolicy(initial_interval=0.001, jitter=False)

    def ask(state: MessagesState) -> Any:
        answer = model.invoke(state["messages"])
        if is_inner and next(attempts) == 0:
            raise ConnectionError
        return {"messages": [answer]}

    inner: Any = StateGraph(MessagesState).add_node("ask", ask, retry_policy=retry)
    called = inner.add_edge(START, "ask").compile()

    def call(state: MessagesState) -> Any:
        answer = called.invoke(state)["messages"][-1]
        if not is_inner and next(attempts) == 0:
            raise ConnectionError
        return {"messages": [answer]}

    _graph(call, retry_policy=retry).invoke({"messages": "a slogan"}, ADA)
    assert stage.actor.prompts == ["a slogan"] * (1 if is_inner else 2)


def test_another_process_finds_the_answers_to_a_message_that_was_asked_again(stage: Stage) -> None:
    stage.actor.script = drafts
    before = [HumanMessage("hello"), stage.model().invoke("hello")]
    stage.actor.prompts.clear()
    node = _Waits(_loop, stage.model(session_from_messages=True))
    graph = _graph(node)
    graph.invoke({"messages": [*before, HumanMessage("a slogan")]}, ADA)
    node.model = stage.model(session_from_messages=True)
    graph.invoke(Command(resume=True), ADA)
    assert [sorted(each) for each in node.seen] == [["draft 1", "draft 2", "draft 3"]] * 2
    assert stage.actor.prompts == ["a slogan"] * 3


def test_a_middleware_that_dislikes_an_answer_gets_another(stage: Stage) -> None:
    stage.actor.script = drafts

    @wrap_model_call
    def choosy(request: ModelRequest, handler: Callable[[ModelRequest], Any]) -> Any:
        response = handler(request)
        return handler(request) if response.result[0].text == "draft 1" else response

    model = stage.model(session_from_messages=True, on_prior_messages="error")
    agent: Any = create_agent(model, tools=[], middleware=[choosy], checkpointer=InMemorySaver())
    assert agent.invoke({"messages": "a slogan"}, ADA)["messages"][-1].text == "draft 2"
    assert agent.invoke({"messages": "and a title"}, ADA)["messages"][-1].text == "draft 3"
    assert stage.actor.prompts == ["a slogan", "a slogan", "and a title"]


def test_an_ask_whose_handler_failed_after_the_answer_gets_that_answer_again(stage: Stage) -> None:
    stage.actor.script = drafts

    class Fails(BaseCallbackHandler):
        raise_error = True
        left = 1

        def on_llm_end(self, *_: Any, **__: Any) -> None:
            self.left -= 1
            if self.left == 0:
                raise ConnectionError

    model = stage.model(callbacks=[Fails()])

    def ask(state: MessagesState) -> Any:
        with pytest.raises(ConnectionError):
            model.invoke(state["messages"])
        return {"messages": [model.invoke(state["messages"])]}

    assert _graph(ask).invoke({"messages": "a slogan"}, ADA)["messages"][-1].text == "draft 1"
    assert stage.actor.prompts == ["a slogan"]


CHAINS: dict[str, Callable[[SessionChatModel], Runnable[Any, AIMessage]]] = {
    "a chain": lambda model: RunnableLambda(lambda messages: messages) | model,
    "with_retry": lambda model: model.with_retry(),
}


@pytest.mark.parametrize("made", CHAINS.values(), ids=CHAINS)
def test_a_chain_gets_the_first_answer_again_unless_the_message_has_another_id(
    stage: Stage, made: Callable[[SessionChatModel], Runnable[Any, AIMessage]]
) -> None:
    """To a model, a chain that is called again and a node that runs again look the same."""
    stage.actor.script = drafts

    def ask(model: SessionChatModel, messages: list[Any]) -> list[AIMessage]:
        other = messages[-1].model_copy(update={"id": "another"})
        return [made(model).invoke(messages), made(model).invoke(messages), made(model).invoke([other])]

    node = _Waits(ask, stage.model())
    graph = _graph(node)
    graph.invoke({"messages": "a slogan"}, ADA)
    graph.invoke(Command(resume=True), ADA)
    assert node.seen == [["draft 1", "draft 1", "draft 2"]] * 2
    assert stage.actor.prompts == ["a slogan"] * 2


def test_a_node_asks_about_a_message_in_words_of_its_own_and_then_the_message_itself(stage: Stage) -> None:
    stage.actor.script = drafts
    starts = iter(["Classify: ", "", "", "Classify: "])

    def ask(model: SessionChatModel, messages: list[Any]) -> list[AIMessage]:
        said = [f"{next(starts)}{messages[-1].text}" for _ in range(2)]
        return [model.invoke([messages[-1].model_copy(update={"content": each})]) for each in said]

    node = _Waits(ask, stage.model())
    graph = _graph(node)
    graph.invoke({"messages": "what was revenue?"}, ADA)
    assert len(set(stage.actor.sessions)) == 2
    graph.invoke(Command(resume=True), ADA)
    assert node.seen == [["draft 1", "draft 2"], ["draft 2", "draft 1"]]
    assert stage.actor.prompts == ["Classify: what was revenue?", "what was revenue?"]
