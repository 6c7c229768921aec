"""The session as a tool of another agent."""

from __future__ import annotations

from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import ToolRetryMiddleware
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, ToolMessage
from langgraph.checkpoint.memory import InMemorySaver

from chat_sessions import ConfigurationError, TurnFailed
from chat_sessions.langchain import SessionTool
from tests.langchain.stage import FAILED, TEXT, Recorder, Stage


class _Caller(GenericFakeChatModel):
    """A model that says what it was given to say, and may be given tools."""

    disable_streaming: bool = True  # it cannot stream a tool call

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self


def _call(question: str) -> AIMessage:
    return AIMessage("", tool_calls=[{"name": "ask_documents", "args": {"question": question}, "id": "t1"}])


async def test_the_tool_answers_with_the_text_and_its_passages(stage: Stage) -> None:
    made = stage.model().as_tool()
    assert isinstance(made, SessionTool)
    assert made.invoke({"question": "q"}) == "Hello world"
    message: ToolMessage = await made.ainvoke(
        {"type": "tool_call", "name": made.name, "args": {"question": "q"}, "id": "t1"}
    )
    assert message.content == "Hello world"
    assert [document.metadata["page"] for document in message.artifact] == [2, 1]


def test_the_tool_has_the_name_and_description_it_was_given(stage: Stage) -> None:
    made = stage.model().as_tool(name="handbook", description="Knows the handbook.")
    assert (made.name, made.description) == ("handbook", "Knows the handbook.")
    assert list(made.args) == ["question"]
    with pytest.raises(ConfigurationError, match="one question as text"):
        stage.model().as_tool(arg_types={"a": int})


async def test_the_runs_of_the_remote_tools_are_below_the_tool(stage: Stage) -> None:
    for run in ("invoke", "ainvoke"):
        recorder = Recorder()
        done = getattr(stage.model().as_tool(), run)({"question": "q"}, {"callbacks": [recorder]})
        if run == "ainvoke":
            await done
        assert recorder.runs == [
            ("tool_start", "R0", "-"),
            ("llm_start", "R1", "R0"),
            ("tool_start", "R2", "R1"),
            ("tool_start", "R3", "R1"),
            ("tool_end", "R3", "R1"),
            ("tool_end", "R2", "R1"),
            ("llm_end", "R1", "R0"),
            ("tool_end", "R0", "-"),
        ]


def test_an_agent_asks_the_session_by_its_tool(stage: Stage) -> None:
    caller = _Caller(messages=iter([_call("what grew?"), AIMessage("It grew.")]))
    agent: Any = create_agent(caller, tools=[stage.model().as_tool()])
    parts = list(agent.stream({"messages": [("user", "q")]}, stream_mode=["tools", "values"]))
    events = [(part["event"], part["tool_call_id"]) for mode, part in parts if mode == "tools"]
    assert events[0] == ("tool-started", "t1")
    assert events[-1] == ("tool-finished", "t1")
    assert ("tool-started", "c1") in events
    assert stage.actor.prompts == ["what grew?"]
    messages = parts[-1][1]["messages"]
    assert [message.type for message in messages] == ["human", "ai", "tool", "ai"]
    assert messages[2].content == "Hello world"


def test_the_config_chooses_the_session_of_the_tool(stage: Stage) -> None:
    session = stage.client.create(index_ids=["idx-docs"]).session_id
    caller = _Caller(messages=iter([_call("one"), AIMessage("done"), _call("two"), AIMessage("done")]))
    agent: Any = create_agent(caller, tools=[stage.play(*TEXT).model().as_tool()])
    for _ in range(2):
        agent.invoke({"messages": [("user", "q")]}, {"configurable": {"session_id": session}})
    assert stage.actor.sessions == [session, session]


@pytest.mark.parametrize(
    ("handled", "says"),
    [(True, "the index burned"), ("Ask again.", "Ask again."), (lambda error: "no luck", "no luck")],
)
async def test_the_agent_gets_the_error_of_a_tool_that_handles_its_errors(
    stage: Stage, handled: Any, says: str
) -> None:
    made = stage.play(FAILED).model().as_tool()
    made.handle_tool_error = handled
    call = {"type": "tool_call", "name": made.name, "args": {"question": "q"}, "id": "t1"}
    for message in (made.invoke(call), await made.ainvoke(call)):
        assert says in message.content
        assert message.status == "error"


async def test_a_tool_that_does_not_handle_its_errors_raises_them(stage: Stage) -> None:
    made = stage.play(FAILED).model().as_tool()
    with pytest.raises(TurnFailed, match="the index burned"):
        made.invoke({"question": "q"})
    with pytest.raises(TurnFailed, match="the index burned"):
        await made.ainvoke({"question": "q"})


async def test_a_tool_that_is_tried_again_sends_its_question_once(stage: Stage) -> None:
    for is_async in (False, True):
        stage.actor.prompts.clear()
        caller = _Caller(messages=iter([_call("one"), AIMessage("sorry"), _call("one"), AIMessage("done")]))
        retry = ToolRetryMiddleware(initial_delay=0, jitter=False)
        made = stage.play(FAILED).model().as_tool()
        agent: Any = create_agent(caller, tools=[made], middleware=[retry], checkpointer=InMemorySaver())
        config: Any = {"configurable": {"thread_id": "ada"}}
        given: Any = {"messages": [("user", "q")]}
        state = await agent.ainvoke(given, config) if is_async else agent.invoke(given, config)
        assert "the index burned" in state["messages"][2].content
        assert stage.actor.prompts == ["one"]
