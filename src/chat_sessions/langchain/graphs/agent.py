"""A graph of LangGraph, such as `create_agent` makes, as the agent of a local server."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, convert_to_messages
from langchain_core.runnables.config import merge_configs

from chat_sessions.core import events
from chat_sessions.core.errors import ConfigurationError
from chat_sessions.langchain.graphs.run import GraphRun

if TYPE_CHECKING:
    from chat_sessions.server.turns.agent import AgentTurn

__all__ = ["GraphAgent"]


class GraphAgent:
    """Serves a compiled LangGraph graph, such as `create_agent` makes, as sessions.

    ```python
    LocalServer(indexes={"idx-docs": "docs/"}, agent=GraphAgent(create_agent(model, tools=[...])))
    ```

    The graph's state must have `messages`. Its tokens, thoughts, tool calls and results become the turn's events,
    including those of tools that a model's service runs; its error becomes the turn's error. The same holds for graphs
    that are its nodes, but not for a graph that one of its tools runs: that tool's result is all that is shown. A blank
    line separates the answers of two messages; while one is written, those of concurrent nodes wait. The graph sees the
    session's earlier messages; a graph with a checkpointer keeps them itself, with the session's id as its `thread_id`.
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
        prompt = HumanMessage(turn.prompt, id=str(uuid.uuid4()))
        # With ids, because a node may return the whole conversation.
        before: list[BaseMessage] = [
            (HumanMessage if role == "user" else AIMessage)(text, id=str(uuid.uuid4()))
            for role, text in turn.conversation
        ]
        given = [*before, prompt]
        kept: Any = (await self._graph.aget_state(config)).values if self._graph.checkpointer else None
        if kept:
            given = [prompt]
            before = convert_to_messages(kept.get("messages") or [])
        run = GraphRun(before, prompt)
        config = merge_configs(getattr(self._graph, "config", None), config, {"callbacks": [run.tools]})
        parts = self._graph.astream({"messages": given}, config, stream_mode=["messages", "updates"], subgraphs=True)
        async with aclosing(parts):
            async for namespace, mode, part in parts:
                for event in run.add(namespace, mode, part):
                    yield event
        for event in run.end():
            yield event
        yield events.Stop(usage=run.usage(), is_error=False)
