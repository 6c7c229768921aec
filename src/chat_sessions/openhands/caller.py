"""Requests to the agent server: bounded, repeated where that is safe, page by page. Sync and async."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable, Iterable, Iterator

import httpx
import stamina

from chat_sessions.core.errors import ProtocolError
from chat_sessions.http.bounds import abeginning, abody, beginning, body, bounded, bounded_async
from chat_sessions.http.calls import Call, retry_delay, transport_error
from chat_sessions.http.loop_pools import OWN_LIMITS, LoopPools
from chat_sessions.openhands.base import ClientBase, remaining
from chat_sessions.openhands.json_values import JsonObject, as_list, as_object, as_text
from chat_sessions.session.deadlines import EventClock

__all__ = ["AsyncCaller", "Caller"]


class Caller(ClientBase):
    """The requests of a sync client, and its connections."""

    def _open(self, http_client: httpx.Client | None) -> None:
        self._given_client = http_client
        self._own_client: httpx.Client | None = None
        self._close_own_client: weakref.finalize[..., Caller] | None = None
        self._making_client = threading.Lock()

    def close(self) -> None:
        """Close the connections made here. The client may be used again: it makes new ones."""
        with self._making_client:
            close, self._own_client, self._close_own_client = self._close_own_client, None, None
        if close is not None:
            close()

    def _items(
        self, call_for: Callable[[str | None], Call], deadline: float | None = None
    ) -> Iterator[tuple[Call, JsonObject]]:
        """The items of every page."""
        seen: set[str] = set()
        page_id: str | None = None
        while True:
            call = call_for(page_id)
            page = self._object(call, deadline)
            for item in as_list(page.get("items")):
                yield call, as_object(item)
            page_id = as_text(page.get("next_page_id")) or None
            if page_id is None:
                return
            if page_id in seen:
                raise ProtocolError(f"the server gave the page {page_id!r} twice: its list has no end")
            seen.add(page_id)

    def _client(self) -> httpx.Client:
        if self._given_client is not None:
            return self._given_client
        with self._making_client:
            if self._own_client is None:
                self._own_client = httpx.Client(limits=OWN_LIMITS)
                # A client that nobody closes, as in most scripts, leaves no open socket behind.
                self._close_own_client = weakref.finalize(self, self._own_client.close)
            return self._own_client

    def _attempts(self, on: Callable[[Exception], bool | float]) -> Iterable[stamina.Attempt]:
        return stamina.retry_context(
            on=on, attempts=self._settings.max_retries + 1, timeout=None, wait_initial=0.5, wait_max=8.0
        )

    def _object(self, call: Call, deadline: float | None = None) -> JsonObject:
        """The answer's object. With a deadline there is one attempt, and it ends there."""
        if deadline is not None:
            return self._read_object(call, self._send(call, max(0.001, deadline - time.monotonic())))
        for attempt in self._attempts(lambda error: retry_delay(call, error)):
            with attempt:
                return self._read_object(call, self._send(call))
        raise AssertionError  # pragma: no cover - the last attempt returns or raises

    def _send(self, call: Call, limit: float | None = None) -> bytes:
        """The answer's body, one attempt."""
        client = self._client()
        answer = self._answer_limit(limit)
        request, left = self._request(client, call, answer), remaining(answer)
        with bounded(request, left):
            try:
                return self._answer(client, request, call, left)
            except httpx.RequestError as error:
                raise transport_error(call, error, self.base_url) from error

    def _post(self, call: Call, clock: EventClock) -> None:
        """Send a turn's message, or start its run: one attempt, within the clock's deadline."""
        client = self._client()
        clock.start(afresh=True)
        request = self._request(client, call, clock.remaining())
        with bounded(request, clock.remaining):
            try:
                self._answer(client, request, call, clock.remaining)
            except httpx.RequestError as error:
                raise self._send_error(call, error, clock) from error

    def _answer(
        self, client: httpx.Client, request: httpx.Request, call: Call, left: Callable[[], float | None]
    ) -> bytes:
        response = client.send(request, stream=True, follow_redirects=False)
        try:
            if response.is_success:
                return body(response, left)
            raise self._refusal(call, response, beginning(response, left))
        finally:
            response.close()
            if response.status_code >= 500 and (stream := response.extensions.get("network_stream")) is not None:
                # The server closes the connection after such an answer, and does not say so.
                stream.close()


class AsyncCaller(ClientBase):
    """The requests of an async client; one connection pool per running event loop."""

    def _open(self, http_client: httpx.AsyncClient | None) -> None:
        self._given_client = http_client
        self._pools = LoopPools()

    async def close(self) -> None:
        """Close the connections that the running event loop has made. The client may be used again."""
        await self._pools.close_running_loop()

    async def _items(
        self, call_for: Callable[[str | None], Call], deadline: float | None = None
    ) -> AsyncIterator[tuple[Call, JsonObject]]:
        """The items of every page."""
        seen: set[str] = set()
        page_id: str | None = None
        while True:
            call = call_for(page_id)
            page = await self._object(call, deadline)
            for item in as_list(page.get("items")):
                yield call, as_object(item)
            page_id = as_text(page.get("next_page_id")) or None
            if page_id is None:
                return
            if page_id in seen:
                raise ProtocolError(f"the server gave the page {page_id!r} twice: its list has no end")
            seen.add(page_id)

    async def _client(self) -> httpx.AsyncClient:
        return self._given_client or await self._pools.of_running_loop()

    def _attempts(self, on: Callable[[Exception], bool | float]) -> AsyncIterator[stamina.Attempt]:
        return stamina.retry_context(
            on=on, attempts=self._settings.max_retries + 1, timeout=None, wait_initial=0.5, wait_max=8.0
        )

    async def _object(self, call: Call, deadline: float | None = None) -> JsonObject:
        """The answer's object. With a deadline there is one attempt, and it ends there."""
        if deadline is not None:
            return self._read_object(call, await self._send(call, max(0.001, deadline - time.monotonic())))
        async for attempt in self._attempts(lambda error: retry_delay(call, error)):
            with attempt:
                return self._read_object(call, await self._send(call))
        raise AssertionError  # pragma: no cover - the last attempt returns or raises

    async def _send(self, call: Call, limit: float | None = None) -> bytes:
        """The answer's body, one attempt."""
        client = await self._client()
        answer = self._answer_limit(limit)
        request, left = self._request(client, call, answer), remaining(answer)
        with bounded_async(request, left):
            try:
                return await self._answer(client, request, call, left)
            except httpx.RequestError as error:
                raise transport_error(call, error, self.base_url) from error

    async def _post(self, call: Call, clock: EventClock) -> None:
        """Send a turn's message, or start its run: one attempt, within the clock's deadline."""
        client = await self._client()
        clock.start(afresh=True)
        request = self._request(client, call, clock.remaining())
        with bounded_async(request, clock.remaining):
            try:
                await self._answer(client, request, call, clock.remaining)
            except httpx.RequestError as error:
                raise self._send_error(call, error, clock) from error

    async def _answer(
        self, client: httpx.AsyncClient, request: httpx.Request, call: Call, left: Callable[[], float | None]
    ) -> bytes:
        response = await client.send(request, stream=True, follow_redirects=False)
        try:
            if response.is_success:
                return await abody(response, left)
            raise self._refusal(call, response, await abeginning(response, left))
        finally:
            await response.aclose()
            if response.status_code >= 500 and (stream := response.extensions.get("network_stream")) is not None:
                # The server closes the connection after such an answer, and does not say so.
                await stream.aclose()
