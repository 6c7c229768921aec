"""The hosted agent as a LlamaIndex workflow: its tools, its words and its result, as events."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from llama_index.core.agent.workflow import AgentOutput, AgentStream, ToolCall, ToolCallResult
from llama_index.core.workflow import Context

from chat_sessions import LocalServer
from chat_sessions.llama_index import SessionAgent

DOCUMENTS = Path(__file__).with_name("documents")
QUESTIONS = ("What was the revenue in 2025?", "How long is the warranty?")


async def main() -> None:
    with LocalServer(indexes={"idx-docs": DOCUMENTS}) as server, server.client() as chat:
        # It may also be one of several in an AgentWorkflow, which hand over to it.
        agent = SessionAgent(client=chat, name="reports", description="Answers from the annual reports.")
        # The conversation: it holds the id of the session, so both questions are turns of one.
        conversation: Context[Any] = Context(agent)
        for question in QUESTIONS:
            print("you:", question)
            handler = agent.run(user_msg=question, ctx=conversation)
            async for event in handler.stream_events():
                if isinstance(event, ToolCallResult):
                    print(f"[{event.tool_name} answered]")
                elif isinstance(event, ToolCall):
                    print(f"[{event.tool_name} {event.tool_kwargs}]")
                elif isinstance(event, AgentStream):
                    print(event.delta, end="", flush=True)
            output: object = await handler
            assert isinstance(output, AgentOutput)
            print("\nusage:", output.raw["usage"] if output.raw else None, "\n")
        await chat.aio.close()


if __name__ == "__main__":
    asyncio.run(main())
