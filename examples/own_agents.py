"""Agents of your own that are served as sessions: a workflow of LlamaIndex and a graph of LangGraph.

Serve one with `chat-sessions serve docs/ --agent examples.own_agents:workflow`.
"""

from __future__ import annotations

from langchain_core.messages import AIMessage
from langgraph.graph import START, MessagesState, StateGraph
from llama_index.core.workflow import StartEvent, StopEvent, Workflow, step

HOURS = {"monday": "8:00 to 18:00", "saturday": "closed"}


def opening_hours(question: str) -> str:
    """Look a day up; in your agent, this is where a model thinks."""
    found = [f"{day.title()}: {hours}" for day, hours in HOURS.items() if day in question.lower()]
    return "\n".join(found) or "Which day?"


class OpeningHours(Workflow):
    """Answers about opening hours."""

    @step
    async def answer(self, start: StartEvent) -> StopEvent:
        return StopEvent(result=opening_hours(start.user_msg))


def answer(state: MessagesState) -> dict[str, list[AIMessage]]:
    return {"messages": [AIMessage(opening_hours(state["messages"][-1].text))]}


builder = StateGraph(MessagesState)
builder.add_node("answer", answer)
builder.add_edge(START, "answer")

workflow = OpeningHours()
graph = builder.compile()
