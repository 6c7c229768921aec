"""What is said within the runs of one workflow context."""

from __future__ import annotations

from typing import Any, TypeAlias

from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.bridge.pydantic import Field
from llama_index.core.memory import BaseMemory

__all__ = ["RunMemory"]

Messages: TypeAlias = list[ChatMessage]


class RunMemory(BaseMemory):
    """A plain list of messages, which a stored `Context` keeps.

    The default memory of workflow agents counts tokens to fit a model's window, and cannot be stored
    with every version of pydantic. The hosted agent remembers by itself and needs neither.
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

    async def aget(self, input: str | None = None, **kwargs: Any) -> Messages:  # noqa: ARG002 - as above
        """All messages."""
        return list(self.messages)

    def get_all(self) -> Messages:
        """All messages."""
        return list(self.messages)

    async def aget_all(self) -> Messages:
        """All messages."""
        return list(self.messages)

    def put(self, message: ChatMessage) -> None:
        """Add a message."""
        self.messages.append(message)

    async def aput(self, message: ChatMessage) -> None:
        """Add a message."""
        self.messages.append(message)

    async def aput_messages(self, messages: Messages) -> None:
        """Add messages."""
        self.messages.extend(messages)

    def set(self, messages: Messages) -> None:
        """Replace all messages."""
        self.messages = list(messages)

    async def aset(self, messages: Messages) -> None:
        """Replace all messages."""
        self.set(messages)

    def reset(self) -> None:
        """Remove all messages."""
        self.messages = []

    async def areset(self) -> None:
        """Remove all messages."""
        self.reset()
