"""The clients of the LlamaCloud Chat API; what they do is in `endpoints`."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Mapping, Sequence

import httpx
from pydantic import SecretStr

from chat_sessions.http.async_client import AsyncHTTPClient
from chat_sessions.http.client import HTTPClient
from chat_sessions.http.secrets import as_secret, concealed
from chat_sessions.http.settings import AsyncGivenClient, GivenClient, check_used
from chat_sessions.llama_cloud.async_endpoints import AsyncEndpoints
from chat_sessions.llama_cloud.endpoints import Endpoints
from chat_sessions.llama_cloud.settings import Region, Settings
from chat_sessions.session.deadlines import Timeouts

__all__ = ["AsyncLlamaCloudChat", "LlamaCloudChat"]


class LlamaCloudChat(Endpoints):
    """A client of the LlamaCloud (LlamaParse Platform) Chat API.

    Arguments come before the environment: `LLAMA_CLOUD_API_KEY` (or `LLAMA_PARSE_API_KEY`),
    `LLAMA_CLOUD_BASE_URL`, `LLAMA_CLOUD_PROJECT_ID`, `LLAMA_CLOUD_ORGANIZATION_ID` and
    `LLAMA_CLOUD_CUSTOM_HEADERS` (lines "Name: value"). Raises `ConfigurationError` without a key.

    - `base_url` or `region` ("us", "eu"): where the service is; default the US region.
    - `index_ids`: the indexes of sessions that name none.
    - `headers`: sent with each request.
    - `verify`: False, an SSL context, or a file or folder of certificates, instead of the usual authorities.
    - `proxy`: an address such as `http://127.0.0.1:3128` or `socks5://...`; default the environment's.
    - `trust_env`: whether the environment names a proxy or certificates.
    - `http2`: use HTTP/2 if the service offers it; needs the `h2` package. Each turn has its own connection.
    - `http_client`, `async_http_client`: an `httpx.Client` and an `httpx.AsyncClient` of yours to use instead of
      our connections, or functions that make them; you close them. An async client serves one event loop, a
      function is called in each. `verify`, `proxy` and `http2` are set on these clients, and refused beside them.
    - `timeouts`: see `Timeouts`.
    - `max_retries`: how often a read, a delete or a title is retried after a connection error, a 408, 429 or 5xx, with
      backoff, and respecting `Retry-After` up to 60 s. A turn or a create is sent again only after a refused connection
      or a 429, which prove that it did not land.
    - `max_event_bytes`: the largest event accepted, default 16 MiB.
    - `max_prompt_chars`: the service's limit, checked before sending; None turns the check off.

    Thread-safe. Connections are made at the first request and closed by `close()` or by leaving a `with` block.
    """

    def __init__(
        self,
        *,
        api_key: str | SecretStr | None = None,
        base_url: str | None = None,
        region: Region | None = None,
        project_id: str | None = None,
        organization_id: str | None = None,
        index_ids: Sequence[str] | None = None,
        headers: Mapping[str, str] | None = None,
        verify: ssl.SSLContext | bool | str | os.PathLike[str] = True,
        proxy: str | None = None,
        trust_env: bool = True,
        http2: bool = False,
        http_client: httpx.Client | Callable[[], httpx.Client] | None = None,
        async_http_client: httpx.AsyncClient | Callable[[], httpx.AsyncClient] | None = None,
        timeouts: Timeouts | None = None,
        max_retries: int = 2,
        max_event_bytes: int = 16 * 1024 * 1024,
        max_prompt_chars: int | None = 1000,
    ) -> None:
        # A traceback may show local variables.
        api_key, headers = as_secret(api_key), concealed(headers)
        settings = Settings.resolve(
            api_key=api_key,
            base_url=base_url,
            region=region,
            project_id=project_id,
            organization_id=organization_id,
            index_ids=index_ids,
            headers=headers,
            verify=verify,
            proxy=proxy,
            trust_env=trust_env,
            http2=http2,
            timeouts=timeouts,
            max_retries=max_retries,
            max_event_bytes=max_event_bytes,
            max_prompt_chars=max_prompt_chars,
        )
        check_used(
            verify=verify,
            proxy=proxy,
            trust_env=trust_env,
            http2=http2,
            http_client=http_client,
            async_http_client=async_http_client,
        )
        self._connect(
            settings,
            None if http_client is None else GivenClient(http_client),
            None if async_http_client is None else AsyncGivenClient(async_http_client),
        )

    def _connect(
        self, settings: Settings, given: GivenClient | None = None, async_given: AsyncGivenClient | None = None
    ) -> None:
        self._settings = settings
        self._given = given, async_given
        self._http = HTTPClient(settings, given)
        self._aio = AsyncLlamaCloudChat.from_settings(settings, async_given)

    @property
    def aio(self) -> AsyncLlamaCloudChat:
        """The async twin with the same settings, always the same one."""
        return self._aio


class AsyncLlamaCloudChat(AsyncEndpoints):
    """The async twin of `LlamaCloudChat`: the same arguments, the same methods to await.

    One object works with any number of `asyncio.run` calls, and with event loops in many threads: each connection
    belongs to one event loop. asyncio only.
    """

    def __init__(
        self,
        *,
        api_key: str | SecretStr | None = None,
        base_url: str | None = None,
        region: Region | None = None,
        project_id: str | None = None,
        organization_id: str | None = None,
        index_ids: Sequence[str] | None = None,
        headers: Mapping[str, str] | None = None,
        verify: ssl.SSLContext | bool | str | os.PathLike[str] = True,
        proxy: str | None = None,
        trust_env: bool = True,
        http2: bool = False,
        http_client: httpx.AsyncClient | Callable[[], httpx.AsyncClient] | None = None,
        timeouts: Timeouts | None = None,
        max_retries: int = 2,
        max_event_bytes: int = 16 * 1024 * 1024,
        max_prompt_chars: int | None = 1000,
    ) -> None:
        # A traceback may show local variables.
        api_key, headers = as_secret(api_key), concealed(headers)
        settings = Settings.resolve(
            api_key=api_key,
            base_url=base_url,
            region=region,
            project_id=project_id,
            organization_id=organization_id,
            index_ids=index_ids,
            headers=headers,
            verify=verify,
            proxy=proxy,
            trust_env=trust_env,
            http2=http2,
            timeouts=timeouts,
            max_retries=max_retries,
            max_event_bytes=max_event_bytes,
            max_prompt_chars=max_prompt_chars,
        )
        check_used(verify=verify, proxy=proxy, trust_env=trust_env, http2=http2, http_client=http_client)
        self._connect(settings, None if http_client is None else AsyncGivenClient(http_client))

    def _connect(self, settings: Settings, given: AsyncGivenClient | None = None) -> None:
        self._settings = settings
        self._given = (given,)
        self._http = AsyncHTTPClient(settings, given)
