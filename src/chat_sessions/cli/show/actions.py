"""Ask the user whether an OpenHands agent may act."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pydantic import JsonValue

from chat_sessions.cli.show.terminal import Terminal
from chat_sessions.cli.show.text import clean, one_line

if TYPE_CHECKING:
    from chat_sessions.openhands import ConfirmAction, ConfirmationRequest

__all__ = ["ask_permission", "confirm"]


def confirm(terminal: Terminal, request: ConfirmationRequest) -> bool | str:
    """Answer a request of an agent that waits for permission; see `ask_permission`."""
    return ask_permission([(_named(action), action.arguments) for action in request.actions], terminal)


def ask_permission(actions: Sequence[tuple[str, Mapping[str, JsonValue]]], terminal: Terminal) -> bool | str:
    """Ask whether the agent may take these actions: True, False, or the reason for refusing. No input refuses.

    Arguments are shown in full: the user cannot judge what is hidden.
    """
    terminal.end_line()
    for name, arguments in actions:
        terminal.notice(f"The agent wants to use {one_line(name, 60)}:")
        for key, value in arguments.items():
            shown = clean(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
            terminal.notice(f"  {one_line(key, 60)}: " + "\n    ".join(shown.splitlines()))
    answer = terminal.ask("Allow it? y allows, Enter refuses, anything else refuses and is sent to the agent:")
    if answer.lower() in ("y", "yes"):
        return True
    return False if answer.lower() in ("", "n", "no") else answer


def _named(action: ConfirmAction) -> str:
    return action.name if action.risk in ("", "UNKNOWN") else f"{action.name} (risk {action.risk})"
