"""A deep agent that has a hosted session as a tool: it plans, asks your documents, and writes.

Run it with `MODEL=openai:gpt-5-mini python -m examples.recipes.deep_agent`, or any other model of `init_chat_model`.
"""

from __future__ import annotations

import os
from typing import Any

from deepagents import create_deep_agent
from langchain.chat_models import init_chat_model
from langchain_core.language_models import BaseChatModel

from chat_sessions.langchain import SessionChatModel


def build(boss: BaseChatModel) -> Any:
    model = SessionChatModel(index_ids=[os.environ.get("LLAMA_CLOUD_INDEX_ID", "idx-docs")])
    # The answer goes to the agent; the passages behind it are the tool message's artifact.
    ask = model.as_tool(name="ask_documents", description="Answers questions about the company's documents.")
    return create_deep_agent(model=boss, tools=[ask])


if __name__ == "__main__":
    agent = build(init_chat_model(os.environ["MODEL"]))
    question = "Compare the warranty of new and of refurbished instruments."
    print(agent.invoke({"messages": [("user", question)]})["messages"][-1].text)
