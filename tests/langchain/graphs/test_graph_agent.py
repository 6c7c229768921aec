"""A graph of LangGraph, served as sessions: what its run becomes, and how it fails."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph

from chat_sessions import LocalServer, TurnFailed
from chat_sessions.core.errors import ConfigurationError
from chat_sessions.core.events import Event, Stop, Text, TextDelta, ToolCall, ToolResult, UserInput
from chat_sessions.langchain import GraphAgent
from chat_sessions.server import AgentTurn
from tests.langchain.messages.test_readers import APART, WORDS
from tests.langchain.stage import SEARCH_RESULT, Stage

langchain_agents = pytest.importorskip("langchain.agents")


class Model(BaseChatModel):
    """Calls the tool first, then says what it gave, in two pieces."""

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def _generate(self, *_: Any, **__: Any) -> ChatResult:
        raise NotImplementedError

    def _stream(self, messages: list[BaseMessage], *_: Any, **__: Any) -> Iterator[ChatGenerationChunk]:
        usage = UsageMetadata(input_tokens=10, output_tokens=2, total_tokens=12)
        if messages[-1].type == "tool":
            yield ChatGenerationChunk(message=AIMessageChunk(content="It is "))
            yield ChatGenerationChunk(message=AIMessageChunk(content="40", usage_metadata=usage))
        else:
            call = tool_call_chunk(name="search", args='{"words": "ferry"}', id="c1", index=0)
            yield ChatGenerationChunk(message=AIMessageChunk(content="", tool_call_chunks=[call], usage_metadata=usage))

    def bind_tools(self, *_: Any, **__: Any) -> Model:
        return self


@tool(response_format="content_and_artifact")
def search(words: str) -> tuple[str, list[Document]]:
    """Search the files."""
    return f"found {words}", [Document("The ferry carries 40 cars.", metadata={"file_name": "boats.md"})]


def echo(state: MessagesState) -> dict[str, Any]:
    prompt = state["messages"][-1].text
    if prompt == "Fail?":
        raise RuntimeError("the pump is broken")
    return {"messages": [AIMessage(f"{prompt} after {len(state['messages']) - 1}")]}


def graph(**options: Any) -> Any:
    built: Any = StateGraph(MessagesState)
    built.add_node("echo", echo)
    built.add_edge(START, "echo")
    return built.compile(**options)


async def events_of(agent: GraphAgent, prompt: str = "How many?", history: Sequence[Event] = ()) -> list[Event]:
    return [event async for event in agent.run(AgentTurn("ses-1", prompt, [], history))]


async def test_tokens_tool_calls_and_results_are_the_events_of_the_turn() -> None:
    agent = GraphAgent(langchain_agents.create_agent(Model(), [search]))
    events = await events_of(agent)
    assert [event for event in events if isinstance(event, ToolCall | ToolResult)] == [
        ToolCall(call_id="c1", name="search", arguments={"words": "ferry"}),
        ToolResult(
            call_id="c1",
            name="search",
            result={
                "content": "found ferry",
                "results": [{"content": "The ferry carries 40 cars.", "metadata": {"file_name": "boats.md"}}],
            },
        ),
    ]
    assert [event.content for event in events if isinstance(event, TextDelta)] == ["It is ", "40"]
    stop = events[-1]
    assert isinstance(stop, Stop)
    assert (stop.usage.input_tokens, stop.usage.output_tokens, stop.usage.turns) == (20, 4, 2)


class Searching(BaseChatModel):
    """A model whose service searches: the arguments of its first call come in pieces."""

    @property
    def _llm_type(self) -> str:
        return "searching"

    def _generate(self, *_: Any, **__: Any) -> ChatResult:
        raise NotImplementedError

    def _stream(self, *_: Any, **__: Any) -> Iterator[ChatGenerationChunk]:
        call = {"type": "server_tool_call", "id": "s2", "name": "fetch", "args": {"page": 2}, "index": 2}
        for block in (
            {"type": "server_tool_call_chunk", "id": "s1", "name": "search", "args": '{"words"', "index": 0},
            {"type": "server_tool_call_chunk", "args": ': "ferry"}', "index": 0},
            {"type": "server_tool_result", "tool_call_id": "s1", "status": "success", "output": ["40"], "index": 1},
            call,
            {"type": "server_tool_result", "tool_call_id": "s2", "status": "error", "output": "gone", "index": 3},
            {"type": "text", "text": "It is 40.", "index": 4},
        ):
            message = AIMessageChunk(content=[block], response_metadata={"output_version": "v1"})
            yield ChatGenerationChunk(message=message)
        yield ChatGenerationChunk(
            message=AIMessageChunk(content=[], response_metadata={"output_version": "v1"}, chunk_position="last")
        )


async def test_tools_that_the_service_of_a_model_ran_are_events_too() -> None:
    def ask(state: MessagesState) -> dict[str, Any]:
        return {"messages": [Searching().invoke(state["messages"])]}

    built: Any = StateGraph(MessagesState)
    built = built.add_node("ask", ask).add_edge(START, "ask").compile()
    events = await events_of(GraphAgent(built))
    assert [event for event in events if isinstance(event, ToolCall | ToolResult)] == [
        ToolCall(call_id="s2", name="fetch", arguments={"page": 2}),
        ToolResult(call_id="s2", name="fetch", result={"error": "gone"}),
        ToolCall(call_id="s1", name="search", arguments={"words": "ferry"}),
        ToolResult(call_id="s1", name="search", result=["40"]),
    ]
    assert [event.content for event in events if isinstance(event, TextDelta)] == ["It is 40."]


@pytest.mark.parametrize("options", [{}, {"output_version": "v1"}])
def test_a_graph_that_asks_sessions_shows_the_tools_of_those_sessions(
    stage: Stage, tmp_path: Path, options: dict[str, Any]
) -> None:
    inner = stage.play(*APART).model(index_ids=["idx-docs"], **options)
    built: Any = StateGraph(MessagesState)
    built.add_sequence([("ask", once := lambda state: {"messages": [inner.invoke("q")]}), ("again", once)])
    agent = GraphAgent(built.add_edge(START, "ask").compile())
    (tmp_path / "a.md").write_text("The ferry carries 40 cars.")
    with LocalServer(indexes={"idx-a": tmp_path}, agent=agent) as server, server.client() as client:
        session = client.session()
        turn = session.ask("q")
        (stored,) = session.turns()
    for shown in (turn, stored):
        assert [(run.name, run.arguments, run.result) for run in shown.tool_runs] == [
            ("search", {"q": "Q3"}, SEARCH_RESULT.result)
        ] * 2
        assert [source.file_name for source in shown.sources] == ["report.pdf"]
        assert "".join(shown.text.split()) == "".join(WORDS.split()) * 2


async def test_the_graph_sees_the_turns_before() -> None:
    history: list[Event] = [UserInput(content="Hello?"), Text(content="Yes?")]
    events = await events_of(GraphAgent(graph()), "Hi", history)
    assert [event.content for event in events if isinstance(event, TextDelta)] == ["Hi after 2"]


async def test_a_graph_with_a_checkpointer_keeps_the_session_itself() -> None:
    agent = GraphAgent(graph(checkpointer=InMemorySaver()))
    await events_of(agent, "First")
    history: list[Event] = [UserInput(content="First"), Text(content="First after 0")]
    events = await events_of(agent, "Second", history)
    assert [event.content for event in events if isinstance(event, TextDelta)] == ["Second after 2"]


def test_a_session_of_the_graph_is_used_like_any_other(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("The ferry carries 40 cars.")
    with LocalServer(indexes={"idx-a": tmp_path}, agent=GraphAgent(graph())) as server:
        session = server.client().session()
        assert session.ask("Hi").text == "Hi after 0"
        assert session.ask("Again").text == "Again after 2"
        with pytest.raises(TurnFailed, match="the pump is broken"):
            session.ask("Fail?")


def test_a_graph_that_is_not_compiled_is_refused_with_what_to_do() -> None:
    with pytest.raises(ConfigurationError, match=r"of type StateGraph: call its compile\(\)"):
        GraphAgent(StateGraph(MessagesState))
    with pytest.raises(ConfigurationError, match="this is of type object"):
        GraphAgent(object())
