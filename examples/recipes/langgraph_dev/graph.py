"""A graph for `langgraph dev`: each thread has a hosted session.

Run `langgraph dev` in the folder of this file.
"""

from __future__ import annotations

import os
from typing import NotRequired

from langgraph.graph import START, MessagesState, StateGraph

from chat_sessions.langchain import SessionChatModel, session_node


class State(MessagesState):
    session_id: NotRequired[str]


model = SessionChatModel(index_ids=[os.environ.get("LLAMA_CLOUD_INDEX_ID", "idx-docs")])
builder = StateGraph(State)
builder.add_node("ask", session_node(model))
builder.add_edge(START, "ask")
graph = builder.compile()
