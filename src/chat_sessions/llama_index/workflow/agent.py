"""An agent or workflow of LlamaIndex as the agent of a local server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, cast

from llama_index.core.agent.workflow import AgentOutput, AgentStream, ReActAgent, ToolCall, ToolCallResult
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.workflow import InputRequiredEvent, StopEvent, Workflow
from pydantic_core import to_jsonable_python
from workflows import events as workflow_events

from chat_sessions.core import events
from chat_sessions.core.errors import ConfigurationError
from chat_sessions.core.models import Usage
from chat_sessions.llama_index.agent.session_agent import SessionAgent
from chat_sessions.llama_index.workflow.result import answer_text, tool_result

if TYPE_CHECKING:
    from chat_sessions.server.turns.agent import AgentTurn

__all__ = ["WorkflowAgent"]

# Tells that no step runs any more, so that nothing in the workflow can answer. Old versions of workflows lack it.
_IDLE: type[Any] | None = getattr(workflow_events, "WorkflowIdleEvent", None)


class WorkflowAgent:
    """Serves a LlamaIndex agent, `AgentWorkflow` or other workflow as sessions.

    ```python
    LocalServer(indexes={"idx-docs": "docs/"}, agent=WorkflowAgent(FunctionAgent(tools=[...], llm=llm)))
    ```

    Its tokens, thoughts, tool calls and results become the turn's events, and its error the turn's error. It sees the
    session's earlier messages. A workflow of your own gets `user_msg` and `chat_history` in its start event, and its
    result is the answer unless it streamed one: the text of a message or response, that of a typed `StopEvent`'s only
    field with text, or JSON. A workflow that waits for a human ends its turn with an error, because a session cannot
    answer it.
    """

    def __init__(self, workflow: Workflow) -> None:
        """Wrap a workflow, which runs once for each turn.

        Raises `ConfigurationError` for anything else, and for a `SessionAgent`: each of its runs would begin a session
        that does not know the turns before.
        """
        if isinstance(workflow, SessionAgent):
            raise ConfigurationError(
                "WorkflowAgent takes no SessionAgent: its sessions are on a service of their own, and each turn would "
                "begin a new one there. Use that service's sessions themselves, with its client"
            )
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
        is_asking = False
        stop: StopEvent | None = None
        try:
            async for event in handler.stream_events() if _IDLE is None else handler.stream_events(True):
                if isinstance(event, InputRequiredEvent):
                    is_asking = True
                if is_asking and (_IDLE is None or isinstance(event, _IDLE)):
                    raise RuntimeError("the workflow waits for a human's answer, which a session cannot give it")
                match event:
                    case AgentStream():
                        if event.thinking_delta or (is_react and event.delta):
                            yield events.ThinkingDelta(content=event.thinking_delta or event.delta)
                        elif event.delta:
                            said += event.delta
                            yield events.TextDelta(content=event.delta)
                    case ToolCallResult():
                        yield events.ToolResult(
                            call_id=event.tool_id, name=event.tool_name, result=tool_result(event.tool_output)
                        )
                    case ToolCall():
                        said = ""
                        given: Any = cast("Any", event).tool_kwargs
                        arguments = to_jsonable_python(given, fallback=str)
                        yield events.ToolCall(call_id=event.tool_id, name=event.tool_name, arguments=arguments)
                    case AgentOutput():
                        rounds += 1
                    case StopEvent():
                        stop = event
                    case _:
                        pass
            result = cast("object", await handler)
            # A plain stop event may have fields of its own and no result.
            answer = answer_text(stop if result is None else result)
        finally:
            if not handler.is_done():
                await handler.cancel_run()
        if answer and not said.strip():
            yield events.Text(content=answer)
        yield events.Stop(usage=Usage(turns=rounds or 1), is_error=False)
