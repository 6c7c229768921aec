"""A turn as the frameworks that are installed see it."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from chat_sessions.core.events import UserInput
from chat_sessions.core.turn import Turn

__all__ = ["turn_views"]


def turn_views() -> dict[str, Callable[[Turn], Any]]:
    """The messages that each installed framework makes of a turn, by its name."""
    views = {"LlamaIndex": ("llama_index.core", _llama_index), "LangChain": ("langchain_core", _langchain)}
    return {name: view for name, (module, view) in views.items() if _is_installed(module)}


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _llama_index(turn: Turn) -> Any:
    from chat_sessions.llama_index import messages_of

    return [message.model_dump(mode="json") for message in messages_of([turn])]


def _langchain(turn: Turn) -> Any:
    from chat_sessions.langchain import events_to_messages

    prompt = [UserInput(content=turn.prompt)] if turn.prompt is not None else []
    return [message.model_dump(mode="json") for message in events_to_messages([*prompt, *turn.events])]
