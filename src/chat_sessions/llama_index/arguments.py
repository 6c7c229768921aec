"""The client that an adapter stands on, and the one place of this adapter that knows a service by name."""

from __future__ import annotations

from chat_sessions.core.errors import ConfigurationError
from chat_sessions.session.backend import Backend

__all__ = ["client_or_default"]


def client_or_default(client: Backend | None) -> Backend:
    """This client, or one made from the environment.

    Raises `ConfigurationError` for what is no client, for an async one (its sync twin is the one that has both),
    and where there is neither a client nor a key.
    """
    if client is None:
        from chat_sessions.llama_cloud import LlamaCloudChat

        return LlamaCloudChat()
    if not hasattr(client, "session"):
        # Not the value itself: it may be a key.
        raise ConfigurationError(
            f"client is of type {type(client).__name__}: give a client, such as LlamaCloudChat(api_key=...)"
        )
    if not hasattr(client, "aio"):
        raise ConfigurationError(
            f"{type(client).__name__} is an async client: give the sync one, async methods go through its .aio"
        )
    return client
