"""What handlers receive about the remote tools: inputs, outputs, errors, and the passages of a retrieval."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.messages import ToolMessage
from pydantic import JsonValue

from chat_sessions.core.errors import ChatSessionsError
from chat_sessions.core.events import ToolResult, dump_event
from chat_sessions.core.sources import Source, query_in
from chat_sessions.core.turn import RunEnded, ToolRun
from chat_sessions.langchain.content import document

__all__ = [
    "ToolRunFailed",
    "ToolRunUnanswered",
    "failure",
    "inherited",
    "retrieval",
    "tool_input",
    "tool_output",
]


class ToolRunFailed(ChatSessionsError):
    """Ends a tool run whose result says that it is an error. Only callbacks get it."""


class ToolRunUnanswered(ChatSessionsError):
    """Ends a tool run whose turn ended without a result for it. Only callbacks get it."""


def inherited(manager: Any) -> dict[str, Any]:
    """Return what children of a model's run inherit, as arguments of a callback manager.

    LangChain treats a model's run as a leaf, so its manager makes no children.
    """
    handlers: list[BaseCallbackHandler] = manager.inheritable_handlers
    # LangChain adds the model's name and provider to what is inherited, but a tool is not a model.
    metadata = {key: value for key, value in manager.inheritable_metadata.items() if not key.startswith("ls_")}
    return {
        "handlers": [*handlers],
        "inheritable_handlers": [*handlers],
        "parent_run_id": manager.run_id,
        "tags": [*manager.inheritable_tags],
        "inheritable_tags": [*manager.inheritable_tags],
        "metadata": metadata,
        "inheritable_metadata": dict(metadata),
    }


def tool_input(run: ToolRun) -> dict[str, Any]:
    """Return the arguments of `on_tool_start`.

    `inputs` is a dict because `astream_events` shows nothing else, and LangGraph's stream of tools finds the two ends
    of a run by its `tool_call_id`.
    """
    arguments = dict(run.arguments)
    return {
        "serialized": {"name": run.name},
        "input_str": _json(arguments),
        "inputs": arguments,
        "tool_call_id": run.call_id,
        "name": run.name,
    }


def tool_output(run: ToolRun, event: ToolResult) -> ToolMessage:
    """Return the output of `on_tool_end`; its artifact is the event as the service sent it."""
    result = run.result
    return ToolMessage(
        content=result if isinstance(result, str) else _json(result),
        tool_call_id=run.call_id,
        name=run.name,
        artifact=dump_event(event),
    )


def failure(ended: RunEnded) -> ChatSessionsError | None:
    """Return the error of a run that did not end well, or None."""
    if ended.event is None:
        return ToolRunUnanswered("the turn ended without a result of this tool")
    if ended.run.status == "failed":
        result = ended.run.result
        return ToolRunFailed(result if isinstance(result, str) else _json(result))
    return None


def retrieval(run: ToolRun, sources: Sequence[Source]) -> tuple[dict[str, Any], list[Document]]:
    """Return the arguments of `on_retriever_start` for a tool that retrieved, and its documents."""
    query = query_in(run.arguments)
    start = {
        "serialized": {"name": run.name},
        "query": query if query is not None else _json(run.arguments),
        "name": run.name,
    }
    return start, [document(source) for source in sources]


def _json(value: JsonValue | Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False)
