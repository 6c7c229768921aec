"""Tool runs: calls paired with their results, in the one place that does it.

A result ends the run of its `call_id` that began last, since an id may be used again before its first
result has come. A result without a call is a separate run. An event that is delivered twice counts once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal, TypeAlias

from pydantic import JsonValue

from chat_sessions.core.events import ToolCall, ToolResult
from chat_sessions.core.models import ImageAttachment
from chat_sessions.core.sources import Source, sources_in

__all__ = ["RunBegan", "RunEnded", "RunPairs", "ToolRun", "ToolStatus"]

ToolStatus: TypeAlias = Literal["running", "completed", "failed", "unanswered"]


@dataclass(frozen=True)
class ToolRun:
    """A tool call with its result.

    `status` is "running" until a result arrives, then "completed", or "failed" if the result itself says that it is an
    error; it is "unanswered" if the turn ended without a result. A result without a call has empty `arguments`.
    `image_urls` are the images that came with the result: see `core.images`.
    """

    call_id: str
    name: str
    arguments: Mapping[str, JsonValue]
    result: JsonValue = None
    image_attachment: ImageAttachment | None = None
    status: ToolStatus = "running"
    image_urls: tuple[str, ...] = field(default=(), repr=False)

    @cached_property
    def sources(self) -> tuple[Source, ...]:
        """The passages that the result cites, in its order; empty if it cites none."""
        if self.status in ("running", "unanswered"):
            return ()
        return sources_in(self.result, arguments=self.arguments, image=self.image_attachment)


@dataclass(frozen=True, slots=True)
class RunBegan:
    """A tool run began. `number` counts the runs of a turn from 0; `event` is None for a result without a call."""

    number: int
    run: ToolRun
    event: ToolCall | None


@dataclass(frozen=True, slots=True)
class RunEnded:
    """The tool run with this `number` ended. `event` is None for a run that ended without a result."""

    number: int
    run: ToolRun
    event: ToolResult | None


class RunPairs:
    """Pairs the calls of one turn with their results, as they come."""

    def __init__(self) -> None:
        self._count = 0
        self._open: dict[str, list[tuple[RunBegan, ToolCall]]] = {}
        self._answered: dict[str, ToolResult] = {}

    def call(self, event: ToolCall) -> tuple[RunBegan, ...]:
        """The run that this call begins; none if the call is known."""
        open_runs = self._open.setdefault(event.call_id, [])
        if open_runs and open_runs[-1][1] == event:
            return ()
        began = RunBegan(self._next(), ToolRun(event.call_id, event.name, event.arguments), event)
        open_runs.append((began, event))
        return (began,)

    def result(self, event: ToolResult) -> tuple[RunBegan | RunEnded, ...]:
        """The run that this result ends, after its beginning if it had no call; none if the result is known."""
        call_id = event.call_id
        open_runs = self._open.get(call_id)
        news: tuple[RunBegan | RunEnded, ...] = ()
        if open_runs:
            began = open_runs.pop()[0]
        elif self._answered.get(call_id) == event:
            return ()
        else:
            began = RunBegan(self._next(), ToolRun(call_id, event.name, {}), None)
            news = (began,)
        self._answered[call_id] = event
        status: ToolStatus = "failed" if _says_error(event.result) else "completed"
        arguments, image = began.run.arguments, event.image_attachment
        run = ToolRun(call_id, event.name, arguments, event.result, image, status, event.image_urls)
        return (*news, RunEnded(began.number, run, event))

    def end(self) -> tuple[RunEnded, ...]:
        """End every run that is open, the last one first: the turn is over, or was left."""
        left = [began for runs in self._open.values() for began, _ in runs]
        self._open.clear()
        left.sort(key=lambda began: -began.number)
        return tuple(RunEnded(began.number, replace(began.run, status="unanswered"), None) for began in left)

    def _next(self) -> int:
        self._count += 1
        return self._count - 1


def _says_error(result: JsonValue) -> bool:
    """Whether a tool result calls itself an error. The wire has no status, so this is a convention."""
    return isinstance(result, dict) and (
        result.get("is_error") is True
        or result.get("isError") is True
        or result.get("status") == "error"
        or (bool(result.get("error")) and len(result) == 1)
    )
