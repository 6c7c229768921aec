"""A turn as it is read at a terminal: thoughts and tool runs while they happen, the answer, its sources, its cost."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pydantic import JsonValue
from rich.cells import cell_len, set_cell_size

from chat_sessions.cli.show.terminal import Terminal, one_line
from chat_sessions.core.events import Event, TextDelta, ThinkingDelta, ToolCall, ToolResult, UnknownEvent
from chat_sessions.core.models import Usage
from chat_sessions.core.sources import Source, sources_in
from chat_sessions.core.turn import Turn

__all__ = ["AnswerPrinter", "Cited", "cited", "show_cost", "show_outcome", "show_sources"]

NO_FILE = "(no file named)"
_ESCAPES = re.compile("\x1b\\[[0-?]*[ -/]*[@-~]")


class AnswerPrinter:
    """Shows the events of a turn as they come. Give it what `TurnStream` yields: each text comes once."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._call_mark = terminal.symbol("→", "->")
        self._result_mark = terminal.symbol("←", "<-")
        self._calls: dict[str, ToolCall] = {}
        self._files: dict[str, str] = {}
        self._is_thinking = False

    def show(self, event: Event) -> None:
        """Show one event."""
        match event:
            case TextDelta():
                self._end_thought()
                self._terminal.answer(event.content)
            case ThinkingDelta():
                self._terminal.aside(event.content if self._is_thinking else event.content.lstrip())
                self._is_thinking = True
            case ToolCall():
                self._end_thought()
                self._calls[event.call_id] = event
                self._tool(self._call_mark, describe_call(event))
            case ToolResult():
                self._end_thought()
                self._tool(self._result_mark, describe_result(event, self._calls.get(event.call_id), self._files))
            case UnknownEvent(type="confirmation_request"):
                # Who is there was asked; else the end of the turn says what waits.
                self._end_thought()
            case UnknownEvent():
                self._end_thought()
                self._terminal.note(f"(an event of the unknown type {one_line(event.type, 40)})")
            case _:
                pass

    def _tool(self, mark: str, what: str) -> None:
        self._terminal.note(one_line(f"{mark} {what}", self._terminal.line_length), "cyan")

    def _end_thought(self) -> None:
        if self._is_thinking:
            self._is_thinking = False
            self._terminal.end_line()


def describe_call(call: ToolCall) -> str:
    """A tool call in one line: `retrieve(query='…', top_k=5)`."""
    arguments = ", ".join(f"{one_line(name, 40)}={_shown(value)}" for name, value in call.arguments.items())
    return f"{one_line(call.name, 60)}({arguments})"


def describe_result(result: ToolResult, call: ToolCall | None, files: dict[str, str]) -> str:
    """A tool result in one line: what it found and where, or how it begins.

    `files` are the names of files by id; those that the result tells are added.
    """
    name = one_line(result.name, 60)
    found = sources_in(result.result, arguments=call.arguments if call else None, image=result.image_attachment)
    if found:
        files.update((source.file_id, source.file_name) for source in found if source.file_id and source.file_name)
        where: dict[str | None, list[str]] = {}
        for entry in cited(found, files):
            where.setdefault(entry.file, []).append(entry.pages.removeprefix("p. "))
        places = [f"{file}{' p. ' if pages[0] else ''}{', '.join(pages)}" for file, pages in where.items() if file]
        count = f"{len(found)} passage{'' if len(found) == 1 else 's'}"
        return f"{name}: {count}{' from ' if places else ''}{'; '.join(places)}"
    return f"{name}: {_outcome(result.result)}"


def _outcome(value: JsonValue) -> str:
    """What a tool gave that found no passages: its text, where it is an object with one."""
    if not isinstance(value, dict):
        return _shown(value)
    text = next((text for name in ("content", "error") if isinstance(text := value.get(name), str) and text), value)
    if isinstance(text, str):
        # What a shell printed has colours, and marks for pasting.
        text = _ESCAPES.sub("", text)
    return f"{'failed: ' if value.get('is_error') is True else ''}{_shown(text)}"


@dataclass(frozen=True)
class Cited:
    """One place that an answer cites: a page of a file, or a file, with the best score of its passages."""

    file: str | None
    pages: str
    score: float | None

    @property
    def place(self) -> str:
        """The file and page in one phrase."""
        return " ".join(part for part in (self.file, self.pages) if part)


def cited(sources: Iterable[Source], files: Mapping[str, str] | None = None) -> list[Cited]:
    """The places that these sources name, each once, in the order in which they came; `files` are names by id."""
    sources = list(sources)
    names = {source.file_id: source.file_name for source in sources if source.file_id and source.file_name}
    names = {**(files or {}), **names}
    found: dict[tuple[str | None, str], Cited] = {}
    for source in sources:
        file = source.file_name or names.get(source.file_id or "") or source.file_id
        key = (file and one_line(file, 100), _pages(source))
        known = found.get(key)
        scores = [score for score in (source.score, known.score if known else None) if score is not None]
        found[key] = Cited(*key, max(scores, default=None))
    return list(found.values())


def show_sources(sources: Iterable[Source], terminal: Terminal) -> None:
    """The list of places after an answer: file, page, score."""
    places = cited(sources)
    if not places:
        return
    terminal.line()
    terminal.line("Sources", "bold")
    widest = max(cell_len(entry.file or NO_FILE) for entry in places)
    pages = max(len(entry.pages) for entry in places)
    for number, entry in enumerate(places, 1):
        score = "" if entry.score is None else f"score {entry.score:.2f}"
        file = set_cell_size(entry.file or NO_FILE, widest)
        row = f"{number:>3}  {file}  {entry.pages:<{pages}}  {score}"
        terminal.line(row.rstrip())


def show_outcome(turn: Turn, *, session_id: str | None, terminal: Terminal) -> None:
    """What follows the answer: its sources, what was not searched, and its cost."""
    terminal.end_line()
    show_sources(turn.sources, terminal)
    for index_id in turn.skipped_index_ids:
        terminal.warn(f"index {one_line(index_id, 80)} could not be queried; the answer does not stand on it")
    show_cost(turn.usage, session_id=session_id, terminal=terminal)


def show_cost(usage: Usage | None, *, session_id: str | None, terminal: Terminal) -> None:
    """The session and what the turn cost, in one line; what the service did not say is left out."""
    parts = [f"session {session_id}"] if session_id else []
    if usage is not None:
        parts += _usage_parts(usage)
    if parts:
        terminal.note(f" {terminal.symbol('·', '-')} ".join(parts))


def _usage_parts(usage: Usage) -> list[str]:
    parts: list[str] = []
    if usage.input_tokens is not None:
        parts.append(f"{usage.input_tokens:,} tokens in")
    if usage.output_tokens is not None:
        parts.append(f"{usage.output_tokens:,} tokens out")
    if usage.duration_ms:
        parts.append(f"{usage.duration_ms / 1000:.2f} s")
    return parts


def _pages(source: Source) -> str:
    if source.page is None:
        return ""
    if source.page_end is not None and source.page_end != source.page:
        return f"p. {source.page}-{source.page_end}"
    return f"p. {source.page}"


def _shown(value: JsonValue) -> str:
    """A JSON value, shortened for one line."""
    if isinstance(value, str):
        return repr(one_line(value, 80))
    if isinstance(value, list):
        shown = ", ".join(_shown(item) for item in value[:3])
        return f"[{shown}{', …' if len(value) > 3 else ''}]"
    return one_line(str(value), 80)
