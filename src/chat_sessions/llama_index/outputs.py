"""What a turn's tools return, as LlamaIndex tool outputs and nodes."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Iterable, Mapping, Sequence

from llama_index.core.base.llms.types import ContentBlock, ImageBlock, TextBlock
from llama_index.core.base.response.schema import Response
from llama_index.core.schema import NodeWithScore, TextNode
from llama_index.core.tools import ToolOutput
from pydantic import JsonValue

from chat_sessions.core.images import inline_image
from chat_sessions.core.sources import DistinctSources, Source, page_range, query_in
from chat_sessions.core.turn import ToolRun

__all__ = ["NO_RESULT", "Outputs", "image_block", "nodes_of", "query_of", "result_text", "unanswered_output"]

NO_RESULT = "The turn ended before this tool gave a result."
# The metadata that models see with a passage; the rest is for code.
_SHOWN_METADATA = ("file_name", "page_label")
_NODE_IDS = uuid.UUID("3a0c1f39-3a0e-4a58-9f2b-6d3c0a7ed1c4")


class Outputs:
    """The outputs of a turn's tools, and the passages they cite, as they arrive.

    `sources` has an output per result, in the order of the results; `source_nodes` each passage once. The cost of a
    result does not depend on the number before it.
    """

    def __init__(self) -> None:
        self.sources: list[ToolOutput] = []
        self.source_nodes: list[NodeWithScore] = []
        self._distinct = DistinctSources()

    def add(self, run: ToolRun) -> ToolOutput:
        """Add a run that has a result; return its output."""
        changed = self._distinct.add(run.sources)
        named = [self._distinct.named(source) for source in run.sources]
        nodes = nodes_of(named)
        made = dict(zip(named, nodes, strict=True))
        for place in changed:
            source = self._distinct[place]
            node = made.get(source) or _node_of(source)
            # New places come in order, each at the end of the list.
            self.source_nodes[place : place + 1] = [node]
        output = _tool_output(run, nodes)
        self.sources.append(output)
        return output


def result_text(result: JsonValue) -> str:
    """Return a tool result as text: a string as it is, anything else as JSON, nothing as ""."""
    if isinstance(result, str):
        return result
    return "" if result is None else json.dumps(result, ensure_ascii=False)


def image_block(url: str) -> ImageBlock:
    """Return the image of this address as a block."""
    inline = inline_image(url)
    if inline is None:
        return ImageBlock(url=url)
    return ImageBlock(image=base64.b64decode(inline[1]), image_mimetype=inline[0])


def unanswered_output(run: ToolRun) -> ToolOutput:
    """Return the output of a run that ended without a result."""
    return ToolOutput(
        tool_name=run.name, content=NO_RESULT, raw_input=dict(run.arguments), raw_output=None, is_error=True
    )


def _tool_output(run: ToolRun, nodes: Sequence[NodeWithScore]) -> ToolOutput:
    """Return the output of a run.

    `raw_output` is the result itself; for a run that cites passages or comes with a picture it is a `Response` with
    `source_nodes`, and the result in `metadata["result"]`: LlamaIndex's own code looks for nodes there. Images that
    came with the result are blocks after its text.
    """
    text = result_text(run.result)
    raw_output: object = run.result
    if nodes or run.image_attachment:
        metadata: dict[str, object] = {"result": run.result}
        if run.image_attachment:
            metadata["image_attachment"] = run.image_attachment.model_dump()
        raw_output = Response(response=text, source_nodes=list(nodes), metadata=metadata)
    blocks: list[ContentBlock] = [TextBlock(text=text)] if text else []
    return ToolOutput(
        tool_name=run.name,
        blocks=[*blocks, *map(image_block, run.image_urls)],
        raw_input=dict(run.arguments),
        raw_output=raw_output,
        is_error=run.status == "failed",
    )


def nodes_of(sources: Iterable[Source]) -> list[NodeWithScore]:
    """Return a node per passage, in the same order, with file, page and score; equal passages have equal ids.

    `metadata` always has `file_name` and `page`, which are None if the tool did not report them; `file_id, page_end,
    page_label, index_id` and `image_attachment` (see `PageImage`) if they are known; and anything else the tool
    reported about the passage.
    """
    return [_node_of(source) for source in sources]


def _node_of(source: Source) -> NodeWithScore:
    known: dict[str, object | None] = {
        "file_id": source.file_id,
        "page_end": source.page_end,
        "page_label": page_range(source) or None,
        "index_id": source.index_id,
        "image_attachment": source.image.model_dump() if source.image else None,
    }
    metadata: dict[str, object | None] = {
        **source.metadata,
        "file_name": source.file_name,
        "page": source.page,
        **{key: value for key, value in known.items() if value is not None},
    }
    hidden = [key for key, value in metadata.items() if key not in _SHOWN_METADATA or value is None]
    node = TextNode(
        id_=source.passage_id or _passage_id(source),
        text=source.text,
        metadata=metadata,
        excluded_llm_metadata_keys=hidden,
        excluded_embed_metadata_keys=hidden,
    )
    return NodeWithScore(node=node, score=source.score)


def _passage_id(source: Source) -> str:
    """Return an id derived from the passage, so that a replayed history has the same nodes as the live turn."""
    return str(uuid.uuid5(_NODE_IDS, json.dumps([source.file_id or source.file_name, source.page, source.text])))


def query_of(arguments: Mapping[str, JsonValue]) -> str:
    """Return the query of a retrieval; if its arguments have none, all of them as JSON."""
    query = query_in(arguments)
    return result_text(dict(arguments)) if query is None else query
