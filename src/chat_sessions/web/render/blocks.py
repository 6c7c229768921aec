"""A turn as blocks in order: text, thinking, tool runs. Made from a stored turn, or update by update."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from chat_sessions.core.events import Text, TextDelta, Thinking, ThinkingDelta
from chat_sessions.core.turn import RunBegan, RunEnded, ToolRun, Turn, Update

__all__ = ["Block", "Blocks", "Run", "Words"]


@dataclass
class Words:
    """A segment of the answer, or of the agent's thinking."""

    is_thinking: bool
    _parts: list[str] = field(default_factory=list[str])
    length: int = 0

    def add(self, text: str) -> None:
        """Add a piece, in constant time."""
        self._parts.append(text)
        self.length += len(text)

    @property
    def text(self) -> str:
        """The whole segment."""
        if len(self._parts) > 1:
            self._parts[:] = ["".join(self._parts)]
        return self._parts[0] if self._parts else ""


@dataclass
class Run:
    """A tool run; `seconds` is None if it was not seen as it happened."""

    run: ToolRun
    seconds: float | None = None


Block = Words | Run


class Blocks:
    """The blocks so far. A final repeats its deltas, so of a live turn only deltas count."""

    def __init__(self) -> None:
        self.items: list[Block] = []
        self._runs: dict[int, tuple[Run, float | None]] = {}

    @classmethod
    def of(cls, turn: Turn) -> Blocks:
        """Return the blocks of a turn, in which each segment is one event."""
        made = cls()
        made._take(turn.updates, finals=True)
        return made

    @property
    def runs(self) -> list[Run]:
        """The tool runs, in the order of their calls."""
        return [block for block in self.items if isinstance(block, Run)]

    def add(self, update: Update, at: float | None = None) -> None:
        """Add what an event brought, at this time in seconds."""
        self._take((update,), finals=False, at=at)

    def _take(self, updates: Iterable[Update], *, finals: bool, at: float | None = None) -> None:
        for update in updates:
            match update:
                case TextDelta() | ThinkingDelta():
                    self._grow(update.content, is_thinking=isinstance(update, ThinkingDelta))
                case Text() | Thinking() if finals:
                    self._grow(update.content, is_thinking=isinstance(update, Thinking))
                case RunBegan():
                    block = Run(update.run)
                    self._runs[update.number] = block, at
                    self.items.append(block)
                case RunEnded() if update.number in self._runs:
                    block, began = self._runs[update.number]
                    block.run = update.run
                    if at is not None and began is not None:
                        block.seconds = at - began
                case _:
                    pass

    def _grow(self, text: str, *, is_thinking: bool) -> None:
        last = self.items[-1] if self.items else None
        if not isinstance(last, Words) or last.is_thinking is not is_thinking:
            last = Words(is_thinking)
            self.items.append(last)
        last.add(text)
