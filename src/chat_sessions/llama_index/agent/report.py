"""Write a turn to the event stream of a workflow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llama_index.core.agent.workflow import AgentStream, ToolCall, ToolCallResult
from llama_index.core.tools import ToolOutput

from chat_sessions.core.turn import RunBegan, RunEnded

if TYPE_CHECKING:
    from llama_index.core.agent.workflow.agent_context import AgentContext

__all__ = ["Report"]


class Report:
    """Writes a turn's events to the stream of a run, and keeps the results of its tools."""

    def __init__(self, ctx: AgentContext, agent_name: str, *, streams: bool) -> None:
        self._ctx = ctx
        self._agent_name = agent_name
        self._streams = streams
        self._said = ""
        self.results: list[ToolCallResult] = []

    def text(self, piece: str) -> None:
        """Write a piece of the answer."""
        self._said += piece
        self._stream(piece, None)

    def thinking(self, piece: str) -> None:
        """Write a piece of the agent's reasoning."""
        self._stream("", piece)

    def _stream(self, delta: str, thinking_delta: str | None) -> None:
        if self._streams:
            self._ctx.write_event_to_stream(
                AgentStream(
                    delta=delta,
                    response=self._said,
                    current_agent_name=self._agent_name,
                    thinking_delta=thinking_delta,
                )
            )

    def run_began(self, began: RunBegan) -> None:
        """Write the call of a tool; consumers pair calls and results, so a result without a call gets one, too."""
        run = began.run
        self._ctx.write_event_to_stream(
            ToolCall(tool_name=run.name, tool_kwargs=dict(run.arguments), tool_id=run.call_id)
        )

    def run_ended(self, ended: RunEnded, output: ToolOutput) -> None:
        """Write the result of a tool."""
        run = ended.run
        result = ToolCallResult(
            tool_name=run.name,
            tool_kwargs=dict(run.arguments),
            tool_id=run.call_id,
            tool_output=output,
            return_direct=False,
        )
        self.results.append(result)
        self._ctx.write_event_to_stream(result)
