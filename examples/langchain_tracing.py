"""What a handler sees of a hosted agent: each of its tools is a run below the model's run."""

from __future__ import annotations

import asyncio
from pathlib import Path

from chat_sessions import LocalServer
from chat_sessions.langchain import SessionChatModel

DOCUMENTS = Path(__file__).with_name("documents")


async def main() -> None:
    with LocalServer(indexes={"idx-docs": DOCUMENTS}) as server, server.client() as chat:
        model = SessionChatModel(client=chat)
        events = model.astream_events("How long is the warranty?", version="v2")
        async for event in events:
            depth = "  " * len(event["parent_ids"])
            if event["event"] in ("on_chat_model_start", "on_chat_model_end", "on_tool_end"):
                print(f"{depth}{event['event']} {event['name']}")
            elif event["event"] == "on_tool_start":
                print(f"{depth}{event['event']} {event['name']} {event['data']['input']}")
        await chat.aio.close()


if __name__ == "__main__":
    asyncio.run(main())
