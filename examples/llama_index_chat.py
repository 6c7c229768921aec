"""A hosted session as a LlamaIndex chat engine: an answer as it comes, its sources, and what it cost.

It runs against LlamaCloud if LLAMA_CLOUD_API_KEY and LLAMA_CLOUD_INDEX_ID are set, and otherwise on this machine,
over the documents beside it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from chat_sessions import LlamaCloudChat, LocalServer
from chat_sessions.llama_index import SessionChatEngine


@contextmanager
def service() -> Iterator[LlamaCloudChat]:
    """A client of LlamaCloud, or of a server on this machine."""
    if os.environ.get("LLAMA_CLOUD_API_KEY") and (index_id := os.environ.get("LLAMA_CLOUD_INDEX_ID")):
        with LlamaCloudChat(index_ids=[index_id]) as chat:
            yield chat
    else:
        documents = Path(__file__).with_name("documents")
        with LocalServer(indexes={"idx-docs": documents}) as server, server.client() as chat:
            yield chat


def main() -> None:
    with service() as chat:
        engine = SessionChatEngine(client=chat)
        with engine.stream_chat("What was the revenue in the third quarter of 2025?") as response:
            for token in response.response_gen:
                print(token, end="", flush=True)
        print("\n")

        for output in response.sources:
            print("tool:", output.tool_name, output.raw_input)
        for node in response.source_nodes:
            print("source:", node.metadata["file_name"], "page", node.metadata["page"], "score", node.score)
        print("usage:", response.metadata["usage"])

        print("\nAnd in a second turn of the same session:")
        print(engine.chat("How long is the warranty?"))
        print(f"\n{len(engine.chat_history)} messages in session {engine.session_id}")


if __name__ == "__main__":
    main()
