"""A model that calls tools, as the agents around a session have one; it says what it is told to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult

__all__ = ["Scripted", "call", "scripted"]


class Scripted(BaseChatModel):
    """Gives its messages one after the other, and keeps what it was given."""

    script: Iterator[AIMessage]
    seen: list[list[BaseMessage]] = []  # noqa: RUF012 - a field, which pydantic copies

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Any:
        return self

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        self.seen.append(messages)
        return ChatResult(generations=[ChatGeneration(message=next(self.script))])


def scripted(*messages: AIMessage) -> Scripted:
    """A model that says these."""
    return Scripted(script=iter(messages))


def call(name: str, **arguments: Any) -> AIMessage:
    """A message that calls this tool."""
    return AIMessage("", tool_calls=[{"name": name, "args": arguments, "id": f"call-{name}"}])
