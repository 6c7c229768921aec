"""Sessions as memory: what the service says of each, its messages, and going on with one."""

from __future__ import annotations

from pathlib import Path

from chat_sessions import LocalServer
from chat_sessions.langchain import SessionChatModel, SessionLoader

DOCUMENTS = Path(__file__).with_name("documents")


def main() -> None:
    with LocalServer(indexes={"idx-docs": DOCUMENTS}) as server, server.client() as chat:
        SessionChatModel(client=chat).invoke("What is the RG-4?")

        for memory in SessionLoader(client=chat).memories():
            print(f"{memory.title} ({memory.last_updated_at:%Y-%m-%d})")
            memory.as_model().invoke("How long is the warranty?")
            for message in memory.messages():
                print(f"{message.type}: {message.text}")


if __name__ == "__main__":
    main()
