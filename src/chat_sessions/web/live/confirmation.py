"""Actions that an agent wants to take, and the answer from the page."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from pydantic import JsonValue

from chat_sessions.core.events import Session

__all__ = ["Action", "Answer", "Confirmation", "Pending", "Respond"]

Answer = bool | str


class Action(Protocol):
    """An action as a backend describes it. `summary` and `risk` may be empty."""

    @property
    def name(self) -> str:
        """The tool."""
        ...

    @property
    def arguments(self) -> Mapping[str, JsonValue]:
        """Its arguments."""
        ...

    @property
    def summary(self) -> str:
        """What it does, in the agent's words."""
        ...

    @property
    def risk(self) -> str:
        """How dangerous the service takes it to be."""
        ...


Pending: TypeAlias = Callable[[Session], Iterable[Action]]
"""Returns the actions with which a stored session waits for permission."""
Respond: TypeAlias = Callable[[str, Answer], Awaitable[object]]
"""Allows or refuses the actions with which a session waits, by its id."""


@dataclass(frozen=True)
class Confirmation:
    """Actions that are allowed or refused together. The answer is True, False, or why they are refused.

    `key` tells an answer to these actions from one to others that a page showed before.
    """

    actions: list[tuple[str, str, str]]
    answer: asyncio.Future[Answer]
    key: str = field(default_factory=lambda: secrets.token_hex(8))

    @classmethod
    def of(cls, actions: Iterable[Action]) -> Confirmation:
        """Make one that waits for its answer."""
        shown = [
            (
                action.name,
                json.dumps(dict(action.arguments), indent=2, ensure_ascii=False),
                " ".join(filter(None, (action.summary, f"Risk: {action.risk}." if action.risk else ""))),
            )
            for action in actions
        ]
        return cls(shown, asyncio.get_running_loop().create_future())

    def give(self, answer: Answer) -> None:
        """Answer; only the first answer counts."""
        if not self.answer.done():
            self.answer.set_result(answer)
