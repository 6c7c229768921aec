"""The default client: the only place in this adapter that names a service."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from chat_sessions.session import Backend

__all__ = ["DEFAULT_SERVICE", "client_or_default", "load_default_client"]

DEFAULT_SERVICE = "llama_cloud"


def client_or_default(client: Backend | None, **settings: Any) -> Backend:
    """Return the client given, else a `LlamaCloudChat` with these settings and, for the others, those of the
    environment.

    Raises `ConfigurationError` if there is no key.
    """
    if client is not None:
        return client
    from chat_sessions.llama_cloud import LlamaCloudChat

    return LlamaCloudChat(**settings)


def load_default_client() -> None:
    """Import what the default client is made of: half a second, in which an event loop would stand still."""
    import_module("chat_sessions.llama_cloud")
