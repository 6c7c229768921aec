"""What a workflow of LlamaIndex and its tools return, as a session shows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from llama_index.core.agent.workflow import AgentOutput
from llama_index.core.base.llms.types import ChatMessage, ChatResponse
from llama_index.core.base.response.schema import Response
from llama_index.core.schema import MetadataMode, NodeWithScore
from llama_index.core.tools import ToolOutput
from llama_index.core.workflow import StopEvent
from pydantic import BaseModel, JsonValue
from pydantic_core import to_json, to_jsonable_python

__all__ = ["answer_text", "tool_result"]


def answer_text(result: Any) -> str:
    """Return a workflow's result as text.

    That is the text of a message or a response, or that of a typed stop event's only field with text. Other models,
    mappings and lists are JSON, and anything else its `str`.
    """
    match result:
        case None:
            return ""
        case str():
            return result
        case AgentOutput():
            return result.response.content or ""
        case ChatResponse():
            return result.message.content or ""
        case ChatMessage():
            return result.content or ""
        case StopEvent():
            return _of_stop(result)
        case BaseModel() | Mapping() | list() | tuple():
            return to_json(cast("object", result), fallback=str, bytes_mode="base64").decode()
        case _:
            return str(result)


def _of_stop(event: StopEvent) -> str:
    if event.result is not None:
        return answer_text(event.result)
    values: dict[str, Any] = {name: getattr(event, name) for name in type(event).model_fields}
    values |= dict(event.items())
    values = {name: value for name, value in values.items() if value is not None}
    worded = str | ChatMessage | ChatResponse | AgentOutput | Response
    texts = [text for value in values.values() if isinstance(value, worded) and (text := answer_text(value)).strip()]
    if len(texts) == 1:
        return texts[0]
    return answer_text(values) if values else ""


def tool_result(output: ToolOutput) -> JsonValue:
    """Return a tool's output as JSON. Passages in it become the answer's sources."""
    raw: Any = output.raw_output
    if output.is_error:
        return {"error": output.content}
    found: Any = raw.source_nodes if isinstance(raw, Response) else raw
    nodes = cast("list[object]", found) if isinstance(found, list) else []
    passages: list[JsonValue] = [_passage(node) for node in nodes if isinstance(node, NodeWithScore)]
    if passages:
        return {"content": output.content, "results": passages}
    if isinstance(raw, dict | list):
        written: JsonValue = to_jsonable_python(raw, fallback=str)
        return written
    return {"content": output.content}


def _passage(node: NodeWithScore) -> JsonValue:
    return {
        "content": node.node.get_content(MetadataMode.NONE),
        "score": node.score,
        "metadata": to_jsonable_python(node.node.metadata, fallback=str),
    }
