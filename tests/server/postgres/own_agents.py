"""Agents of the frameworks, as a user's module has them: `serve --agent tests.server.postgres.own_agents:flow`.

Each says in a thought which process it runs in, then how many messages it was given beside the prompt. A prompt that
names a file waits for it between the two words of its answer, and leaves another beside it when it is left.
"""

from __future__ import annotations

import asyncio
import os
import warnings
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.base.llms.types import ChatMessage, ChatResponse, ChatResponseAsyncGen
from llama_index.core.llms.mock import MockFunctionCallingLLM
from llama_index.core.tools import BaseTool

LEFT = ".left"


async def pieces(prompt: str, earlier: int) -> AsyncIterator[tuple[str, str]]:
    yield "thought", f"process {os.getpid()}"
    yield "said", "after "
    go = Path(prompt)
    try:
        # Another process makes it, so that there is nothing to be woken by.
        while go.is_absolute() and not go.exists():  # noqa: ASYNC110, ASYNC240
            await asyncio.sleep(0.01)
    finally:
        if go.is_absolute():
            Path(f"{prompt}{LEFT}").touch()  # noqa: ASYNC240
    yield "said", str(earlier)


class FlowModel(MockFunctionCallingLLM):
    async def astream_chat_with_tools(  # type: ignore[override]
        self, tools: Sequence[BaseTool], chat_history: list[ChatMessage] | None = None, **_: Any
    ) -> ChatResponseAsyncGen:
        messages = list(chat_history or ())

        async def answer() -> ChatResponseAsyncGen:
            text = ""
            async for kind, piece in pieces(messages[-1].content or "", len(messages) - 1):
                is_thought = kind == "thought"
                text += "" if is_thought else piece
                yield ChatResponse(
                    message=ChatMessage(role="assistant", content=text),
                    delta="" if is_thought else piece,
                    additional_kwargs={"thinking_delta": piece} if is_thought else {},
                )

        return answer()


class GraphModel(BaseChatModel):
    @property
    def _llm_type(self) -> str:
        return "own"

    def _generate(self, *_: Any, **__: Any) -> ChatResult:
        raise NotImplementedError

    async def _astream(self, messages: list[BaseMessage], *_: Any, **__: Any) -> AsyncIterator[ChatGenerationChunk]:
        async for kind, piece in pieces(messages[-1].text, len(messages) - 1):
            block: dict[str, Any] = (
                {"type": "reasoning", "reasoning": piece, "index": 0}
                if kind == "thought"
                else {"type": "text", "text": piece, "index": 1}
            )
            yield ChatGenerationChunk(message=AIMessageChunk(content=[block]))


with warnings.catch_warnings():
    # LlamaIndex's workflows look at every attribute of an agent, pydantic's old ones too.
    warnings.simplefilter("ignore")
    flow = FunctionAgent(tools=[], llm=FlowModel())
graph: Any = create_agent(GraphModel(), [])
