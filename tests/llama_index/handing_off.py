"""A model that hands every question to the agent "reports"."""

from __future__ import annotations

from typing import Any

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, ChatResponseAsyncGen, LLMMetadata, MessageRole
from llama_index.core.llms import MockLLM
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import ToolSelection


class HandsOff(MockLLM, FunctionCallingLLM):
    """Calls the `handoff` tool, or another one, whatever it is asked."""

    calls: str = "handoff"

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(is_function_calling_model=True)

    def _prepare_chat_with_tools(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return {"messages": kwargs.get("chat_history") or []}

    async def astream_chat_with_tools(self, *args: Any, **kwargs: Any) -> ChatResponseAsyncGen:
        async def responses() -> ChatResponseAsyncGen:
            yield ChatResponse(message=ChatMessage(role=MessageRole.ASSISTANT, content=""), delta="")

        return responses()

    def get_tool_calls_from_response(
        self, response: ChatResponse, error_on_no_tool_call: bool = True, **kwargs: Any
    ) -> list[ToolSelection]:
        reason = {"to_agent": "reports", "reason": "It is about reports."}
        return [
            ToolSelection(tool_id="h1", tool_name=self.calls, tool_kwargs=reason if self.calls == "handoff" else {})
        ]
