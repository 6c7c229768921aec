"""A hosted session in a LangChain chain: tokens as they come, then the sources and the cost of an answer.

It runs against LlamaCloud if LLAMA_CLOUD_API_KEY and LLAMA_CLOUD_INDEX_ID are set, and otherwise on this machine,
over the documents beside it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate

from chat_sessions import LlamaCloudChat, LocalServer
from chat_sessions.langchain import SessionChatModel, source_documents


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
        model = SessionChatModel(client=chat)
        prompt = ChatPromptTemplate.from_template("What was the {figure} in the third quarter of 2025?")
        for token in (prompt | model | StrOutputParser()).stream({"figure": "revenue"}):
            print(token, end="", flush=True)
        print("\n")

        answer = model.invoke("How long is the warranty?")
        print(answer.text)
        for document in source_documents(answer):
            print("source:", document.metadata.get("file_name"), "page", document.metadata.get("page"))
        print("usage:", answer.usage_metadata)
        print("session:", answer.response_metadata["session_id"])


if __name__ == "__main__":
    main()
