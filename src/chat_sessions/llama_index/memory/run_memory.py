"""The messages of the runs of one workflow context."""

from __future__ import annotations

from typing import Any, TypeAlias

from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.bridge.pydantic import Field
from llama_index.core.memory import BaseMemory

__all__ = ["RunMemory"]

Messages: TypeAlias = list[ChatMessage]


class RunMemory(BaseMemory):
    """A plain list of messages, which a stored `Context` keeps.

    The default memory of workflow agents counts tokens to fit a model's window, and some versions of pydantic cannot
    store it. The hosted agent has its own memory and needs neither.
    """

    messages: Messages = Field(default_factory=Messages, description="The messages, oldest first.")

    @classmethod
    def class_name(cls) -> str:
        """The name under which it is serialised."""
        return "RunMemory"

    @classmethod
    def from_defaults(cls, **kwargs: Any) -> RunMemory:
        """An empty memory."""
        return cls(**kwargs)

    def get(self, input: str | None = None, **kwargs: Any) -> Messages:  # noqa: ARG002 - the base class's signature
        """All messages."""
        return list(self.messages)

    def get_all(self) -> Messages:
        """All messages."""
        return list(self.messages)

    def put(self, message: ChatMessage) -> None:
        """Add a message."""
        self.messages.append(message)

    def set(self, messages: Messages) -> None:
        """Replace all messages."""
        self.messages = list(messages)

    def reset(self) -> None:
        """Remove all messages."""
        self.messages = []
