"""A hosted session behind AG-UI, through LangGraph: for CopilotKit and every other client of the protocol.

Run it with `uvicorn examples.recipes.ag_ui_langchain:app`.
"""

from __future__ import annotations

import os

from ag_ui_langgraph import LangGraphAgent, add_langgraph_fastapi_endpoint
from fastapi import FastAPI
from langchain.agents import create_agent
from langgraph.checkpoint.memory import InMemorySaver

from chat_sessions.langchain import SessionChatModel

model = SessionChatModel(index_ids=[os.environ.get("LLAMA_CLOUD_INDEX_ID", "idx-docs")], session_from_messages=True)
graph = create_agent(model, tools=[], checkpointer=InMemorySaver())

app = FastAPI()
add_langgraph_fastapi_endpoint(app, LangGraphAgent(name="documents", graph=graph), "/")
