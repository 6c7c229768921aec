"""What `LlamaCloudIndex(...).as_chat_engine(llm=llm)` did, with retrieval, model and conversation on the service.

Run it with `python -m examples.recipes.from_llama_cloud_index`.
"""

from __future__ import annotations

import os

from chat_sessions.llama_index import SessionChatEngine


def main() -> None:
    # The id of an index in the place of its name.
    engine = SessionChatEngine(index_ids=[os.environ.get("LLAMA_CLOUD_INDEX_ID", "idx-docs")])
    response = engine.chat("What was the revenue in the third quarter of 2025?")
    print(response)
    for node in response.source_nodes:
        print(node.metadata["file_name"], node.metadata["page"], node.score)
    # In the place of `memory=` and `chat_history=`.
    later = SessionChatEngine(session_id=engine.session_id)
    print(later.chat("And in the second?"))


if __name__ == "__main__":
    main()
