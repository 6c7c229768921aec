"""The Chat API on this machine, with a client of its own."""

from __future__ import annotations

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
        self, *, timeouts: Timeouts | None = None, max_retries: int = 2, max_event_bytes: int = 16 * 1024 * 1024
    ) -> LlamaCloudChat:
        """Make a client of this server. Its sessions ask all indexes, if there are at most 10, unless they name others.

        Proxies from the environment are not used. Raises `ConfigurationError` before the server is started and after
        it is closed.
        """
        return LlamaCloudChat(
            api_key=self.api_key,
            base_url=self.url,
            index_ids=self.index_ids if len(self.index_ids) <= MOST_INDEXES else None,
            timeouts=timeouts,
            max_retries=max_retries,
            max_event_bytes=max_event_bytes,
            # A proxy from the environment would get this machine's address, and the key.
            trust_env=False,
        )
