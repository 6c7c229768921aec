"""What the sync and the async client share: settings, checks, and the building of requests."""

from __future__ import annotations

from collections.abc import Sequence

import httpx

from chat_sessions.core.errors import ConfigurationError
from chat_sessions.llama_cloud.settings import Settings
from chat_sessions.llama_cloud.wire import Call
from chat_sessions.session.deadlines import Timeouts

__all__ = ["ERROR_BODY_LIMIT", "ClientBase"]

# How much of an error's body is read, in bytes: a proxy's page may be of any size.
ERROR_BODY_LIMIT = 64 * 1024
_READ_BACK_TIMEOUT = 10.0


class ClientBase:
    """A client without its connections."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def __repr__(self) -> str:
        given = {"project_id": self._settings.project_id, "organization_id": self._settings.organization_id}
        extra = "".join(f", {name}={value!r}" for name, value in given.items() if value is not None)
        return f"{type(self).__name__}(base_url={self._settings.base_url!r}{extra})"

    @property
    def service(self) -> str:
        """The service's name: "llama_cloud"."""
        return "llama_cloud"

    @property
    def base_url(self) -> str:
        """The service's address, without `/api/v1`."""
        return self._settings.base_url

    @property
    def timeouts(self) -> Timeouts:
        """The deadlines of this client's turns and requests."""
        return self._settings.timeouts

    @property
    def index_ids(self) -> tuple[str, ...] | None:
        """The indexes of sessions that have none of their own."""
        return self._settings.index_ids

    def queue_key(self, session_id: str) -> tuple[str, ...]:
        """What makes a session the same one for every client of this process."""
        return (self.service, self._settings.base_url, session_id)

    def check_turn(self, prompt: str, index_ids: Sequence[str] | None) -> None:
        """Raise `ConfigurationError` for a turn that the service would refuse."""
        self._settings.check_prompt(prompt)
        self._settings.check_indexes(index_ids)

    def _request(
        self, client: httpx.Client | httpx.AsyncClient, call: Call, *, timeout: httpx.Timeout, accept: str | None = None
    ) -> httpx.Request:
        headers = self._settings.request_headers()
        if accept is not None:
            # A compressed stream is a buffered stream, with most proxies.
            headers |= {"Accept": accept, "Accept-Encoding": "identity", "Cache-Control": "no-store"}
        return client.build_request(
            call.method,
            self._settings.base_url + call.path,
            params={**call.params, **self._settings.scope},
            json=call.body,
            headers=headers,
            timeout=timeout,
        )

    def _plain_timeout(self, limit: float | None = None) -> httpx.Timeout:
        timeouts = self._settings.timeouts
        answer = timeouts.first_event
        if limit is not None:
            answer = min(limit, _READ_BACK_TIMEOUT if answer is None else min(answer, _READ_BACK_TIMEOUT))
        return httpx.Timeout(answer, connect=timeouts.connect, pool=timeouts.connect)

    def _turn_timeout(self) -> httpx.Timeout:
        timeouts = self._settings.timeouts
        bounds = [bound for bound in (timeouts.first_event, timeouts.total) if bound is not None]
        return httpx.Timeout(min(bounds, default=None), connect=timeouts.connect, pool=timeouts.connect)

    @staticmethod
    def _check_page_size(page_size: int | None) -> None:
        if page_size is not None and page_size < 1:
            raise ConfigurationError(f"page_size must be 1 or more; got {page_size}")
