"""What a hosted session cannot be given, and what to do instead."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import NoReturn

from langchain_core.tools import StructuredTool

from chat_sessions.core.errors import ConfigurationError

__all__ = ["check_arguments", "is_schema", "refuse_schema", "refuse_tools"]

# What LangChain code gives to any chat model, without a meaning here: which model answers and how is the service's.
_STANDARD_ARGUMENTS = frozenset(("max_retries", "max_tokens", "model", "stop", "streaming", "temperature", "timeout"))
_CLIENT_ARGUMENTS = frozenset(
    ("api_key", "base_url", "headers", "http_client", "organization_id", "project_id", "region", "timeouts")
)


def check_arguments(given: Mapping[str, object], fields: Mapping[str, object]) -> None:
    """Raise `ConfigurationError` for what pydantic would pass over without a word, or quote in its error."""
    has_client = given.get("client") is not None or given.get("session") is not None
    for name in given:
        if name in fields or name in _STANDARD_ARGUMENTS:
            continue
        if name == "api_key" and has_client:
            continue  # LangChain's own suite gives one to every model
        if name in _CLIENT_ARGUMENTS:
            raise ConfigurationError(
                f"{name} belongs to the client: make one, such as LlamaCloudChat({name}=...), and give it as client="
            )
        if close := difflib.get_close_matches(name, fields, n=1, cutoff=0.8):
            raise ConfigurationError(f"SessionChatModel has no argument {name}; did you mean {close[0]}?")
    for name in ("client", "session"):
        value = given.get(name)
        if value is not None and not hasattr(value, "aio"):
            raise ConfigurationError(
                f"{name} is of type {type(value).__name__}: give the sync client or session, whose async twin is "
                "reached by it"
            )


def is_schema(tool: object) -> bool:
    """Whether a tool is one that `create_agent` makes of a `response_format`: nothing is to run it."""
    return isinstance(tool, StructuredTool) and tool.func is None and tool.coroutine is None


def refuse_schema() -> NoReturn:
    """Raise `NotImplementedError` with what to do where an answer in a form is wanted."""
    raise NotImplementedError(
        "a hosted session answers in words and takes no schema: pass its answer to a model that has "
        "with_structured_output, or ask for JSON in the prompt and use JsonOutputParser"
    )


def refuse_tools() -> NoReturn:
    """Raise `NotImplementedError` with what to do where tools of one's own are wanted."""
    raise NotImplementedError(
        "a hosted session runs the tools of its service and cannot call yours: give your tools to an agent of your "
        "own, and the session to that agent as one of them (SessionChatModel.as_tool)"
    )
