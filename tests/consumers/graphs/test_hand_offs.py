"""langgraph-supervisor and langgraph-swarm, put together as their READMEs do."""

from __future__ import annotations

from typing import Any

from langchain.agents import create_agent
from langchain_core.messages import AIMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph_supervisor import create_supervisor
from langgraph_swarm import create_handoff_tool, create_swarm

from chat_sessions.langchain import SessionChatModel
from tests.consumers.graphs.scripted import call, scripted
from tests.consumers.service import ANSWER, QUERY, Service

ADA: Any = {"configurable": {"thread_id": "ada"}}
FIRST, SECOND = "How was Q3?", "And Q4?"


def _documents(service: Service) -> Any:
    model = SessionChatModel(client=service.client(), session_from_messages=True)
    return create_agent(model, tools=[], name="documents")


def test_a_supervisor_gets_the_answer_of_the_session_that_it_hands_the_question_to(service: Service) -> None:
    boss = scripted(call("transfer_to_documents"), AIMessage("4 percent, they say."))
    graph = create_supervisor([_documents(service)], model=boss).compile()
    messages = graph.invoke({"messages": FIRST})["messages"]
    assert service.prompts == [FIRST]
    (answer,) = [message for message in messages if message.name == "documents" and "percent" in message.text]
    assert answer.text == ANSWER
    assert answer.response_metadata["session_id"] == service.session_id
    assert answer.usage_metadata["input_tokens"] == 120
    assert any(message.id == answer.id for message in boss.seen[-1])
    assert messages[-1].text == "4 percent, they say."


def test_each_question_of_a_supervised_conversation_is_sent_once_and_to_one_session(service: Service) -> None:
    turns = [call("transfer_to_documents"), AIMessage("one"), call("transfer_to_documents"), AIMessage("two")]
    graph = create_supervisor([_documents(service)], model=scripted(*turns)).compile(checkpointer=InMemorySaver())
    for question in (FIRST, SECOND):
        graph.invoke({"messages": question}, ADA)
    assert service.prompts == [FIRST, SECOND]
    assert service.session_id


def test_a_swarm_stays_with_the_session_that_it_was_handed_to(service: Service) -> None:
    hand_over = create_handoff_tool(agent_name="documents")
    front = create_agent(scripted(call("transfer_to_documents")), tools=[hand_over], name="front")
    swarm = create_swarm([front, _documents(service)], default_active_agent="front").compile(
        checkpointer=InMemorySaver()
    )
    for question in (FIRST, SECOND):
        answer = swarm.invoke({"messages": question}, ADA)["messages"][-1]
        assert (answer.name, answer.text) == ("documents", ANSWER)
    assert service.prompts == [FIRST, SECOND]
    assert service.session_id == answer.response_metadata["session_id"]


def test_a_swarm_streams_the_words_and_the_tool_of_the_session(service: Service) -> None:
    documents = _documents(service)
    swarm = create_swarm([documents], default_active_agent="documents").compile()
    words, tools = "", []
    for _, mode, part in swarm.stream({"messages": FIRST}, stream_mode=["messages", "tools"], subgraphs=True):
        if mode == "messages":
            words += part[0].text
        else:
            tools.append(part)
    assert words == ANSWER
    assert [(part["event"], part["tool_call_id"]) for part in tools] == [
        ("tool-started", "call-1"),
        ("tool-finished", "call-1"),
    ]
    assert (tools[0]["tool_name"], tools[0]["input"]) == ("search", {"query": QUERY})
