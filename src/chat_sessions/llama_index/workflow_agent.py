"""An agent or workflow of LlamaIndex as the agent of a local server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, cast

from llama_index.core.agent.workflow import AgentOutput, AgentStream, ReActAgent, ToolCall, ToolCallResult
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.base.response.schema import Response
from llama_index.core.schema import MetadataMode, NodeWithScore
from llama_index.core.tools import ToolOutput
from llama_index.core.workflow import Workflow
from pydantic import JsonValue
from pydantic_core import to_jsonable_python

from chat_sessions.core import events
from chat_sessions.core.errors import ConfigurationError
from chat_sessions.core.models import Usage

if TYPE_CHECKING:
    from chat_sessions.server.turns.agent import AgentTurn

__all__ = ["WorkflowAgent"]


class WorkflowAgent:
    """Serves a LlamaIndex agent, `AgentWorkflow` or other workflow as sessions.

    ```python
    LocalServer(indexes={"idx-docs": "docs/"}, agent=WorkflowAgent(FunctionAgent(tools=[...], llm=llm)))
    ```

    Its tokens, thoughts, tool calls and results become the turn's events, and its error the turn's error. It sees the
    session's earlier messages. A workflow of your own gets `user_msg` and `chat_history` in its start event, and its
    result is the answer unless it streamed one.
    """

    def __init__(self, workflow: Workflow) -> None:
        """Wrap a workflow, which runs once for each turn. Raises `ConfigurationError` for anything else."""
        if not isinstance(workflow, Workflow):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigurationError(
                f"WorkflowAgent takes an agent or workflow of LlamaIndex; this is of type {type(workflow).__name__}"
            )
        self._workflow = workflow

    async def run(self, turn: AgentTurn) -> AsyncIterator[events.Event]:
        """Yield the events of one run. Leaving it cancels the run."""
        history = [ChatMessage(role=role, content=text) for role, text in turn.conversation]
        handler = self._workflow.run(user_msg=turn.prompt, chat_history=history)
        # It streams its reasoning as text; the answer is in its result.
        is_react = isinstance(self._workflow, ReActAgent)
        said = ""
        rounds = 0
        try:
            async for event in handler.stream_events():
                match event:
                    case AgentStream():
                        if event.thinking_delta or (is_react and event.delta):
                            yield events.ThinkingDelta(content=event.thinking_delta or event.delta)
                        elif event.delta:
                            said += event.delta
                            yield events.TextDelta(content=event.delta)
                    case ToolCallResult():
                        yield events.ToolResult(
                            call_id=event.tool_id, name=event.tool_name, result=_result(event.tool_output)
                        )
                    case ToolCall():
                        said = ""
                        given: Any = cast("Any", event).tool_kwargs
                        arguments = to_jsonable_python(given, fallback=str)
                        yield events.ToolCall(call_id=event.tool_id, name=event.tool_name, arguments=arguments)
                    case AgentOutput():
                        rounds += 1
                    case _:
                        pass
            answer = _text(await handler)
        finally:
            if not handler.is_done():
                await handler.cancel_run()
        if answer and not said.strip():
            yield events.Text(content=answer)
        yield events.Stop(usage=Usage(turns=rounds or 1), is_error=False)


def _text(result: Any) -> str:
    """Return a workflow's result as text: that of a message or a response, else its `str`."""
    match result:
        case None:
            return ""
        case AgentOutput():
            return result.response.content or ""
        case ChatMessage():
            return result.content or ""
        case _:
            return str(result)


def _result(output: ToolOutput) -> JsonValue:
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
