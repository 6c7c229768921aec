"""The default client: the only place in this adapter that names services."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from chat_sessions.core.errors import ConfigurationError
from chat_sessions.session import Backend

__all__ = ["DEFAULT_SERVICE", "SERVICES", "check_client", "client_or_default", "load_default_client"]

DEFAULT_SERVICE = "llama_cloud"
SERVICES = (DEFAULT_SERVICE, "openhands")


def client_or_default(client: Backend | None, **settings: Any) -> Backend:
    """Return the client given, else a `LlamaCloudChat` with these settings; the environment supplies the others.

    Raises `ConfigurationError` for anything but a sync client, and if there is neither a client nor a key.
    """
    if client is not None:
        check_client(client)
        return client
    from chat_sessions.llama_cloud import LlamaCloudChat

    return LlamaCloudChat(**settings)


def check_client(client: Backend) -> None:
    """Raise `ConfigurationError` for anything but a sync client: only that one has both sides."""
    if not (hasattr(client, "session") and hasattr(client, "aio")):
        # Without the value, which may be a key.
        raise ConfigurationError(
            f"client is of type {type(client).__name__}: give a sync client, such as LlamaCloudChat(api_key=...); "
            "async methods use its twin"
        )


def load_default_client() -> None:
    """Import the default client's modules now: it takes half a second, which would block an event loop later."""
    import_module("chat_sessions.llama_cloud")
