"""The parts of a graph's run, put so that each message is whole before the next one begins."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage

__all__ = ["OneAtATime", "Piece", "Update", "is_last"]


@dataclass(frozen=True, slots=True)
class Piece:
    """A message of a model, or a piece of one. `task` is the path of the node's run that it comes from."""

    task: str
    message: AIMessage | AIMessageChunk

    def continues(self, other: Piece) -> bool:
        """Return whether both belong to one message, if neither has ended it.

        A message may begin with the id of its run and continue with its provider's, or the other way round.
        """
        mine, its = self.message.id or "", other.message.id or ""
        return self.task == other.task and (mine == its or mine.startswith("lc_run-") != its.startswith("lc_run-"))


@dataclass(frozen=True, slots=True)
class Update:
    """What a node adds to the messages. `path` is the node's, with the graphs that it is in."""

    path: str
    messages: tuple[BaseMessage, ...]

    def holds(self, task: str) -> bool:
        """Return whether this task is a run of the node, or is within one."""
        return task.startswith(f"{self.path}:")


def is_last(piece: Piece) -> bool:
    """Return whether the message ends with this piece."""
    message = piece.message
    return not isinstance(message, AIMessageChunk) or message.chunk_position == "last"


class OneAtATime:
    """Puts the parts of nodes that run at the same time in order: while one message is written, the others wait."""

    def __init__(self) -> None:
        self._open: Piece | None = None
        self._held: list[Piece | Update] = []
        self._task_of: dict[str, str] = {}

    def add(self, part: Piece | Update) -> Iterator[Piece | Update]:
        """Yield the parts whose turn it is now."""
        if isinstance(part, Piece) and part.message.id:
            self._task_of[part.message.id] = part.task
        if self._open is not None and not self._is_of(self._open, part):
            self._held.append(part)
        elif self._open is not None and isinstance(part, Update):
            # The message broke off, and what waits may be the one that took its place in the same node.
            self._open = None
            self._held.append(part)
            yield from self._release()
        else:
            yield part
            if isinstance(part, Update) or is_last(part):
                self._open = None
            elif part.message.content:
                self._open = part
            if self._open is None:
                yield from self._release()

    def end(self) -> Iterator[Piece | Update]:
        """Yield what still waits, for a message that never ended."""
        while self._held:
            self._open = None
            yield from self._release()

    def _release(self) -> Iterator[Piece | Update]:
        held, self._held = self._held, []
        for waiting in held:
            yield from self.add(waiting)

    def _is_of(self, writing: Piece, part: Piece | Update) -> bool:
        if isinstance(part, Piece):
            return part.continues(writing)
        # Several runs of one node may write at the same time: their messages tell which of them has ended.
        tasks = {self._task_of[message.id] for message in part.messages if message.id in self._task_of}
        return part.holds(writing.task) and (not tasks or writing.task in tasks)
