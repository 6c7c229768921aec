"""What a turn's tools gave, in LlamaIndex's words: outputs, nodes, and the tools themselves."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping

from llama_index.core.base.response.schema import Response
from llama_index.core.schema import NodeWithScore, TextNode
from llama_index.core.tools import BaseTool, ToolMetadata, ToolOutput
from pydantic import JsonValue

from chat_sessions.core.events import ToolCall, ToolResult
from chat_sessions.core.sources import Source
from chat_sessions.core.turn import ToolRun

__all__ = ["HostedTool", "RunPositions", "nodes_of", "query_of", "result_text", "tool_output"]

# What a passage shows of itself where a text is made of it; the rest of its metadata is for code.
_SHOWN_METADATA = ("file_name", "page_label")
_NODE_IDS = uuid.UUID("3a0c1f39-3a0e-4a58-9f2b-6d3c0a7ed1c4")
_QUERY_ARGUMENTS = ("query", "question", "q", "pattern", "input")


class HostedTool(BaseTool):
    """A tool of the hosted agent, as tracers know tools. It runs on the service and cannot be called here."""

    def __init__(self, name: str) -> None:
        self._metadata = ToolMetadata(name=name, description="A tool of the hosted agent.", fn_schema=None)

    @property
    def metadata(self) -> ToolMetadata:
        """Its name; the service does not tell what a tool takes."""
        return self._metadata

    def __call__(self, input: object) -> ToolOutput:
        """Raise `NotImplementedError`."""
        raise NotImplementedError(f"{self._metadata.name} runs on the service, within a turn; it cannot be called here")


class RunPositions:
    """Where a tool event's run stands in `Turn.tool_runs`, told while the events come."""

    def __init__(self) -> None:
        self._count = 0
        self._open: dict[str, int] = {}

    def called(self, event: ToolCall) -> int:
        """The position of the run that this call begins."""
        position = self._open[event.call_id] = self._count
        self._count += 1
        return position

    def answered(self, event: ToolResult) -> int:
        """The position of the run that this result ends; a new one if no call was seen."""
        position = self._open.pop(event.call_id, None)
        if position is None:
            position = self._count
            self._count += 1
        return position


def result_text(result: JsonValue) -> str:
    """A tool result as text: a string as it is, anything else as JSON, nothing as ""."""
    if isinstance(result, str):
        return result
    return "" if result is None else json.dumps(result, ensure_ascii=False)


def tool_output(run: ToolRun, *, known: Iterable[Source] = ()) -> ToolOutput:
    """The output of a tool run; `known` are the turn's passages, which may name a file that this run has by id only.

    `raw_output` is the result itself; for a run that cites passages or comes with a picture it is a
    `Response` with `source_nodes`, and the result in `metadata["result"]`: LlamaIndex's own code
    looks for nodes there.
    """
    text = result_text(run.result)
    raw_output: object = run.result
    if run.sources or run.image_attachment:
        metadata: dict[str, object] = {"result": run.result}
        if run.image_attachment:
            metadata["image_attachment"] = run.image_attachment.model_dump()
        raw_output = Response(response=text, source_nodes=nodes_of(run.sources, known=known), metadata=metadata)
    return ToolOutput(
        tool_name=run.name,
        content=text,
        raw_input=dict(run.arguments),
        raw_output=raw_output,
        is_error=run.status == "failed",
    )


def nodes_of(sources: Iterable[Source], *, known: Iterable[Source] = ()) -> list[NodeWithScore]:
    """A node per passage, in the same order, with file, page and score; equal passages have equal ids.

    `metadata` always has `file_name` and `page`, None where the tool did not tell; what is known of `file_id,
    page_end, page_label, index_id` and `image_attachment` (see `PageImage`); and what else the tool said of the
    passage.
    """
    # A tool that reads one page is told the file by its id; the passage that led there had the name.
    names = {source.file_id: source.file_name for source in known if source.file_id and source.file_name}
    return [
        NodeWithScore(node=_node(source, names.get(source.file_id or "")), score=source.score) for source in sources
    ]


def _node(source: Source, file_name: str | None) -> TextNode:
    known: dict[str, object | None] = {
        "file_id": source.file_id,
        "page_end": source.page_end,
        "page_label": _page_label(source),
        "index_id": source.index_id,
        "image_attachment": source.image.model_dump() if source.image else None,
    }
    metadata: dict[str, object | None] = {
        **source.metadata,
        "file_name": source.file_name or file_name,
        "page": source.page,
        **{key: value for key, value in known.items() if value is not None},
    }
    hidden = [key for key, value in metadata.items() if key not in _SHOWN_METADATA or value is None]
    return TextNode(
        id_=source.passage_id or _passage_id(source),
        text=source.text,
        metadata=metadata,
        excluded_llm_metadata_keys=hidden,
        excluded_embed_metadata_keys=hidden,
    )


def _page_label(source: Source) -> str | None:
    if source.page is None:
        return None
    if source.page_end is None or source.page_end == source.page:
        return str(source.page)
    return f"{source.page}-{source.page_end}"


def _passage_id(source: Source) -> str:
    """An id made of the passage, so that a replayed history gives the node that the live turn gave."""
    return str(uuid.uuid5(_NODE_IDS, json.dumps([source.file_id or source.file_name, source.page, source.text])))


def query_of(arguments: Mapping[str, JsonValue]) -> str:
    """What a retrieval asked for, as far as its arguments tell."""
    for name in _QUERY_ARGUMENTS:
        value = arguments.get(name)
        if isinstance(value, str):
            return value
    return result_text(dict(arguments))
