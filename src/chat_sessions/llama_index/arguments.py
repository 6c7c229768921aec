"""The arguments of an engine or an agent: which exist, which have no effect here, and what to use instead.

The only place in this adapter that names a service, for the client that is made if you pass none.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import Any, TypedDict

from llama_index.core import Settings
from llama_index.core.callbacks import CallbackManager
from pydantic import SecretStr

from chat_sessions.core.arguments import refuse_unknown
from chat_sessions.core.errors import ConfigurationError
from chat_sessions.http.secrets import Concealed
from chat_sessions.session.backend import Backend
from chat_sessions.session.deadlines import Timeouts

__all__ = ["ClientArguments", "client_of", "client_or_default", "manager_of"]


class ClientArguments(TypedDict, total=False):
    """The arguments that an engine makes its client from. `timeout` is how many seconds it waits for each event."""

    api_key: str | SecretStr | None
    base_url: str | None
    project_id: str | None
    organization_id: str | None
    timeout: float | None
    max_retries: int | None


# Standard arguments of LlamaIndex engines that mean nothing here: the service chooses the model and its settings.
_STANDARD = frozenset(
    (
        "chat_mode",
        "max_tokens",
        "model",
        "similarity_top_k",
        "streaming",
        "temperature",
        "token_limit",
        "top_p",
        "use_async",
        "verbose",
    )
)


def client_of(
    whose: str, client: Backend | None, given: Mapping[str, Any], known: Iterable[str], *, takes: str
) -> Backend:
    """Return the client given, else one made from these arguments and the environment.

    Warns of an argument that has no effect here. Raises `ConfigurationError` for an unknown argument, for one of the
    client if you pass a client, and what `client_or_default` raises.
    """
    settings = Concealed[Any]()
    for name in given:  # without the values, which a traceback may show
        if name in ClientArguments.__annotations__:
            if given[name] is not None:
                settings[name] = given[name]
        elif name in _STANDARD:
            warnings.warn(
                f"{name} is not sent: the service chooses the model and its settings",
                UserWarning,
                stacklevel=3,
            )
        else:
            refuse_unknown(
                whose, name, {*known, *ClientArguments.__annotations__}, otherwise=f"takes no {name}: {takes}"
            )
    if client is not None and settings:
        raise ConfigurationError(
            f"{', '.join(settings)}: give it to the client, or leave out client= and one is made with it"
        )
    if (timeout := settings.pop("timeout", None)) is not None:
        settings["timeouts"] = Timeouts(first_event=timeout, idle=timeout)
    return client_or_default(client, **settings)


def manager_of(manager: CallbackManager | None) -> CallbackManager:
    """Return this manager, or that of the settings. Raises `ConfigurationError` for something else, such as a list."""
    if manager is None:
        return Settings.callback_manager
    if not isinstance(manager, CallbackManager):  # pyright: ignore[reportUnnecessaryIsInstance] - people give others
        raise ConfigurationError(
            f"callback_manager is of type {type(manager).__name__}: give a CallbackManager([...]) of your handlers"
        )
    return manager


def client_or_default(client: Backend | None, **settings: Any) -> Backend:
    """Return this client, or one made of these settings and the environment.

    Raises `ConfigurationError` for something that is not a client, for an async client (only the sync one has both
    sides), and if there is neither a client nor a key.
    """
    if client is None:
        from chat_sessions.llama_cloud import LlamaCloudChat

        return LlamaCloudChat(**settings)
    if not hasattr(client, "session"):
        # Without the value, which may be a key.
        raise ConfigurationError(
            f"client is of type {type(client).__name__}: give a client, such as LlamaCloudChat(api_key=...)"
        )
    if not hasattr(client, "aio"):
        raise ConfigurationError(
            f"{type(client).__name__} is an async client: give the sync one, async methods go through its .aio"
        )
    return client
