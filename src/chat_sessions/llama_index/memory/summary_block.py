"""The other sessions, as a block of LlamaIndex's `Memory`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.bridge.pydantic import Field, PrivateAttr
from llama_index.core.memory import BaseMemoryBlock
from llama_index.core.utils import get_tokenizer  # pyright: ignore[reportUnknownVariableType] - gives lists of anything

from chat_sessions.core.arguments import checked_fields
from chat_sessions.core.models import SessionSummary
from chat_sessions.llama_index.arguments import client_or_default
from chat_sessions.session.backend import Backend

__all__ = ["SessionSummaryBlock"]


class SessionSummaryBlock(BaseMemoryBlock[str]):
    """Tells a model which sessions exist: one line each, with date, title and id.

    The sessions come in the service's order, at most `limit` of them, read again at each call. A session without a
    title is listed by its id. What `Memory` flushes from its queue is ignored, because the service's history grows by
    turns only. If the memory is too long, the last lines are dropped first; `priority` 0 keeps them all.

    A dump holds the settings, but never the client or its key. Without a client, one is made from the environment at
    first use.
    """

    name: str = Field(default="chat_sessions", description="The block's name in the prompt.")
    priority: int = Field(default=1, description="0 is never truncated; of the others, the lowest is truncated first.")
    accept_short_term_memory: bool = Field(default=False, description="Whether flushed messages are put here.")
    limit: int = Field(default=10, ge=1, description="How many sessions are listed.")

    _client: Backend | None = PrivateAttr(default=None)

    def __init__(self, *, client: Backend | None = None, **data: Any) -> None:
        with checked_fields("SessionSummaryBlock"):
            super().__init__(**data)
        self._client = client

    async def _aget(self, messages: list[ChatMessage] | None = None, **block_kwargs: Any) -> str:  # noqa: ARG002 - the base class's signature
        self._client = client_or_default(self._client)
        lines: list[str] = []
        async for summary in self._client.aio.list(page_size=min(self.limit, 100)):
            lines.append(_line(summary))
            if len(lines) == self.limit:
                break
        return "\n".join(lines)

    async def _aput(self, messages: list[ChatMessage]) -> None:
        """Keep nothing: see the class."""

    async def atruncate(self, content: str, tokens_to_truncate: int) -> str | None:
        """Drop lines from the end until the content is this many tokens shorter; return None if nothing is left."""
        lines = content.splitlines() if content else []
        wanted = _count_tokens(lines) - tokens_to_truncate
        while lines and _count_tokens(lines) > wanted:
            lines.pop()
        return "\n".join(lines) or None


def _count_tokens(lines: list[str]) -> int:
    tokenize = cast("Callable[[str], Sequence[object]]", get_tokenizer())
    return len(tokenize("\n".join(lines)))


def _line(summary: SessionSummary) -> str:
    title = " ".join((summary.generated_title or "untitled").split())
    return f"{summary.last_updated_at:%Y-%m-%d} {title} ({summary.session_id})"
