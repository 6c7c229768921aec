"""How a backend's requests are built, how long they may take, and when they are retried. No I/O."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import lru_cache
from typing import Protocol

import httpx
from pydantic import SecretStr

from chat_sessions.core.errors import APIStatusError, ConfigurationError
from chat_sessions.http.calls import Call, retry_delay
from chat_sessions.http.connection.exchange import SHORTEST_READ, remaining
from chat_sessions.http.connection.route import Route
from chat_sessions.session.deadlines import Timeouts

__all__ = ["HTTPSettings", "Requests"]

_log = logging.getLogger("chat_sessions.http")

_READ_BACK_TIMEOUT = 10.0
_LONGEST_WAIT = 8.0
# Parsing an address takes as long as everything else that httpx does to build a request.
_url = lru_cache(maxsize=1024)(httpx.URL)


class HTTPSettings(Protocol):
    """What a backend's settings must provide for its requests."""

    @property
    def route(self) -> Route:
        """The way to the service."""
        ...

    @property
    def timeouts(self) -> Timeouts:
        """The deadlines."""
        ...

    @property
    def max_retries(self) -> int:
        """How often a request may be retried."""
        ...

    @property
    def max_event_bytes(self) -> int:
        """The largest event that is read."""
        ...

    @property
    def params(self) -> dict[str, str]:
        """The query parameters of every request."""
        ...

    @property
    def secrets(self) -> tuple[SecretStr, ...]:
        """What must not appear in errors."""
        ...

    def request_headers(self) -> dict[str, str]:
        """The headers of every request; their `repr` shows names alone."""
        ...

    def refusal(self, call: Call, status_code: int, headers: httpx.Headers, content: bytes) -> APIStatusError:
        """The error for an answer that is not a success; `content` is the beginning of its body."""
        ...


class Requests:
    """The requests of one client."""

    def __init__(self, settings: HTTPSettings, *, is_own: bool) -> None:
        self._settings = settings
        self._is_own = is_own
        self._merged: dict[str | None, httpx.Headers] = {}

    def build(
        self, client: httpx.Client | httpx.AsyncClient, call: Call, *, answer: float | None, accept: str | None = None
    ) -> httpx.Request:
        """Return a request whose answer may take `answer` seconds.

        Raises `ConfigurationError` for one that cannot be written.
        """
        connect = self.connect_timeout(answer)
        make = httpx.Request if self._is_own else client.build_request
        try:
            return make(
                call.method,
                _url(self._settings.route.base_url + call.path),
                # An empty mapping makes httpx parse the address again.
                params={**call.params, **self._settings.params} or None,
                json=call.body,
                files=None if call.file is None else {"file": call.file},
                headers=self._merged_headers(client, accept) if self._is_own else self._headers(accept),
                cookies=client.cookies if self._is_own else None,
                extensions={"timeout": {"connect": connect, "read": answer, "write": answer, "pool": connect}},
            )
        except ConfigurationError:
            # No key.
            raise
        except (httpx.InvalidURL, TypeError, ValueError) as error:
            problem = ConfigurationError(f"{call} cannot be written: {type(error).__name__}, {error}")
        # Raised without a cause: the error may hold the whole body.
        raise problem

    def _headers(self, accept: str | None) -> dict[str, str]:
        headers = self._settings.request_headers()
        if accept is not None:
            # Most proxies buffer a stream that they compress.
            headers |= {"Accept": accept, "Accept-Encoding": "identity", "Cache-Control": "no-store"}
        return headers

    def _merged_headers(self, client: httpx.Client | httpx.AsyncClient, accept: str | None) -> httpx.Headers:
        """Return the headers of our own client with these. They never change, and merging takes half of a request."""
        if accept not in self._merged:
            merged = httpx.Headers(client.headers)
            merged.update(self._headers(accept))
            self._merged[accept] = merged
        return self._merged[accept]

    def connect_timeout(self, answer: float | None) -> float | None:
        """Return the seconds that connecting may take for a request that may take `answer` seconds."""
        connect = self._settings.timeouts.connect
        return answer if connect is None else connect if answer is None else min(connect, answer)

    def answer_timeout(self, limit: float | None = None) -> float | None:
        """Return the seconds that a request may take; a request that looks up a broken turn has a `limit`."""
        answer = self._settings.timeouts.first_event
        if limit is None:
            return answer
        longest = _READ_BACK_TIMEOUT if answer is None else min(answer, _READ_BACK_TIMEOUT)
        return min(max(limit, SHORTEST_READ), longest)

    def turn_timeout(self) -> float | None:
        """Return the seconds that a read of a turn's answer may take, for a client whose reads nothing else bounds."""
        timeouts = self._settings.timeouts
        silence = [timeouts.first_event, timeouts.idle]
        longest = None if None in silence else max(bound for bound in silence if bound is not None)
        bounds = [bound for bound in (longest, timeouts.total) if bound is not None]
        return min(bounds, default=None)

    @staticmethod
    def longest_wait(total: float | None) -> float:
        """Return the longest wait between two tries, in seconds, where all may take `total`."""
        return _LONGEST_WAIT if total is None else min(_LONGEST_WAIT, total / 4)

    def retry_on(self, call: Call, total: float | None) -> Callable[[Exception], bool | float]:
        """Return what decides whether and when to try again after an error: at most `total` seconds from now."""
        left = remaining(total)
        tries = 0

        def delay(error: Exception) -> bool | float:
            wait = retry_delay(call, error)
            time_left = left()
            if wait is False or time_left is None:
                return wait
            return wait if (self.longest_wait(total) if wait is True else wait) < time_left else False

        def on(error: Exception) -> bool | float:
            nonlocal tries
            tries += 1
            wait = delay(error)
            # stamina's own line says neither what is sent again nor why.
            if wait is not False and tries <= self._settings.max_retries:
                _log.warning("%s: sending it again%s", error, "" if wait is True else f" in {wait:g} s")
            return wait

        return on
