"""An agent of your own that is served as sessions: a graph of LangGraph.

Serve it with `chat-sessions serve docs/ --agent examples.own_graph:graph`.
"""

from __future__ import annotations

from langchain_core.messages import AIMessage
from langgraph.graph import START, MessagesState, StateGraph

HOURS = {"monday": "8:00 to 18:00", "saturday": "closed"}


def answer(state: MessagesState) -> dict[str, list[AIMessage]]:
    """Look a day up; in your agent, this is where a model thinks."""
    question = state["messages"][-1].text.lower()
    found = [f"{day.title()}: {hours}" for day, hours in HOURS.items() if day in question]
    return {"messages": [AIMessage("\n".join(found) or "Which day?")]}


builder = StateGraph(MessagesState)
builder.add_node("answer", answer)
builder.add_edge(START, "answer")
graph = builder.compile()
