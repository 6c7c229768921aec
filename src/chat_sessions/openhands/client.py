"""The clients of an OpenHands Agent Server; what they do is in `endpoints`."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Mapping, Sequence

import httpx
from pydantic import JsonValue, SecretStr

from chat_sessions.http.async_client import AsyncHTTPClient
from chat_sessions.http.client import HTTPClient
from chat_sessions.http.secrets import as_secret, concealed
from chat_sessions.http.settings import AsyncGivenClient, GivenClient
from chat_sessions.openhands.async_endpoints import AsyncEndpoints
from chat_sessions.openhands.confirmation import OnConfirmation
from chat_sessions.openhands.endpoints import Endpoints
from chat_sessions.openhands.settings import Settings
from chat_sessions.session.deadlines import Timeouts

__all__ = ["AsyncOpenHandsChat", "OpenHandsChat"]


class OpenHandsChat(Endpoints):
    """A client of an OpenHands Agent Server: its conversations as sessions.

    - `base_url`: where the server is, else `OPENHANDS_BASE_URL`.
    - `api_key`: the server's session key, else `OPENHANDS_API_KEY`; a server may ask for none.
    - `llm`: the model of new conversations: a name (with `LLM_API_KEY`, `LLM_BASE_URL`) or the server's own
      settings as a dict; else `LLM_MODEL`. It streams unless `"stream": False` is among them. Or a profile that
      the server keeps: `{"profile": "its name"}`.
    - `agent`: the agent of new conversations: its settings as a dict, or the name or id of an agent profile on
      the server (1.18 has none).
    - `tools`: names (or settings) of the server's tools, e.g. `["terminal", "file_editor"]`; default none.
    - `workspace`: the folder on the server's machine that the agent works in, or a workspace's settings.
    - `conversation`: more fields of `POST /api/conversations`, as they are: `max_iterations`,
      `confirmation_policy`, `autotitle`, `tags`, `agent_settings`, ...
    - `on_confirmation`: called when a policy makes the agent wait for permission to act. True allows the actions,
      False or a reason refuses them, and the turn continues; without it the turn ends with an error that says so.
    - `headers`: sent with each request, and to open a websocket.
    - `verify`: False, an SSL context, or a file or folder of certificates, instead of the usual authorities.
    - `proxy`: an address such as `http://127.0.0.1:3128` or `socks5://...`; default the environment's. A websocket
      needs `python-socks` for the latter.
    - `trust_env`: whether the environment names a proxy or certificates.
    - `http2`: use HTTP/2 if the server offers it; needs the `h2` package. Websockets stay on HTTP/1.1.
    - `http_client`, `async_http_client`: an `httpx.Client` and an `httpx.AsyncClient` of yours to use for requests
      instead of our connections, or functions that make them; you close them. An async client serves one event
      loop, a function is called in each. Websockets take `headers`, `verify`, `proxy` and `trust_env` alone.
    - `timeouts`: see `Timeouts`; `idle` is 600 s by default, because a tool may be silent for minutes.
    - `max_retries`: how often a request that may be repeated is retried, with backoff.
    - `max_event_bytes`: the largest event accepted, default 16 MiB.

    Raises `ConfigurationError` for settings that cannot work. Thread-safe. Needs the extra `openhands`.
    """

    def __init__(
        self,
        *,
        base_url: str | None = None,
        api_key: str | SecretStr | None = None,
        llm: Mapping[str, JsonValue] | str | None = None,
        agent: Mapping[str, JsonValue] | str | None = None,
        tools: Sequence[str | Mapping[str, JsonValue]] | None = None,
        workspace: Mapping[str, JsonValue] | str | os.PathLike[str] | None = None,
        conversation: Mapping[str, JsonValue] | None = None,
        on_confirmation: OnConfirmation | None = None,
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
    ) -> None:
        # A traceback may show local variables.
        api_key, llm, agent, tools = as_secret(api_key), concealed(llm), concealed(agent), concealed(tools)
        workspace, conversation, headers = concealed(workspace), concealed(conversation), concealed(headers)
        settings = Settings.resolve(
            base_url=base_url,
            api_key=api_key,
            llm=llm,
            agent=agent,
            tools=tools,
            workspace=workspace,
            conversation=conversation,
            headers=headers,
            verify=verify,
            proxy=proxy,
            trust_env=trust_env,
            http2=http2,
            timeouts=timeouts,
            max_retries=max_retries,
            max_event_bytes=max_event_bytes,
        )
        self._connect(
            settings,
            on_confirmation,
            None if http_client is None else GivenClient(http_client),
            None if async_http_client is None else AsyncGivenClient(async_http_client),
        )

    def _connect(
        self,
        settings: Settings,
        on_confirmation: OnConfirmation | None = None,
        given: GivenClient | None = None,
        async_given: AsyncGivenClient | None = None,
    ) -> None:
        self._settings = settings
        self._on_confirmation = on_confirmation
        self._kinds = ("session", "events")
        self._given = on_confirmation, given, async_given
        self._http = HTTPClient(settings, given)
        self._aio = AsyncOpenHandsChat.from_settings(settings, on_confirmation, async_given)

    @property
    def aio(self) -> AsyncOpenHandsChat:
        """The async twin with the same settings, always the same one."""
        return self._aio


class AsyncOpenHandsChat(AsyncEndpoints):
    """The async twin of `OpenHandsChat`: the same arguments, the same methods to await.

    One object works with any number of `asyncio.run` calls, and with event loops in many threads: each connection
    belongs to one event loop. asyncio only.
    """

    def __init__(
        self,
        *,
        base_url: str | None = None,
        api_key: str | SecretStr | None = None,
        llm: Mapping[str, JsonValue] | str | None = None,
        agent: Mapping[str, JsonValue] | str | None = None,
        tools: Sequence[str | Mapping[str, JsonValue]] | None = None,
        workspace: Mapping[str, JsonValue] | str | os.PathLike[str] | None = None,
        conversation: Mapping[str, JsonValue] | None = None,
        on_confirmation: OnConfirmation | None = None,
        headers: Mapping[str, str] | None = None,
        verify: ssl.SSLContext | bool | str | os.PathLike[str] = True,
        proxy: str | None = None,
        trust_env: bool = True,
        http2: bool = False,
        http_client: httpx.AsyncClient | Callable[[], httpx.AsyncClient] | None = None,
        timeouts: Timeouts | None = None,
        max_retries: int = 2,
        max_event_bytes: int = 16 * 1024 * 1024,
    ) -> None:
        # A traceback may show local variables.
        api_key, llm, agent, tools = as_secret(api_key), concealed(llm), concealed(agent), concealed(tools)
        workspace, conversation, headers = concealed(workspace), concealed(conversation), concealed(headers)
        settings = Settings.resolve(
            base_url=base_url,
            api_key=api_key,
            llm=llm,
            agent=agent,
            tools=tools,
            workspace=workspace,
            conversation=conversation,
            headers=headers,
            verify=verify,
            proxy=proxy,
            trust_env=trust_env,
            http2=http2,
            timeouts=timeouts,
            max_retries=max_retries,
            max_event_bytes=max_event_bytes,
        )
        given = None if http_client is None else AsyncGivenClient(http_client)
        self._connect(settings, on_confirmation, given)

    def _connect(
        self, settings: Settings, on_confirmation: OnConfirmation | None = None, given: AsyncGivenClient | None = None
    ) -> None:
        self._settings = settings
        self._on_confirmation = on_confirmation
        self._kinds = ("session", "events")
        self._given = on_confirmation, given
        self._http = AsyncHTTPClient(settings, given)
