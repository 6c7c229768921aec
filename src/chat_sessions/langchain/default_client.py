"""The client for callers that give none: the one place in this adapter that names a service."""

from __future__ import annotations

from typing import Any

from chat_sessions.session import Backend

__all__ = ["DEFAULT_SERVICE", "client_or_default"]

DEFAULT_SERVICE = "llama_cloud"


def client_or_default(client: Backend | None, **settings: Any) -> Backend:
    """Return the client given, else a `LlamaCloudChat` with these settings, and the environment for the others.

    Raises `ConfigurationError` if there is no key.
    """
    if client is not None:
        return client
    from chat_sessions.llama_cloud import LlamaCloudChat

    return LlamaCloudChat(**settings)
