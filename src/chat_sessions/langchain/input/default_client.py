"""The default client: the only place in this adapter that names services."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from chat_sessions.session import Backend

__all__ = ["DEFAULT_SERVICE", "SERVICES", "client_or_default", "load_default_client"]

DEFAULT_SERVICE = "llama_cloud"
SERVICES = (DEFAULT_SERVICE, "openhands")


def client_or_default(client: Backend | None, **settings: Any) -> Backend:
    """Return the client given, else a `LlamaCloudChat` with these settings; the environment supplies the others.

    Raises `ConfigurationError` if there is no key.
    """
    if client is not None:
        return client
    from chat_sessions.llama_cloud import LlamaCloudChat

    return LlamaCloudChat(**settings)


def load_default_client() -> None:
    """Import the default client's modules now: it takes half a second, which would block an event loop later."""
    import_module("chat_sessions.llama_cloud")
