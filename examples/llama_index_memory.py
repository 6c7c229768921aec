"""Sessions as LlamaIndex memory: list them, keep one, go on in it."""

from __future__ import annotations

import json
from pathlib import Path

from chat_sessions import LocalServer
from chat_sessions.llama_index import SessionChatEngine, SessionMemory

DOCUMENTS = Path(__file__).with_name("documents")


def main() -> None:
    with LocalServer(indexes={"idx-docs": DOCUMENTS}) as server, server.client() as chat:
        for question in ("What is the RG-4?", "How many days of holiday do employees have?"):
            SessionChatEngine(client=chat).chat(question)

        memories = list(SessionMemory.list(chat))
        for memory in memories:
            print(memory.session_id, memory.generated_title)

        # What is stored holds no key; the client is given again.
        stored = json.dumps(memories[0].to_dict())
        memory = SessionMemory.from_dict(json.loads(stored), client=chat)
        engine = SessionChatEngine.from_session(memory.session)
        engine.chat("How long is the warranty?")
        for message in memory.get():
            print(f"{message.role.value:>9}: {' '.join((message.content or '(tool calls)').split())[:80]}")


if __name__ == "__main__":
    main()
