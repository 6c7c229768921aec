"""A local agent that greets and hands over to the hosted one, in an AgentWorkflow of LlamaIndex."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from llama_index.core.agent.workflow import AgentOutput, AgentWorkflow, FunctionAgent
from llama_index.core.base.llms.types import ChatMessage, ChatResponse, ChatResponseAsyncGen, ToolCallBlock
from llama_index.core.llms.mock import MockFunctionCallingLLM

from chat_sessions import LocalServer
from chat_sessions.llama_index import SessionAgent

DOCUMENTS = Path(__file__).with_name("documents")


class HandsOver(MockFunctionCallingLLM):
    """Stands in for your model, such as `OpenAI("gpt-5")`, so that this runs without a key."""

    async def astream_chat_with_tools(self, *_: Any, **__: Any) -> ChatResponseAsyncGen:
        async def call() -> ChatResponseAsyncGen:
            arguments = {"to_agent": "reports", "reason": "It is about the documents."}
            block = ToolCallBlock(tool_call_id="call-1", tool_name="handoff", tool_kwargs=arguments)
            yield ChatResponse(message=ChatMessage(role="assistant", blocks=[block]), delta="")

        return call()


async def main() -> None:
    with LocalServer(indexes={"idx-docs": DOCUMENTS}) as server, server.client() as chat:
        reports = SessionAgent(client=chat, name="reports", description="Answers from the company's documents.")
        front = FunctionAgent(name="front", description="Greets.", llm=HandsOver(), can_handoff_to=["reports"])
        team = AgentWorkflow(agents=[front, reports], root_agent="front")
        output: object = await team.run(user_msg="How long is the warranty?")
        assert isinstance(output, AgentOutput)
        print(f"{output.current_agent_name}: {output}")
        await chat.aio.close()


if __name__ == "__main__":
    asyncio.run(main())
