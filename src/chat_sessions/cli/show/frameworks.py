"""A turn as the frameworks that are installed see it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib.util import find_spec
from typing import Any

from chat_sessions.core.events import UserInput
from chat_sessions.core.turn import ToolRun, Turn

__all__ = ["turn_views"]


def turn_views() -> dict[str, Callable[[Turn], Any]]:
    """What each installed framework makes of a turn, by its name: messages, and the spans of a trace."""
    views = {"LlamaIndex": ("llama_index.core", _llama_index), "LangChain": ("langchain_core", _langchain)}
    return {name: view for name, (module, view) in views.items() if _is_installed(module)}


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _llama_index(turn: Turn) -> Any:
    from chat_sessions.llama_index import messages_of
    from chat_sessions.llama_index.traces.turn_spans import span_name

    def tool(run: ToolRun) -> dict[str, Any]:
        retrieval = [_span(f"{span_name(run.name)}.retrieve", passages=len(run.sources))] if run.sources else []
        return _span(f"{span_name(run.name)}.call", retrieval, arguments=dict(run.arguments), status=run.status)

    deltas = [_span("ChatSession.deltas")] if turn.text else []
    stream = _span("ChatSession.stream", deltas, usage=turn.usage, error=turn.error)
    return {
        "messages": [message.model_dump(mode="json") for message in messages_of([turn])],
        "spans": _span("SessionChatEngine.stream_chat", [stream, *map(tool, turn.tool_runs)]),
    }


def _langchain(turn: Turn) -> Any:
    from chat_sessions.langchain import SessionChatModel, events_to_messages

    def tool(run: ToolRun) -> dict[str, Any]:
        retrieval = [_span(run.name, run_type="retriever", passages=len(run.sources))] if run.sources else []
        arguments = dict(run.arguments)
        return _span(run.name, retrieval, run_type="tool", arguments=arguments, status=run.status)

    prompt = [UserInput(content=turn.prompt)] if turn.prompt is not None else []
    tools = map(tool, turn.tool_runs)
    return {
        "messages": [message.model_dump(mode="json") for message in events_to_messages([*prompt, *turn.events])],
        "runs": _span(SessionChatModel.__name__, tools, run_type="llm", usage=turn.usage, error=turn.error),
    }


def _span(name: str, children: Iterable[dict[str, Any]] = (), **about: Any) -> dict[str, Any]:
    """A span as JSON; what is None or empty is left out."""
    fields = {"name": name, **about, "children": list(children)}
    return {key: value for key, value in fields.items() if value not in (None, [], {})}
