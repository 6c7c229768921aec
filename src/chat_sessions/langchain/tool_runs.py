"""The tools of the remote agent as child runs of the model's run.

LangChain takes a model's run for a leaf, so its run manager makes no children. Here they are made
by hand, from the real manager and nothing else: configuring a second one would start a second
tracer, which knows no parent for them.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack, ExitStack
from typing import Any

from langchain_core.callbacks import (
    AsyncCallbackManager,
    AsyncCallbackManagerForLLMRun,
    AsyncCallbackManagerForToolRun,
    CallbackManager,
    CallbackManagerForLLMRun,
    CallbackManagerForToolRun,
)
from langchain_core.messages import ToolMessage

from chat_sessions.core.errors import ChatSessionsError
from chat_sessions.core.events import Event, Stop, ToolCall, ToolResult, dump_event
from chat_sessions.langchain.content import tool_failed

__all__ = ["AsyncToolRuns", "ToolRunUnanswered", "ToolRuns"]


class ToolRunUnanswered(ChatSessionsError):
    """What a tool run ends with if its turn ended without a result for it. Seen by callbacks only."""


def _unanswered() -> ToolRunUnanswered:
    return ToolRunUnanswered("the turn ended without a result of this tool")


def _start(name: str, arguments: dict[str, Any], call_id: str) -> dict[str, Any]:
    # `inputs` has to be a dict for astream_events, and `tool_call_id` is the key of LangGraph's "tools" stream.
    return {
        "serialized": {"name": name},
        "input_str": json.dumps(arguments, ensure_ascii=False),
        "inputs": arguments,
        "tool_call_id": call_id,
        "name": name,
    }


def _output(event: ToolResult) -> ToolMessage:
    result = event.result
    return ToolMessage(
        content=result if isinstance(result, str) else json.dumps(result, ensure_ascii=False),
        tool_call_id=event.call_id,
        name=event.name,
        status="error" if tool_failed(event) else "success",
        artifact=dump_event(event),
    )


def _adopt(
    children: CallbackManager | AsyncCallbackManager, run: CallbackManagerForLLMRun | AsyncCallbackManagerForLLMRun
) -> None:
    """Give the manager of the tool runs what children of this run inherit."""
    children.set_handlers(run.inheritable_handlers)
    children.add_tags(list(run.inheritable_tags))
    # LangChain adds the model's own name and provider to what is inherited; a tool is no model.
    children.add_metadata({key: value for key, value in run.inheritable_metadata.items() if not key.startswith("ls_")})


class ToolRuns:
    """The tool runs of one turn: opened by its calls, ended by its results, none left open."""

    def __init__(self, run: CallbackManagerForLLMRun | None) -> None:
        self._children: CallbackManager | None = None
        self._open: list[tuple[str, CallbackManagerForToolRun]] = []
        if run is not None:
            self._children = CallbackManager(handlers=[], parent_run_id=run.run_id)
            _adopt(self._children, run)

    def note(self, event: Event) -> None:
        """Start or end the tool run that this event is about, before the reader sees the event."""
        if self._children is None:
            return
        if isinstance(event, ToolCall):
            started = self._children.on_tool_start(**_start(event.name, dict(event.arguments), event.call_id))
            self._open.append((event.call_id, started))
        elif isinstance(event, ToolResult):
            self._answered(event, self._children).on_tool_end(_output(event), name=event.name)
        elif isinstance(event, Stop):
            self.fail(_unanswered())

    def _answered(self, event: ToolResult, children: CallbackManager) -> CallbackManagerForToolRun:
        """The open run of this result. A result without a call gets a run of its own: the tool did run."""
        for position in range(len(self._open) - 1, -1, -1):
            if self._open[position][0] == event.call_id:
                return self._open.pop(position)[1]
        return children.on_tool_start(**_start(event.name, {}, event.call_id))

    def fail(self, error: BaseException) -> None:
        """End every open run with this error, the last opened first, whatever a handler raises."""
        with ExitStack() as closing:
            while self._open:
                call_id, run = self._open.pop(0)
                closing.callback(run.on_tool_error, error, tool_call_id=call_id)


class AsyncToolRuns:
    """The async twin of `ToolRuns`."""

    def __init__(self, run: AsyncCallbackManagerForLLMRun | None) -> None:
        self._children: AsyncCallbackManager | None = None
        # Each run is a task that starts it: one that is cancelled half-way has been told to some handlers already.
        self._open: list[tuple[str, asyncio.Task[AsyncCallbackManagerForToolRun]]] = []
        if run is not None:
            self._children = AsyncCallbackManager(handlers=[], parent_run_id=run.run_id)
            _adopt(self._children, run)

    async def note(self, event: Event) -> None:
        """Start or end the tool run that this event is about, before the reader sees the event."""
        if self._children is None:
            return
        if isinstance(event, ToolCall):
            await self._start(self._children, event.name, dict(event.arguments), event.call_id)
        elif isinstance(event, ToolResult):
            if all(call_id != event.call_id for call_id, _ in self._open):
                await self._start(self._children, event.name, {}, event.call_id)
            position = max(place for place, (call_id, _) in enumerate(self._open) if call_id == event.call_id)
            await self._open.pop(position)[1].result().on_tool_end(_output(event), name=event.name)
        elif isinstance(event, Stop):
            await self.fail(_unanswered())

    async def _start(self, children: AsyncCallbackManager, name: str, arguments: dict[str, Any], call_id: str) -> None:
        task = asyncio.create_task(children.on_tool_start(**_start(name, arguments, call_id)))
        self._open.append((call_id, task))
        await asyncio.shield(task)

    async def fail(self, error: BaseException) -> None:
        """End every open run with this error, the last opened first, whatever a handler raises."""
        async with AsyncExitStack() as closing:
            while self._open:
                call_id, task = self._open.pop(0)
                closing.push_async_callback(_fail, task, error, call_id)


async def _fail(task: asyncio.Task[AsyncCallbackManagerForToolRun], error: BaseException, call_id: str) -> None:
    await asyncio.wait((task,))
    if task.exception() is None:  # else a handler raised at its start, and what it raised is on its way
        await task.result().on_tool_error(error, tool_call_id=call_id)
