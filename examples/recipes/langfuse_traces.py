"""A turn as a trace in Langfuse: a generation, its tools, and what they retrieved.

Set LANGFUSE_PUBLIC_KEY, LANGFUSE_SECRET_KEY and LANGFUSE_BASE_URL, then run
`python -m examples.recipes.langfuse_traces`.
"""

from __future__ import annotations

import os

from langfuse import Langfuse
from langfuse.langchain import CallbackHandler

from chat_sessions.langchain import SessionChatModel


def main() -> None:
    langfuse = Langfuse()
    model = SessionChatModel(index_ids=[os.environ.get("LLAMA_CLOUD_INDEX_ID", "idx-docs")])
    print(model.invoke("How long is the warranty?", {"callbacks": [CallbackHandler()]}).text)
    langfuse.flush()
    langfuse.shutdown()


if __name__ == "__main__":
    main()
