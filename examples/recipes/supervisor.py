"""A supervisor that hands questions about your documents to a hosted session, and answers the others itself.

Run it with `MODEL=openai:gpt-5-mini python -m examples.recipes.supervisor`, or any other model of `init_chat_model`.
"""

from __future__ import annotations

import os
from typing import Any

from langchain.agents import create_agent
from langchain.chat_models import init_chat_model
from langchain_core.language_models import BaseChatModel
from langgraph.checkpoint.memory import InMemorySaver
from langgraph_supervisor import create_supervisor

from chat_sessions.langchain import SessionChatModel


def build(boss: BaseChatModel) -> Any:
    model = SessionChatModel(
        index_ids=[os.environ.get("LLAMA_CLOUD_INDEX_ID", "idx-docs")],
        # The session goes on from hand-off to hand-off, and knows nothing of what the supervisor answers itself.
        session_from_messages=True,
        on_prior_messages="ignore",
    )
    documents = create_agent(model, tools=[], name="documents")
    prompt = "Hand questions about the company's documents to `documents`, and answer all others yourself."
    return create_supervisor([documents], model=boss, prompt=prompt).compile(checkpointer=InMemorySaver())


if __name__ == "__main__":
    graph = build(init_chat_model(os.environ["MODEL"]))
    thread = {"configurable": {"thread_id": "ada"}}
    for question in ("How long is the warranty?", "And for refurbished instruments?"):
        print(graph.invoke({"messages": [("user", question)]}, thread)["messages"][-1].text)
