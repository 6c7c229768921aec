"""A graph of LangGraph, such as `create_agent` makes, as the agent of a local server."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, cast

from langchain_core.documents import Document
from langchain_core.messages import AIMessage, AIMessageChunk, AnyMessage, HumanMessage, ToolMessage
from langchain_core.messages.ai import add_usage
from pydantic import JsonValue
from pydantic_core import to_jsonable_python

from chat_sessions.core import events
from chat_sessions.core.errors import ConfigurationError
from chat_sessions.core.models import Usage

if TYPE_CHECKING:
    from chat_sessions.server.turns.agent import AgentTurn

__all__ = ["GraphAgent"]


class GraphAgent:
    """Serves a compiled LangGraph graph, such as `create_agent` makes, as sessions.

    ```python
    LocalServer(indexes={"idx-docs": "docs/"}, agent=GraphAgent(create_agent(model, tools=[...])))
    ```

    The graph's state must have `messages`. Its tokens, thoughts, tool calls and results become the turn's events, those
    of tools that a model's service runs too, and its error the turn's error. It sees the session's earlier messages; a
    graph with a checkpointer keeps them itself, with the session's id as its `thread_id`.
    """

    def __init__(self, graph: Any) -> None:
        """Wrap a graph, which runs once for each turn. Raises `ConfigurationError` for anything else."""
        if not hasattr(graph, "astream") or not hasattr(graph, "aget_state"):
            raise ConfigurationError(
                f"GraphAgent takes a compiled graph of LangGraph; this is of type {type(graph).__name__}"
                f"{': call its compile()' if hasattr(graph, 'compile') else ''}"
            )
        self._graph = graph

    async def run(self, turn: AgentTurn) -> AsyncIterator[events.Event]:
        """Yield the events of one run. Leaving it cancels the run."""
        config: Any = {"configurable": {"thread_id": turn.session_id}}
        messages = [HumanMessage(text) if role == "user" else AIMessage(text) for role, text in turn.conversation]
        messages.append(HumanMessage(turn.prompt, id=str(uuid.uuid4())))
        if self._graph.checkpointer and (await self._graph.aget_state(config)).values:
            messages = messages[-1:]
        progress = _Progress()
        run = self._graph.astream({"messages": messages}, config, stream_mode=["messages", "updates"])
        async with aclosing(run) as parts:
            async for mode, part in parts:
                for event in progress.spoken(part[0]) if mode == "messages" else progress.updated(part):
                    yield event
        yield events.Stop(usage=progress.usage(), is_error=False)


class _Progress:
    """The state of a run so far. Tokens arrive as messages; calls and results arrive in the updates of nodes."""

    def __init__(self) -> None:
        self._seen: set[str] = set()
        # Tools that a model's service ran, by message and call: the names of those called, and those with a result.
        self._called: dict[tuple[str | None, str], str] = {}
        self._returned: set[tuple[str | None, str]] = set()
        self._rounds = 0
        self._cost: Any = None

    def spoken(self, message: AnyMessage) -> Iterator[events.Event]:
        """Yield the events of a piece of a message."""
        if not isinstance(message, AIMessage | AIMessageChunk):
            return
        for block in message.content_blocks:
            if block["type"] == "reasoning" and (thought := block.get("reasoning")):
                yield events.ThinkingDelta(content=thought)
            elif block["type"] == "text" and block["text"]:
                yield events.TextDelta(content=block["text"])
            elif (event := self._served(message, block)) is not None:
                yield event

    def _served(self, message: AIMessage, block: Mapping[str, Any]) -> events.ToolCall | events.ToolResult | None:
        """Return the event of a tool that the service of a model ran, once; a result only after its call.

        Calls whose arguments come in pieces are left to the whole message.
        """
        call_id = block.get("id" if block["type"] == "server_tool_call" else "tool_call_id")
        if not isinstance(call_id, str):
            return None
        key = (message.id, call_id)
        if block["type"] == "server_tool_call" and isinstance(block["args"], dict) and key not in self._called:
            name = self._called[key] = block["name"]
            arguments = to_jsonable_python(cast("object", block["args"]), fallback=str)
            return events.ToolCall(call_id=call_id, name=name, arguments=arguments)
        if block["type"] == "server_tool_result" and key in self._called and key not in self._returned:
            self._returned.add(key)
            result: JsonValue = to_jsonable_python(block.get("output"), fallback=str)
            if block.get("status") == "error" and not isinstance(result, dict):
                result = {"error": result}
            return events.ToolResult(call_id=call_id, name=self._called[key], result=result)
        return None

    def updated(self, update: Mapping[str, Any]) -> Iterator[events.Event]:
        """Yield the tool calls and results in an update. Raises `RuntimeError` for a graph that waits."""
        if "__interrupt__" in update:
            raise RuntimeError("the graph waits for an answer to an interrupt, which a session cannot give it")
        for state in update.values():
            messages: Any = cast("Mapping[str, Any]", state).get("messages", ()) if isinstance(state, Mapping) else ()
            for message in messages:
                if isinstance(message, AIMessage) and self._is_new(message.id):
                    self._rounds += 1
                    if message.usage_metadata:
                        self._cost = add_usage(self._cost, message.usage_metadata)
                    served = (self._served(message, block) for block in message.content_blocks)
                    yield from (event for event in served if event is not None)
                    for call in message.tool_calls:
                        call_id = call["id"] or f"call_{uuid.uuid4().hex[:8]}"
                        arguments = to_jsonable_python(call["args"], fallback=str)
                        yield events.ToolCall(call_id=call_id, name=call["name"], arguments=arguments)
                elif isinstance(message, ToolMessage) and self._is_new(message.id):
                    yield events.ToolResult(
                        call_id=message.tool_call_id, name=message.name or "tool", result=_result(message)
                    )

    def usage(self) -> Usage:
        """Return the usage that the models reported."""
        cost: Mapping[str, int] = self._cost or {}
        return Usage(
            input_tokens=cost.get("input_tokens"), output_tokens=cost.get("output_tokens"), turns=self._rounds or 1
        )

    def _is_new(self, message_id: str | None) -> bool:
        # A node may return the whole conversation again.
        if message_id is None or message_id not in self._seen:
            self._seen.add(message_id or "")
            return True
        return False


def _result(message: ToolMessage) -> JsonValue:
    """Return a tool's result as JSON. Documents in it become the answer's sources."""
    if message.status == "error":
        return {"error": message.text}
    found = message.artifact
    documents = cast("list[object]", found) if isinstance(found, list) else []
    passages: list[JsonValue] = [
        {"content": document.page_content, "metadata": to_jsonable_python(document.metadata, fallback=str)}
        for document in documents
        if isinstance(document, Document)
    ]
    if passages:
        return {"content": message.text, "results": passages}
    return {"content": message.text}
