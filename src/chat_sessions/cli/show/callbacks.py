"""Show tool runs while a LlamaIndex engine answers, through a callback handler as any LlamaIndex application can."""

from __future__ import annotations

from typing import Any

from llama_index.core.callbacks import CBEventType, EventPayload
from llama_index.core.callbacks.base_handler import BaseCallbackHandler

from chat_sessions.cli.show.answer import AnswerPrinter
from chat_sessions.core.events import ToolCall, ToolResult

__all__ = ["ToolRunHandler"]


class ToolRunHandler(BaseCallbackHandler):
    """Passes the start and the end of each tool run to a printer."""

    def __init__(self, printer: AnswerPrinter) -> None:
        super().__init__(event_starts_to_ignore=[], event_ends_to_ignore=[])
        self._printer = printer
        self._names: dict[str, str] = {}

    def on_event_start(
        self,
        event_type: CBEventType,
        payload: dict[str, Any] | None = None,
        event_id: str = "",
        parent_id: str = "",  # noqa: ARG002 (LlamaIndex passes it)
        **kwargs: Any,  # noqa: ARG002
    ) -> str:
        """Show that a tool run starts."""
        if event_type == CBEventType.FUNCTION_CALL and payload:
            name = self._names[event_id] = payload[EventPayload.TOOL].get_name()
            self._printer.show(ToolCall(call_id=event_id, name=name, arguments=payload[EventPayload.FUNCTION_CALL]))
        return event_id

    def on_event_end(
        self,
        event_type: CBEventType,
        payload: dict[str, Any] | None = None,
        event_id: str = "",
        **kwargs: Any,  # noqa: ARG002
    ) -> None:
        """Show the result of a tool run."""
        if event_type == CBEventType.FUNCTION_CALL and payload:
            result = payload.get(EventPayload.FUNCTION_OUTPUT, "no result")
            self._printer.show(ToolResult(call_id=event_id, name=self._names.pop(event_id), result=result))

    def start_trace(self, trace_id: str | None = None) -> None:
        """Show nothing."""

    def end_trace(self, trace_id: str | None = None, trace_map: dict[str, list[str]] | None = None) -> None:
        """Show nothing."""
