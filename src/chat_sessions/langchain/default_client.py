"""The default client: the only place in this adapter that names a service."""

from __future__ import annotations

from typing import Any

from chat_sessions.session import Backend

__all__ = ["DEFAULT_SERVICE", "client_or_default"]

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
