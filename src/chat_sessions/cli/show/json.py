"""Turns and sessions as JSON for scripts. Field names are those of the Python objects."""

from __future__ import annotations

import json
from typing import Any

from chat_sessions.core.events import Event, dump_event
from chat_sessions.core.models import SessionSummary
from chat_sessions.core.sources import Source
from chat_sessions.core.turn import ToolRun, Turn

__all__ = ["dump", "event_line", "summary_report", "turn_report"]


def dump(value: Any, *, indent: int | None = 2) -> str:
    """JSON in ASCII: nothing in it can reach a terminal as a control sequence, whatever a document holds."""
    return json.dumps(value, indent=indent).replace("\x7f", "\\u007f")


def event_line(event: Event) -> str:
    """One event as one line, as the wire has it."""
    return dump(dump_event(event), indent=None)


def turn_report(turn: Turn, *, session_id: str | None, service: str) -> dict[str, Any]:
    """A turn with everything that is derived from it; `error` is None if it went well."""
    return {
        "session_id": session_id,
        "service": service,
        "prompt": turn.prompt,
        "text": turn.text,
        "thinking": turn.thinking,
        "sources": [_source(source) for source in turn.sources],
        "tool_runs": [_tool_run(run) for run in turn.tool_runs],
        "usage": turn.usage.model_dump(mode="json", by_alias=False) if turn.usage else None,
        "skipped_index_ids": list(turn.skipped_index_ids),
        "is_complete": turn.is_complete,
        "error": turn.error,
    }


def summary_report(summary: SessionSummary) -> dict[str, Any]:
    """A session without its events."""
    return summary.model_dump(mode="json", by_alias=False)


def _tool_run(run: ToolRun) -> dict[str, Any]:
    return {
        "call_id": run.call_id,
        "name": run.name,
        "arguments": dict(run.arguments),
        "result": run.result,
        "image_attachment": run.image_attachment.model_dump(mode="json") if run.image_attachment else None,
        "status": run.status,
    }


def _source(source: Source) -> dict[str, Any]:
    return {
        "text": source.text,
        "score": source.score,
        "file_name": source.file_name,
        "file_id": source.file_id,
        "page": source.page,
        "page_end": source.page_end,
        "index_id": source.index_id,
        "passage_id": source.passage_id,
        "image": source.image.model_dump(mode="json") if source.image else None,
        "metadata": dict(source.metadata),
    }
