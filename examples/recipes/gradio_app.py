"""A Gradio page over hosted sessions, one for each browser's tab.

Run it with `python examples/recipes/gradio_app.py`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import gradio

from chat_sessions import LlamaCloudChat
from chat_sessions.llama_index import SessionChatEngine

chat = LlamaCloudChat(index_ids=[os.environ.get("LLAMA_CLOUD_INDEX_ID", "idx-docs")])


def answer(question: str, _history: list[Any], session_id: str | None) -> Iterator[tuple[str, str | None]]:
    engine = SessionChatEngine(client=chat, session_id=session_id)
    words = ""
    with engine.stream_chat(question) as response:
        for token in response.response_gen:
            words += token
            yield words, engine.session_id


with gradio.Blocks() as page:
    # Gradio keeps a copy of this for each tab.
    session_id = gradio.State(None)
    gradio.ChatInterface(answer, additional_inputs=[session_id], additional_outputs=[session_id], api_name="chat")

if __name__ == "__main__":
    page.launch()
