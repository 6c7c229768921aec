"""deepagents: the session as a tool, and as a subagent."""

from __future__ import annotations

from deepagents import CompiledSubAgent, create_deep_agent
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, ToolMessage

from chat_sessions.langchain import SessionChatModel
from tests.consumers.graphs.scripted import call, scripted
from tests.consumers.service import ANSWER, PASSAGE, Service

QUESTION = "How was Q3?"


def _results(messages: list[object]) -> list[ToolMessage]:
    return [message for message in messages if isinstance(message, ToolMessage)]


def test_a_deep_agent_reads_the_answer_and_the_passages_of_its_tool(service: Service) -> None:
    model = SessionChatModel(client=service.client())
    tool = model.as_tool(name="reports", description="Answers questions about the reports.")
    boss = scripted(call("reports", question=QUESTION), AIMessage("4 percent."))
    messages = create_deep_agent(model=boss, tools=[tool]).invoke({"messages": [("user", "Report on Q3.")]})["messages"]
    (result,) = _results(messages)
    assert (result.name, result.content, result.status) == ("reports", ANSWER, "success")
    assert [(document.page_content, document.metadata["file_name"]) for document in result.artifact] == [
        (PASSAGE, "report.md")
    ]
    assert service.prompts == [QUESTION]
    assert messages[-1].text == "4 percent."


def test_a_deep_agent_gets_the_answer_of_its_subagent(service: Service) -> None:
    runnable = create_agent(SessionChatModel(client=service.client()), tools=[])
    reports = CompiledSubAgent(name="reports", description="Answers questions about the reports.", runnable=runnable)
    boss = scripted(call("task", description=QUESTION, subagent_type="reports"), AIMessage("4 percent."))
    agent = create_deep_agent(model=boss, subagents=[reports])
    messages = agent.invoke({"messages": [("user", "Report on Q3.")]})["messages"]
    (result,) = _results(messages)
    assert (result.name, result.text) == ("task", ANSWER)
    assert service.prompts == [QUESTION]
