"""A graph whose nodes are agents, or return messages in short forms, served as sessions: each thing once, in order."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, ToolMessage
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.tools import InjectedToolCallId, tool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command, Overwrite

from chat_sessions import LocalServer
from chat_sessions.core.events import Event, Stop, Text, TextDelta, ThinkingDelta, ToolCall, ToolResult, UserInput
from chat_sessions.langchain import GraphAgent
from chat_sessions.server import AgentTurn
from chat_sessions.session.chat_session import ChatSession

langchain_agents = pytest.importorskip("langchain.agents")


class Model(BaseChatModel):
    """Thinks and calls its tool, then says what it gave in two pieces; without a tool, it speaks at once."""

    tool: str | None = None
    words: tuple[str, ...] = ("It is ", "40.")
    # One for each piece, so that a test decides in which order two models speak.
    turns: tuple[asyncio.Event, ...] = ()
    taken: tuple[asyncio.Event, ...] = ()

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def _generate(self, *_: Any, **__: Any) -> ChatResult:
        raise NotImplementedError

    def _stream(self, messages: list[BaseMessage], *_: Any, **__: Any) -> Iterator[ChatGenerationChunk]:
        if self.tool is None or messages[-1].type == "tool":
            for word in self.words:
                yield ChatGenerationChunk(message=AIMessageChunk(content=word))
            return
        thought: list[str | dict[Any, Any]] = [{"type": "reasoning", "reasoning": "Which?", "index": 0}]
        made = {"output_version": "v1"}
        yield ChatGenerationChunk(message=AIMessageChunk(content=thought, response_metadata=made))
        call = tool_call_chunk(name=self.tool, args='{"words": "ferry"}', id="c1", index=1)
        yield ChatGenerationChunk(message=AIMessageChunk(content=[], tool_call_chunks=[call], response_metadata=made))

    async def _astream(self, messages: list[BaseMessage], *_: Any, **__: Any) -> AsyncIterator[ChatGenerationChunk]:
        for number, piece in enumerate(self._stream(messages)):
            if self.turns:
                await self.turns[number].wait()
            yield piece
            if self.taken:
                self.taken[number].set()

    def bind_tools(self, *_: Any, **__: Any) -> Model:
        return self


@tool
def search(words: str) -> str:
    """Search the files."""
    return f"found {words}"


@tool
def hand_over(words: str, tool_call_id: Annotated[str, InjectedToolCallId]) -> Any:
    """Hand over to the second agent."""
    message = ToolMessage(f"over to {words}", tool_call_id=tool_call_id, name="hand_over")
    return Command(goto="second", graph=Command.PARENT, update={"messages": [message]})


def agent(**fields: Any) -> Any:
    return langchain_agents.create_agent(Model(tool="search", **fields), [search])


def graph(node: Any, *more: Any, state: Any = MessagesState) -> Any:
    built: Any = StateGraph(state)
    names = ["first", "second", "third"]
    built.add_sequence(list(zip(names, (node, *more), strict=False)))
    return built.add_edge(START, "first").compile()


async def events_of(served: Any, history: tuple[Event, ...] = ()) -> list[Event]:
    """Return the events of a turn, without its stop."""
    events = [event async for event in GraphAgent(served).run(AgentTurn("ses-1", "How many?", [], history))]
    assert isinstance(events.pop(), Stop)
    return events


def words_of(events: list[Event]) -> list[str]:
    return [event.content for event in events if isinstance(event, TextDelta)]


RUN = [
    ThinkingDelta(content="Which?"),
    ToolCall(call_id="c1", name="search", arguments={"words": "ferry"}),
    ToolResult(call_id="c1", name="search", result={"content": "found ferry"}),
    TextDelta(content="It is "),
    TextDelta(content="40."),
]


def invoked(state: MessagesState) -> dict[str, Any]:
    """Run an agent, and return its messages."""
    return {"messages": agent().invoke({"messages": state["messages"]})["messages"]}


def copied(state: MessagesState) -> dict[str, Any]:
    """Run an agent, and return its messages as new ones."""
    return {"messages": [message.model_copy(update={"id": None}) for message in invoked(state)["messages"][1:]]}


def quoted(state: MessagesState) -> dict[str, Any]:
    """Run an agent, and return its answer in short."""
    return {"messages": ("ai", invoked(state)["messages"][-1].text)}


@pytest.mark.parametrize(
    "node",
    [
        pytest.param(lambda: agent(), id="an agent"),
        pytest.param(lambda: graph(agent()), id="a graph with an agent"),
        pytest.param(lambda: invoked, id="an agent's messages"),
        pytest.param(lambda: copied, id="copies of its messages"),
        pytest.param(lambda: quoted, id="its words"),
    ],
)
async def test_an_agent_in_a_node_is_shown_as_it_is_alone(node: Any) -> None:
    assert await events_of(agent()) == RUN
    assert await events_of(graph(node())) == RUN


async def test_agents_that_hand_over_show_each_call_and_result_once() -> None:
    first = langchain_agents.create_agent(Model(tool="hand_over"), [hand_over])
    built: Any = StateGraph(MessagesState)
    built = (
        built.add_node("first", first, destinations=("second",))
        .add_node("second", agent())
        .add_edge(START, "first")
        .compile()
    )
    assert await events_of(built) == [
        ThinkingDelta(content="Which?"),
        ToolCall(call_id="c1", name="hand_over", arguments={"words": "ferry"}),
        ToolResult(call_id="c1", name="hand_over", result={"content": "over to ferry"}),
        TextDelta(content="It is "),
        TextDelta(content="40."),
    ]


async def test_an_agent_that_a_tool_runs_shows_only_the_result() -> None:
    @tool("search")
    async def ask(words: str) -> str:
        """Ask another agent."""
        answer = await agent(words=("An inner answer.",)).ainvoke({"messages": words})
        said: str = answer["messages"][-1].text
        return said

    outer = langchain_agents.create_agent(Model(tool="search"), [ask])
    result = ToolResult(call_id="c1", name="search", result={"content": "An inner answer."})
    assert await events_of(graph(outer)) == [*RUN[:2], result, *RUN[3:]]


CALL = {"name": "search", "args": {"words": "ferry"}, "id": "c1"}


@pytest.mark.parametrize(
    "given",
    [
        ("ai", "40"),
        [("ai", "40")],
        {"role": "assistant", "content": "40"},
        [{"role": "assistant", "content": "40"}],
        {"type": "ai", "content": "40"},
        AIMessage("40"),
        [AIMessage("40")],
        Overwrite([AIMessage("40")]),
        "40",
        ["40"],
    ],
    ids=str,
)
@pytest.mark.parametrize("is_within", [False, True])
async def test_an_answer_in_any_form_is_shown_once(given: Any, is_within: bool) -> None:
    def node(_: MessagesState) -> dict[str, Any]:
        return {"messages": given}

    assert words_of(await events_of(graph(graph(node) if is_within else node))) == ["40"]


@pytest.mark.parametrize("is_within", [False, True])
async def test_calls_and_results_in_short_forms_are_events(is_within: bool) -> None:
    call = {"role": "assistant", "content": "", "tool_calls": [CALL]}
    result = {"role": "tool", "content": "found ferry", "tool_call_id": "c1", "name": "search"}

    def node(_: MessagesState) -> dict[str, Any]:
        return {"messages": [call, result, ("ai", "It is 40.")]}

    events = await events_of(graph(graph(node) if is_within else node))
    assert events == [*RUN[1:3], TextDelta(content="It is 40.")]


class Kept(TypedDict):
    messages: list[Any]


class Added(TypedDict):
    messages: Annotated[list[Any], operator.add]


async def test_a_conversation_that_a_node_returns_again_is_no_news() -> None:
    history = (UserInput(content="Hello?"), Text(content="Yes?"))

    def adds(word: str) -> Any:
        def add(state: Any) -> dict[str, Any]:
            return {"messages": [*state["messages"], {"role": "assistant", "content": word}]}

        return add

    for state in (Kept, MessagesState):
        built = graph(adds("One."), adds("Two."), state=state)
        assert words_of(await events_of(built, history)) == ["One.", "\n\nTwo."]
        assert words_of(await events_of(graph(built, state=state), history)) == ["One.", "\n\nTwo."]


async def test_two_nodes_may_say_the_same() -> None:
    def says(_: Added) -> dict[str, Any]:
        return {"messages": [{"role": "assistant", "content": "Yes."}]}

    assert words_of(await events_of(graph(says, says, state=Added))) == ["Yes.", "\n\nYes."]


def asks(model: BaseChatModel) -> Any:
    async def ask(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await model.ainvoke(state["messages"])]}

    return ask


def test_the_answers_of_two_nodes_are_apart_live_and_stored_and_in_the_next_turn(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("The ferry carries 40 cars.")
    seen: list[list[str]] = []

    def note(state: MessagesState) -> dict[str, Any]:
        seen.append([message.text for message in state["messages"]])
        return {}

    built = graph(note, asks(Model()), asks(Model(words=("It was ", "39."))))
    with LocalServer(indexes={"idx-a": tmp_path}, agent=GraphAgent(built)) as server, server.client() as client:
        session: ChatSession = client.session()
        stream = session.stream("How many?")
        live = "".join(event.content for event in stream if isinstance(event, TextDelta))
        assert live == stream.turn.text == "It is 40.\n\nIt was 39."
        assert [turn.text for turn in session.turns()] == [live]
        session.ask("And now?")
    assert seen == [["How many?"], ["How many?", live, "And now?"]]


async def test_thoughts_of_two_nodes_are_apart_too() -> None:
    def thinks(_: MessagesState) -> dict[str, Any]:
        return {"messages": [AIMessage([{"type": "reasoning", "reasoning": "Hm."}])]}

    events = await events_of(graph(thinks, thinks))
    assert [event.content for event in events if isinstance(event, ThinkingDelta)] == ["Hm.", "\n\nHm."]


async def test_nodes_that_speak_at_the_same_time_are_shown_one_after_the_other() -> None:
    steps = tuple(asyncio.Event() for _ in range(5))
    steps[0].set()
    # The first node's pieces come at steps 0 and 2, the second's at 1 and 3.
    one = Model(turns=steps[0:3:2], taken=steps[1:4:2])
    two = Model(words=("It was ", "39."), turns=steps[1:4:2], taken=steps[2:5:2])
    built: Any = StateGraph(MessagesState)
    built = (
        built.add_node("one", asks(one))
        .add_node("two", asks(two))
        .add_edge(START, "one")
        .add_edge(START, "two")
        .compile()
    )
    assert words_of(await events_of(built)) == ["It is ", "40.", "\n\nIt was ", "39."]


class Broken(Model):
    def _stream(self, messages: list[BaseMessage], *_: Any, **__: Any) -> Iterator[ChatGenerationChunk]:
        yield ChatGenerationChunk(message=AIMessageChunk(content="It i"))
        raise RuntimeError("the line broke")


@pytest.mark.parametrize("takes_over", [False, True])
async def test_a_message_that_breaks_off_holds_nothing_up(takes_over: bool) -> None:
    async def tries(state: MessagesState) -> dict[str, Any]:
        with pytest.raises(RuntimeError):
            await Broken().ainvoke(state["messages"])
        return await asks(Model())(state) if takes_over else {}

    events = await events_of(graph(tries) if takes_over else graph(tries, asks(Model())))
    assert words_of(events) == ["It i", "\n\nIt is ", "40."]
