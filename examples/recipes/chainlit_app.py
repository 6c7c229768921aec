"""A Chainlit page over hosted sessions: one session for each chat, tokens as they come, sources below the answer.

Run it with `chainlit run examples/recipes/chainlit_app.py`.
"""

from __future__ import annotations

import os

import chainlit as cl

from chat_sessions import LlamaCloudChat, TurnError
from chat_sessions.llama_index import SessionChatEngine

chat = LlamaCloudChat(index_ids=[os.environ.get("LLAMA_CLOUD_INDEX_ID", "idx-docs")])


@cl.on_chat_start
async def start() -> None:
    # The session is created by the first question.
    cl.user_session.set("engine", SessionChatEngine(client=chat))


@cl.on_message
async def answer(question: cl.Message) -> None:
    engine = cl.user_session.get("engine")
    message = cl.Message(content="")
    try:
        async with await engine.astream_chat(question.content) as response:
            async for token in response.async_response_gen():
                await message.stream_token(token)
        files = sorted({node.metadata["file_name"] for node in response.source_nodes})
        message.elements = [cl.Text(name=name, content=name) for name in files]
    except TurnError as error:
        await message.stream_token(f"\n\nThis answer is not complete: {type(error).__name__}")
    await message.send()
