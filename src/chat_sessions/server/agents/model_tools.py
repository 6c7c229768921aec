"""The tools that a model can call: search again in its own words, and read a whole page."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

from chat_sessions.core.events import Event, ToolCall, ToolResult
from chat_sessions.server.agents.retrieval import (
    Retrieved,
    citation,
    read_page,
    retrieve,
    retrieve_call,
    retrieve_result,
)
from chat_sessions.server.documents.indexes import Hit
from chat_sessions.server.turns.agent import AgentTurn

if TYPE_CHECKING:
    from llama_index.core.llms.llm import ToolSelection
    from llama_index.core.tools import BaseTool

__all__ = ["Desk", "tools"]

_UNKNOWN = "there is no such tool; use retrieve or read"


def tools() -> list[BaseTool]:
    """Return the descriptions of the tools for the model. `Desk.use` runs them."""
    from llama_index.core.tools import FunctionTool

    def retrieve(query: str) -> str:  # pyright: ignore[reportUnusedParameter]
        """Search the files again, by other words than those of the question. Returns numbered passages."""
        raise NotImplementedError

    def read(passage: int) -> str:  # pyright: ignore[reportUnusedParameter]
        """Read the whole page of a numbered passage."""
        raise NotImplementedError

    made = cast("Callable[..., BaseTool]", FunctionTool.from_defaults)
    return [made(retrieve), made(read)]


class Desk:
    """The numbered passages that a model has seen in one turn, and the use of its tools."""

    def __init__(self, turn: AgentTurn, found: Retrieved, limit: int) -> None:
        self._turn = turn
        self._limit = limit
        self._hits: list[Hit] = []
        self.places: list[str] = []
        """Where each passage is, as `citation` writes it."""
        self.shown = self._numbered(found.hits)
        """The passages as the model reads them."""

    async def use(self, call_id: str, wanted: ToolSelection) -> tuple[list[Event], str]:
        """Run a tool. Returns the events of its call and result, and the text for the model."""
        given: dict[str, Any] = cast("Any", wanted).tool_kwargs or {}
        if wanted.tool_name == "retrieve":
            query = str(given.get("query", ""))[:1000]
            call = retrieve_call(call_id, self._turn.indexes, query, self._limit)
            found = await asyncio.to_thread(retrieve, self._turn.indexes, query, "", self._limit)
            return [call, retrieve_result(call, found)], self._numbered(found.hits) or "(nothing was found)"
        if wanted.tool_name == "read":
            return await self._read(call_id, str(given.get("passage", "")).strip("[] "))
        arguments = {str(name): str(value) for name, value in given.items()}
        call = ToolCall(call_id=call_id, name=wanted.tool_name, arguments=dict(arguments))
        return [call, ToolResult(call_id=call_id, name=call.name, result={"error": _UNKNOWN})], _UNKNOWN

    async def _read(self, call_id: str, number: str) -> tuple[list[Event], str]:
        if not number.isdecimal() or not 0 < int(number) <= len(self._hits):
            said = f"there is no passage {number}"
            call = ToolCall(call_id=call_id, name="read", arguments={"passage": number})
            return [call, ToolResult(call_id=call_id, name="read", result={"error": said})], said
        hit = self._hits[int(number) - 1]
        events = await asyncio.to_thread(read_page, call_id, hit, self._turn.indexes)
        if not events:
            # A plain text file has no pages.
            call = ToolCall(call_id=call_id, name="read", arguments={"passage": number})
            content = hit.passage.text
            return [call, ToolResult(call_id=call_id, name="read", result={"content": content})], content
        content = cast("dict[str, str]", cast("ToolResult", events[-1]).result)["content"]
        return events, f"[{number}] {citation(hit)[1:-1]}, the whole page\n{content}"

    def _numbered(self, hits: Sequence[Hit]) -> str:
        known = {(hit.index_id, hit.document.file_id, hit.chunk_index): at for at, hit in enumerate(self._hits, 1)}
        parts: list[str] = []
        for hit in hits:
            number = known.get((hit.index_id, hit.document.file_id, hit.chunk_index))
            if number is None:
                self._hits.append(hit)
                self.places.append(citation(hit))
                number = len(self._hits)
            parts.append(f"[{number}] {citation(hit)[1:-1]}\n{hit.passage.text}")
        return "\n\n".join(parts)
