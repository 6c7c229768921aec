"""The model in LangGraph and in `create_agent`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, NotRequired

import pytest
from langchain.agents import create_agent
from langchain.agents.structured_output import ProviderStrategy
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, convert_to_openai_messages
from langchain_core.output_parsers import StrOutputParser
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph
from pydantic import BaseModel

from chat_sessions import ConfigurationError
from chat_sessions.langchain import SessionChatModel, SessionInputWarning, session_node
from tests.langchain.stage import FAILED, TEXT, TURN, Recorder, Stage


class State(MessagesState):
    session_id: NotRequired[str]


def _graph(model: SessionChatModel, **compiled: Any) -> Any:
    graph = StateGraph(State)
    graph.add_node("ask", session_node(model))
    graph.add_edge(START, "ask")
    graph.add_edge("ask", END)
    return graph.compile(**compiled)


@pytest.mark.checklist(30)
def test_the_messages_of_a_graph_are_its_tokens_each_once(stage: Stage) -> None:
    parts = list(_graph(stage.model()).stream({"messages": "q"}, stream_mode="messages"))
    messages = [message for message, _ in parts]
    assert all(isinstance(message, AIMessageChunk) for message in messages)
    assert [message.content for message in messages] == [chunk.content for chunk in stage.model().stream("q")]
    assert len({message.id for message in messages}) == 1
    assert {metadata["langgraph_node"] for _, metadata in parts} == {"ask"}


@pytest.mark.checklist(30)
async def test_the_messages_of_an_async_graph_are_its_tokens_each_once(stage: Stage) -> None:
    parts = [part async for part in _graph(stage.model()).astream({"messages": "q"}, stream_mode="messages")]
    assert "".join(message.text for message, _ in parts) == "Hello world"
    assert len({message.id for message, _ in parts}) == 1


@pytest.mark.checklist(30)
async def test_the_tools_of_a_graph_are_started_and_finished_in_pairs(stage: Stage) -> None:
    graph = _graph(stage.model())
    expected = [
        ("tool-started", "c1"),
        ("tool-started", "c2"),
        ("tool-finished", "c2"),
        ("tool-finished", "c1"),
    ]
    events = list(graph.stream({"messages": "q"}, stream_mode="tools"))
    assert [(event["event"], event["tool_call_id"]) for event in events] == expected
    assert events[0]["input"] == {"q": "Q3"}
    events = [event async for event in graph.astream({"messages": "q"}, stream_mode="tools")]
    assert [(event["event"], event["tool_call_id"]) for event in events] == expected


@pytest.mark.checklist(30)
async def test_astream_events_of_a_graph_has_the_tools_below_the_model(stage: Stage) -> None:
    events = [event async for event in _graph(stage.model()).astream_events({"messages": "q"}, version="v2")]
    (model_run,) = {event["run_id"] for event in events if event["event"] == "on_chat_model_start"}
    tools = [event for event in events if event["event"] == "on_tool_start"]
    assert [event["parent_ids"][-1] for event in tools] == [model_run, model_run]
    tokens = [event["data"]["chunk"].text for event in events if event["event"] == "on_chat_model_stream"]
    assert "".join(tokens) == "Hello world"


@pytest.mark.checklist(41, 45)
def test_a_checkpointed_graph_sends_each_message_of_the_user_once_in_one_session(stage: Stage) -> None:
    graph = _graph(stage.play(*TEXT).model(on_prior_messages="error"), checkpointer=InMemorySaver())
    ada: Any = {"configurable": {"thread_id": "ada"}}
    bob: Any = {"configurable": {"thread_id": "bob"}}
    graph.invoke({"messages": "one"}, ada)
    state = graph.invoke({"messages": "two"}, ada)
    graph.invoke({"messages": "other"}, bob)
    assert stage.actor.prompts == ["one", "two", "other"]
    assert stage.actor.sessions == [state["session_id"]] * 2 + [stage.actor.sessions[2]]
    assert stage.actor.sessions[2] != state["session_id"]
    assert [message.text for message in state["messages"]] == ["one", "Hello world", "two", "Hello world"]


@dataclass
class _DataState:
    messages: list[BaseMessage] = field(default_factory=list)
    session_id: str | None = None


class _ModelState(BaseModel):
    messages: list[BaseMessage] = []
    session_id: str | None = None


@pytest.mark.parametrize("state", [_DataState, _ModelState])
async def test_the_state_may_be_a_dataclass_or_a_pydantic_model(stage: Stage, state: type[Any]) -> None:
    node = session_node(stage.model())
    first = node.invoke(state(messages=[HumanMessage("one")]))
    second = await node.ainvoke(state(messages=[HumanMessage("two")], session_id=first["session_id"]))
    assert first["session_id"] == second["session_id"]
    assert second["messages"][0].text == "Hello world"


def test_branches_of_a_graph_may_share_a_key_for_their_sessions(stage: Stage) -> None:
    """LangGraph lets two nodes write one key only if it has a reducer, and begins such a string as ""."""

    class Shared(MessagesState):
        session_id: Annotated[str, lambda _, new: new]

    node = session_node(stage.play(*TEXT).model())
    graph: Any = StateGraph(Shared).add_node("a", node).add_node("b", node).add_edge(START, "a").add_edge(START, "b")
    state = graph.compile().invoke({"messages": "one"})
    assert stage.actor.prompts == ["one", "one"]
    assert state["session_id"] in stage.actor.sessions


def test_what_is_no_model_is_no_node(stage: Stage) -> None:
    output: Any = "blocs"
    with pytest.raises(ConfigurationError, match="output='blocs'"):
        session_node(stage.model(), output=output)
    client: Any = stage.client
    with pytest.raises(ConfigurationError, match=r"^session_node takes a model, .* not a LlamaCloudChat$"):
        session_node(client)
    chain: Any = stage.model() | StrOutputParser()
    with pytest.raises(ConfigurationError, match="got text: leave out the output parser"):
        session_node(chain).invoke({"messages": "q"})


@pytest.mark.checklist(41)
async def test_a_graph_whose_state_has_no_place_for_the_session_is_told_what_it_needs(stage: Stage) -> None:
    graph = StateGraph(MessagesState)
    graph.add_node("ask", session_node(stage.play(*TEXT).model()))
    graph.add_edge(START, "ask")
    compiled: Any = graph.compile(checkpointer=InMemorySaver())
    thread: Any = {"configurable": {"thread_id": "ada"}}
    compiled.invoke({"messages": "one"}, thread)
    remedy = r"`session_id: NotRequired\[str\]` in its state"
    with pytest.warns(SessionInputWarning, match=remedy) as warned:
        compiled.invoke({"messages": "two"}, thread)
    assert warned[0].filename == __file__
    with pytest.warns(SessionInputWarning, match=remedy):
        await compiled.ainvoke({"messages": "three"}, thread)


@pytest.mark.checklist(31)
def test_create_agent_without_tools_runs_and_streams(stage: Stage) -> None:
    agent: Any = create_agent(stage.play(*TURN).model(), tools=[])
    assert agent.invoke({"messages": [("user", "q")]})["messages"][-1].text == "Hello world"
    parts = list(agent.stream({"messages": [("user", "q")]}, stream_mode=["messages", "tools"]))
    assert "".join(part[0].text for mode, part in parts if mode == "messages") == "Hello world"
    assert sum(mode == "tools" for mode, _ in parts) == 4


@pytest.mark.checklist(31)
def test_create_agent_goes_on_with_its_session_where_the_messages_may_choose_it(stage: Stage) -> None:
    model = stage.play(*TEXT).model(session_from_messages=True, on_prior_messages="error")
    agent: Any = create_agent(model, tools=[], checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "ada"}}
    for question in ("one", "two"):
        agent.invoke({"messages": [("user", question)]}, config)
    assert stage.actor.prompts == ["one", "two"]
    assert len(set(stage.actor.sessions)) == 1


@pytest.mark.checklist(31, 43)
def test_the_system_prompt_of_create_agent_is_told_of(stage: Stage) -> None:
    agent: Any = create_agent(stage.model(), tools=[], system_prompt="be brief")
    with pytest.warns(SessionInputWarning, match="system message is not sent"):
        agent.invoke({"messages": [("user", "q")]})


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


class _Schema(BaseModel):
    text: str


@pytest.mark.checklist(31)
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"tools": [add]}, "give your tools to an agent"),
        ({"tools": [], "response_format": _Schema}, "takes no schema"),
        ({"tools": [add], "response_format": _Schema}, "give your tools to an agent"),
        ({"tools": [], "response_format": ProviderStrategy(_Schema)}, "takes no schema"),
    ],
)
def test_create_agent_with_tools_or_a_schema_is_refused_with_what_to_do_instead(
    stage: Stage, arguments: dict[str, Any], says: str
) -> None:
    agent: Any = create_agent(stage.model(), **arguments)
    with pytest.raises(NotImplementedError, match=says):
        agent.invoke({"messages": [("user", "q")]})


async def test_the_newest_streams_of_a_graph_have_text_and_tools(stage: Stage) -> None:
    recorder = Recorder()
    graph = _graph(stage.model())
    run = graph.stream_events({"messages": "q"}, {"callbacks": [recorder]}, version="v3")
    texts = [str(message.text) for message in run.messages]
    assert texts == ["Hello world"]
    assert recorder.names.count("tool_end") == 2


async def test_a_fallback_of_the_node_answers_without_a_session_and_the_thread_keeps_its_own(stage: Stage) -> None:
    fallback = GenericFakeChatModel(messages=iter([AIMessage("somebody else"), AIMessage("somebody else")]))
    graph = StateGraph(State)
    graph.add_node("ask", session_node(stage.play(*TEXT).model(on_prior_messages="ignore").with_fallbacks([fallback])))
    compiled: Any = graph.add_edge(START, "ask").compile(checkpointer=InMemorySaver())
    thread: Any = {"configurable": {"thread_id": "ada"}}
    session_id = compiled.invoke({"messages": "one"}, thread)["session_id"]
    stage.play(FAILED)
    state = await compiled.ainvoke({"messages": "two"}, thread)
    assert (state["messages"][-1].text, state["session_id"]) == ("somebody else", session_id)
    first = compiled.invoke({"messages": "one"}, {"configurable": {"thread_id": "bob"}})
    assert "session_id" not in first


async def test_the_state_keeps_an_answer_as_text_alone_if_so_wished(stage: Stage) -> None:
    node = session_node(stage.play(*TURN).model(output_version="v1"), output="text")
    for update in (node.invoke({"messages": "q"}), await node.ainvoke({"messages": "q"})):
        answer = update["messages"][0]
        assert answer.content == "Hello world"
        assert answer.response_metadata["session_id"] == update["session_id"]
        assert convert_to_openai_messages([answer]) == [{"role": "assistant", "content": "Hello world"}]
