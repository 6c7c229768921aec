"""The one place that makes a client where none was given."""

from __future__ import annotations

from chat_sessions.session import Backend

__all__ = ["DEFAULT_SERVICE", "backend_or_default"]

DEFAULT_SERVICE = "llama_cloud"


def backend_or_default(client: Backend | None) -> Backend:
    """The client given, else a `LlamaCloudChat` made from the environment.

    Raises `ConfigurationError` if the environment holds no key.
    """
    if client is not None:
        return client
    from chat_sessions.llama_cloud import LlamaCloudChat

    return LlamaCloudChat()
