"""The arguments of a model and of a call: which exist, which have no effect here, and what to use instead."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, NoReturn, TypedDict

from langchain_core.callbacks import Callbacks
from langchain_core.language_models import ModelProfile
from langchain_core.rate_limiters import BaseRateLimiter
from langchain_core.tools import StructuredTool
from pydantic import SecretStr

from chat_sessions.core.arguments import refuse_unknown
from chat_sessions.core.errors import ConfigurationError, UnsupportedError
from chat_sessions.http.secrets import Concealed
from chat_sessions.langchain.content import Output
from chat_sessions.langchain.input.default_client import client_or_default, load_default_client
from chat_sessions.langchain.input.prompt import PriorPolicy, SystemPolicy, warn_of_input
from chat_sessions.session import Backend, ChatSession, Timeouts
from chat_sessions.session.stored.busy import check_wait

__all__ = [
    "ModelArguments",
    "check_call",
    "check_fields",
    "is_schema",
    "model_arguments",
    "model_profile",
    "refuse_schema",
    "refuse_tools",
]


class ClientArguments(TypedDict, total=False):
    """The arguments of the `LlamaCloudChat` that a model makes."""

    api_key: str | SecretStr | None
    base_url: str | None
    region: str | None
    project_id: str | None
    organization_id: str | None
    timeout: float | None
    timeouts: Timeouts
    max_retries: int
    headers: Mapping[str, str]
    verify: object
    proxy: str | None
    trust_env: bool
    http2: bool
    http_client: object
    async_http_client: object
    max_event_bytes: int
    max_prompt_chars: int | None


class ModelArguments(ClientArguments, total=False):
    """What `SessionChatModel` accepts: its fields, and the arguments of its client."""

    client: Backend | None
    session: ChatSession | None
    session_id: str | None
    index_ids: list[str] | None
    require_all_indexes: bool
    wait_if_busy: bool | float | None
    trace_tools: bool
    system: SystemPolicy
    on_prior_messages: PriorPolicy
    session_from_messages: bool
    model_name: str | None
    output: Output

    name: str | None
    callbacks: Callbacks
    tags: list[str] | None
    metadata: dict[str, Any] | None
    verbose: bool
    cache: object
    custom_get_token_ids: Callable[[str], list[int]] | None
    rate_limiter: BaseRateLimiter | None
    disable_streaming: bool | Literal["tool_calling"]
    streaming: bool | None
    output_version: str | None
    profile: ModelProfile | None


# Standard arguments of LangChain's chat models that mean nothing here: the service chooses the model and its settings.
_STANDARD = frozenset(
    (
        "frequency_penalty",
        "max_completion_tokens",
        "max_tokens",
        "model",
        "model_kwargs",
        "n",
        "presence_penalty",
        "reasoning_effort",
        "seed",
        "stop",
        "stop_sequences",
        "stream_usage",
        "temperature",
        "top_k",
        "top_p",
    )
)
# LangChain's own test suites pass these to every model, even to one that has a client.
_CLIENT_STANDARD = frozenset(("api_key", "max_retries", "timeout"))
_CLIENT = frozenset(ClientArguments.__annotations__)
_CALL = frozenset(("index_ids", "require_all_indexes", "session_id", "stream", "wait_if_busy"))
_TOOLS = frozenset(("functions", "parallel_tool_calls", "tool_choice", "tools"))
_SCHEMAS = frozenset(("json_schema", "ls_structured_output_format", "response_format"))


def model_arguments(given: Mapping[str, Any], fields: Iterable[str]) -> dict[str, Any]:
    """Return the fields of a model from its arguments, with a client made from the client's arguments.

    Raises `ConfigurationError` for an unknown argument. Warns of one that has no effect here.
    """
    fields = frozenset(fields)
    taken: dict[str, Any] = Concealed()
    client: dict[str, Any] = Concealed()
    for name in given:  # without the values, which a traceback may show
        if name in fields:
            taken[name] = given[name]
        elif name in _CLIENT:
            client[name] = given[name]
        elif name in _STANDARD:
            _warn_of_standard(name, given[name])
        else:
            _refuse_unknown("SessionChatModel", name, fields | _CLIENT)
    if taken.pop("cache", None) not in (None, False):
        raise ConfigurationError(
            "cache: a session cannot be cached: the turn would never reach it; leave cache at False"
        )
    if (wait := taken.get("wait_if_busy")) is not None:
        check_wait(wait)
    for name in ("client", "session"):
        _check_sync(name, taken.get(name))
    if taken.get("client") is not None or taken.get("session") is not None:
        for name in client:
            if name not in _CLIENT_STANDARD:
                raise ConfigurationError(f"{name} belongs to the client: give it to the client, or leave out client=")
            warn_of_input(f"{name} is not used: it belongs to the client, and there is one already")
    elif client := Concealed({name: value for name, value in client.items() if value is not None}):
        if (timeout := client.pop("timeout", None)) is not None:
            client["timeouts"] = Timeouts(first_event=timeout, idle=timeout)
        taken["client"] = client_or_default(None, **client)
    else:
        # The model makes its client at its first call, which may be in an event loop.
        load_default_client()
    return taken


def check_call(given: Mapping[str, Any]) -> None:
    """Check the arguments of a call. Raises `ConfigurationError` for an unknown one, and refuses tools."""
    for name, value in given.items():
        if name in _CALL:
            continue
        if name in _TOOLS:
            if value:
                refuse_tools()
        elif name in _SCHEMAS:
            if value is not None:
                refuse_schema()
        elif name in _STANDARD:
            _warn_of_standard(name, value)
        else:
            _refuse_unknown("a turn", name, _CALL)
    if (wait := given.get("wait_if_busy")) is not None:
        check_wait(wait)


def check_fields(given: Iterable[str], fields: Iterable[str]) -> None:
    """Raise `ConfigurationError` for a name that is not a field of the model."""
    fields = frozenset(fields)
    for name in given:
        if name not in fields:
            _refuse_unknown("SessionChatModel", name, fields)


def _warn_of_standard(name: str, value: object) -> None:
    if value not in (None, [], {}):
        warn_of_input(f"{name} is not sent: the service chooses the model and its settings")


def _refuse_unknown(whose: str, name: str, known: Iterable[str]) -> NoReturn:
    refuse_unknown(whose, name, known, otherwise=f"has no argument {name}; there are {', '.join(sorted(known))}")


def _check_sync(name: str, value: object) -> None:
    if value is not None and not hasattr(value, "aio"):
        raise ConfigurationError(
            f"{name} is of type {type(value).__name__}: give the sync client or session; async methods use its twin"
        )


def model_profile() -> ModelProfile:
    """Return what a hosted session can do, in LangChain's form."""
    return ModelProfile(
        text_inputs=True,
        image_inputs=False,
        pdf_inputs=False,
        audio_inputs=False,
        video_inputs=False,
        reasoning_output=True,
        text_outputs=True,
        tool_calling=False,
        structured_output=False,
    )


def is_schema(tool: object) -> bool:
    """Return whether `create_agent` made this tool from a `response_format`, so that nothing runs it."""
    return isinstance(tool, StructuredTool) and tool.func is None and tool.coroutine is None


def refuse_schema() -> NoReturn:
    """Raise `UnsupportedError` that says how to get an answer in a given form."""
    raise UnsupportedError(
        "a hosted session answers in text and takes no schema: pass its answer to a model that has "
        "with_structured_output, or ask for JSON in the prompt and use JsonOutputParser"
    )


def refuse_tools(*, has_none: bool = False) -> NoReturn:
    """Raise `UnsupportedError` that says how to use your own tools, or do without the list if it is empty."""
    if has_none:
        raise UnsupportedError(
            "a hosted session takes no tools, and this list has none: leave bind_tools out and use the model itself"
        )
    raise UnsupportedError(
        "a hosted session runs the tools of its service and cannot call yours: give your tools to an agent of your "
        "own, and the session to that agent as one of them (SessionChatModel.as_tool)"
    )
