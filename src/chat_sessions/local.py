"""The Chat API on this machine, with a client of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import httpx

from chat_sessions.llama_cloud import LlamaCloudChat
from chat_sessions.llama_cloud.settings import MOST_INDEXES
from chat_sessions.server import ServerThread
from chat_sessions.session import Timeouts

__all__ = ["LocalServer"]


class LocalServer(ServerThread):
    """A real HTTP server on 127.0.0.1 that speaks the Chat API over your own files.

    ```python
    with LocalServer(indexes={"idx-docs": "docs/"}) as server:
        chat = server.client()
    ```

    It needs no key, no account and no model. See `ServerThread` for the arguments and what they raise.
    """

    def client(
        self,
        *,
        index_ids: Sequence[str] | None = None,
        project_id: str | None = None,
        organization_id: str | None = None,
        headers: Mapping[str, str] | None = None,
        http_client: httpx.Client | Callable[[], httpx.Client] | None = None,
        async_http_client: httpx.AsyncClient | Callable[[], httpx.AsyncClient] | None = None,
        timeouts: Timeouts | None = None,
        max_retries: int = 2,
        max_event_bytes: int = 16 * 1024 * 1024,
        max_prompt_chars: int | None = 1000,
    ) -> LlamaCloudChat:
        """Make a client of this server; the arguments are those of `LlamaCloudChat`.

        Without `index_ids`, its sessions ask all indexes, if there are at most 10, unless they name others. Proxies
        from the environment are not used. The server takes prompts of 1,000 characters, whatever the client checks.

        Raises `ConfigurationError` before the server is started and after it is closed.
        """
        if index_ids is None and len(self.index_ids) <= MOST_INDEXES:
            index_ids = self.index_ids
        return LlamaCloudChat(
            api_key=self.api_key,
            base_url=self.url,
            index_ids=index_ids,
            project_id=project_id,
            organization_id=organization_id,
            headers=headers,
            http_client=http_client,
            async_http_client=async_http_client,
            timeouts=timeouts,
            max_retries=max_retries,
            max_event_bytes=max_event_bytes,
            max_prompt_chars=max_prompt_chars,
            # A proxy from the environment would get this machine's address, and the key.
            trust_env=False,
        )
