"""Show a turn: thinking and tool runs while they happen, the answer, its sources, its cost."""

from __future__ import annotations

import re

from pydantic import JsonValue

from chat_sessions.cli.show.sources import cited, show_sources
from chat_sessions.cli.show.terminal import Terminal
from chat_sessions.cli.show.text import one_line
from chat_sessions.core.events import Event, TextDelta, ThinkingDelta, ToolCall, ToolResult, UnknownEvent
from chat_sessions.core.models import Usage
from chat_sessions.core.sources import finds_nothing, sources_in
from chat_sessions.core.turn import Turn, Words

__all__ = ["AnswerPrinter", "show_cost", "show_outcome"]

_ESCAPES = re.compile("\x1b\\[[0-?]*[ -/]*[@-~]")


class AnswerPrinter:
    """Shows the events of a turn as they come. Pass it what `TurnStream` yields, which repeats no text."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._call_mark = terminal.symbol("→", "->")
        self._result_mark = terminal.symbol("←", "<-")
        self._calls: dict[str, ToolCall] = {}
        self._files: dict[str, str] = {}
        self._is_thinking = False
        self._words = Words()

    def show(self, event: Event) -> None:
        """Show one event."""
        if isinstance(event, ThinkingDelta):
            self._terminal.aside(event.content if self._is_thinking else event.content.lstrip())
            self._is_thinking = True
            return
        if self._is_thinking and isinstance(event, TextDelta | ToolCall | ToolResult | UnknownEvent):
            self._is_thinking = False
            self._terminal.end_line()
        match event:
            case TextDelta():
                self._terminal.answer(self._words.add(event))
            case ToolCall():
                self._calls[event.call_id] = event
                self._tool(self._call_mark, _described_call(event))
            case ToolResult():
                call = self._calls.get(event.call_id)
                self._tool(self._result_mark, _described_result(event, call, self._files))
            # The user was asked already, or will see at the end of the turn what waits.
            case UnknownEvent() if event.type != "confirmation_request":
                self._terminal.note(f"(unknown event type {one_line(event.type, 40)})")
            case _:
                pass

    def _tool(self, mark: str, what: str) -> None:
        self._words.part()
        self._terminal.note(one_line(f"{mark} {what}", self._terminal.line_length), "cyan")


def show_outcome(turn: Turn, *, session_id: str | None, terminal: Terminal) -> None:
    """Show what follows an answer: its sources, the indexes that were left out, and its cost."""
    terminal.end_line()
    show_sources(turn.sources, terminal)
    for index_id in turn.skipped_index_ids:
        terminal.warn(f"index {one_line(index_id, 80)} could not be queried; the answer does not draw on it")
    show_cost(turn.usage, session_id=session_id, terminal=terminal)


def show_cost(usage: Usage | None, *, session_id: str | None, terminal: Terminal) -> None:
    """Show the session and what the turn cost in one line, without what the service did not report."""
    parts = [f"session {session_id}"] if session_id else []
    if usage is not None and usage.input_tokens is not None:
        parts.append(f"{usage.input_tokens:,} tokens in")
    if usage is not None and usage.output_tokens is not None:
        parts.append(f"{usage.output_tokens:,} tokens out")
    if usage is not None and usage.duration_ms:
        parts.append(f"{usage.duration_ms / 1000:.2f} s")
    if parts:
        terminal.note(f" {terminal.symbol('·', '-')} ".join(parts))


def _described_call(call: ToolCall) -> str:
    """Describe a tool call in one line: `retrieve(query='…', top_k=5)`."""
    arguments = ", ".join(f"{one_line(name, 40)}={_shown(value)}" for name, value in call.arguments.items())
    return f"{one_line(call.name, 60)}({arguments})"


def _described_result(result: ToolResult, call: ToolCall | None, files: dict[str, str]) -> str:
    """Describe a tool result in one line: what it found and where, or how it begins.

    `files` has names of files by id; those in this result are added.
    """
    name = one_line(result.name, 60)
    found = sources_in(result.result, arguments=call.arguments if call else None, image=result.image_attachment)
    if not found:
        return f"{name}: {'nothing found' if finds_nothing(result.result) else _outcome(result.result)}"
    files.update((source.file_id, source.file_name) for source in found if source.file_id and source.file_name)
    where: dict[str | None, list[str]] = {}
    for entry in cited(found, files):
        where.setdefault(entry.file, []).append(entry.pages.removeprefix("p. "))
    places = [f"{file}{' p. ' if pages[0] else ''}{', '.join(pages)}" for file, pages in where.items() if file]
    count = f"{len(found)} passage{'' if len(found) == 1 else 's'}"
    return f"{name}: {count}{' from ' if places else ''}{'; '.join(places)}"


def _outcome(value: JsonValue) -> str:
    """Shorten a result without passages: an object's text if it has one, else the value."""
    if not isinstance(value, dict):
        return _shown(value)
    text = next((text for name in ("content", "error") if isinstance(text := value.get(name), str) and text), value)
    if isinstance(text, str):
        # Shell output contains colours and bracketed-paste marks.
        text = _ESCAPES.sub("", text)
    return f"{'failed: ' if value.get('is_error') is True else ''}{_shown(text)}"


def _shown(value: JsonValue) -> str:
    """Shorten a JSON value for one line."""
    if isinstance(value, str):
        return repr(one_line(value, 80))
    if isinstance(value, list):
        shown = ", ".join(_shown(item) for item in value[:3])
        return f"[{shown}{', …' if len(value) > 3 else ''}]"
    return one_line(str(value), 80)
