"""The HTTP client under a backend: its connections, its attempts, its pages."""

from __future__ import annotations

import weakref
from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
from contextlib import suppress
from http import HTTPStatus
from typing import TypeVar

import httpx
import stamina

from chat_sessions.core.errors import APIStatusError, ProtocolError
from chat_sessions.http.async_event_response import AsyncEventResponse
from chat_sessions.http.calls import (
    Call,
    is_event_stream,
    lost,
    not_an_event_stream,
    transport_error,
)
from chat_sessions.http.connection.async_transport import AsyncOwnClient, AsyncTransport
from chat_sessions.http.connection.exchange import Exchange, Remaining, remaining
from chat_sessions.http.connection.network import httpx_errors
from chat_sessions.http.lease import close_dropped
from chat_sessions.http.requests import HTTPSettings, Requests
from chat_sessions.http.settings import AsyncGivenClient, own_headers
from chat_sessions.session.backend import EventUnreadable
from chat_sessions.session.deadlines import EventClock
from chat_sessions.session.turn_state import closed_before_sent

__all__ = ["AsyncHTTPClient"]

_Item = TypeVar("_Item")
_Value = TypeVar("_Value")

# How much of an error's body is read, in bytes: a proxy's page can have any size.
_ERROR_BODY_LIMIT = 64 * 1024


class AsyncHTTPClient:
    """Sends requests over connections of its own, or with the client that the user gave."""

    def __init__(self, settings: HTTPSettings, given: AsyncGivenClient | None = None) -> None:
        self._settings = settings
        self._requests = Requests(settings, is_own=given is None)
        self._given = given
        # Of several that threads made at once, the first serves them all.
        self._own: list[AsyncOwnClient] = []

    def close_connections(self) -> None:
        """Close the connections made here. The client may be used again: it makes new ones."""
        if self._own:
            self._own[0].connections.close_all()

    def given_headers(self) -> dict[str, str] | None:
        """The headers of an injected client beyond those that every HTTP client has; None without such a client."""
        return None if self._given is None else own_headers(self._given.get().headers)

    def _client(self) -> httpx.AsyncClient:
        if self._given is not None:
            close_dropped()
            return self._given.get()
        if not self._own:
            own = AsyncOwnClient(AsyncTransport(self._settings.route))
            self._own.append(own)
            if self._own[0] is own:
                # A client that is never closed, as in most scripts, leaves no open socket behind.
                weakref.finalize(self, own.connections.close_all)
        return self._own[0]

    def _exchange(self, request: httpx.Request, answer: Remaining, connect: float | None) -> Exchange:
        # Not the client itself: a connection that held it would keep it from being dropped.
        is_own, settings = self._given is None, self._settings
        exchange = Exchange(
            request.method,
            answer=answer,
            connect=connect,
            is_own=is_own,
            secrets=lambda: (*settings.secrets, *settings.route.secrets),
        )
        if not is_own:
            request.extensions["trace"] = exchange.async_on_trace
        return exchange

    def attempts(
        self, on: Callable[[Exception], bool | float], *, total: float | None = None
    ) -> AsyncIterable[stamina.Attempt]:
        """Yield attempts, with waits between them, as long as `on` allows a retry after an error."""
        return stamina.retry_context(
            on=on,
            attempts=self._settings.max_retries + 1,
            timeout=None,
            wait_initial=0.5,
            wait_max=self._requests.longest_wait(total),
        )

    def attempts_of(self, call: Call, *, total: float | None = None) -> AsyncIterable[stamina.Attempt]:
        """Yield the attempts at a call. A turn or a change is retried only if it provably did not land."""
        return self.attempts(self._requests.retry_on(call, total), total=total)

    async def read(
        self, call: Call, read: Callable[[Call, bytes], _Value], *, within: Remaining | None = None
    ) -> _Value:
        """Send a call, retry it if that is safe, and return what `read` makes of the answer's body.

        With a deadline, `within`, it is sent once.
        """
        if within is not None:
            return read(call, await self.send(call, limit=within()))
        async for attempt in self.attempts_of(call):
            with attempt:
                content = await self.send(call)
                return read(call, content)
        raise AssertionError  # pragma: no cover - the last attempt returns or raises

    async def open_turn(self, call: Call, clock: EventClock, *, total: float | None) -> AsyncEventResponse:
        """Post a turn, again if that is safe within `total` seconds; return its event stream. Raises as `open`."""
        on = self._requests.retry_on(call, total)
        failed: list[Exception] = []
        try:
            return await self.open(call, clock)
        except Exception as error:  # noqa: BLE001 - the first attempt raises it
            failed.append(error)
        # Only after a first failure, as one stamina attempt takes longer than the rest of this package does for a turn.
        async for attempt in self.attempts(on, total=total):
            with attempt:
                if failed:
                    raise failed.pop()
                return await self.open(call, clock)
        raise AssertionError  # pragma: no cover - the last attempt returns or raises

    async def send(self, call: Call, *, limit: float | None = None) -> bytes:
        """Send a call once; return the body of its answer. `limit` is in seconds, for looking up a broken turn.

        Raises `APIStatusError` and `APIConnectionError`.
        """
        answer = self._requests.answer_timeout(limit)
        left = remaining(answer)
        client = self._client()
        request = self._requests.build(client, call, answer=answer)
        exchange = self._exchange(request, left, self._requests.connect_timeout(answer))
        with exchange.in_force():
            try:
                return await self._answer(client, request, call, left)
            except httpx.RequestError as error:
                raise self._transport_error(call, error, exchange) from error

    async def post(self, call: Call, clock: EventClock) -> None:
        """Send a part of a turn once, within its deadline.

        Raises `APIConnectionError` if no byte of it left, else `ConnectionLost` or `DeadlinePassed`.
        """
        client = self._client()
        clock.start(afresh=True)
        request = self._requests.build(client, call, answer=clock.remaining())
        exchange = self._exchange(request, clock.remaining, self._settings.timeouts.connect)
        clock.on_stop(exchange.stop)
        with exchange.in_force():
            try:
                await self._answer(client, request, call, clock.remaining)
            except httpx.RequestError as error:
                raise self._turn_error(call, error, exchange, clock) from error

    async def open(self, call: Call, clock: EventClock) -> AsyncEventResponse:
        """Post a turn once; return its event stream.

        Raises `APIStatusError` and `ProtocolError` for another answer, and `ConfigurationError` if the stream was
        closed while this waited to try again; else as `post`.
        """
        if clock.is_stopped:
            raise closed_before_sent()
        client = self._client()
        request = self._requests.build(client, call, answer=self._requests.turn_timeout(), accept="text/event-stream")
        clock.start(afresh=True)
        exchange = self._exchange(request, clock.remaining, self._settings.timeouts.connect)
        clock.on_stop(exchange.stop)
        with exchange.in_force():
            try:
                response = await self._response(client, request)
            except httpx.RequestError as error:
                raise self._turn_error(call, error, exchange, clock) from error
            try:
                if not response.is_success:
                    raise await self._refusal(call, response, clock.remaining)
                if not is_event_stream(response.headers):
                    other = await self._other_answer(call, response, clock.remaining)
                    if response.status_code == HTTPStatus.OK:
                        raise other
                    # It may be a 202: the session may show the answer.
                    raise EventUnreadable(other) from other
            except BaseException:
                await response.aclose()
                raise
        return AsyncEventResponse(response, exchange, clock, max_event_bytes=self._settings.max_event_bytes)

    async def pages(
        self,
        call_for: Callable[[str | None], Call],
        read: Callable[[Call, bytes], tuple[Sequence[_Item], str | None]],
        *,
        within: Remaining | None = None,
    ) -> AsyncIterator[_Item]:
        """Yield the items of every page, each page fetched when it is needed. `read` returns the next page's token."""
        seen: set[str] = set()
        token: str | None = None
        while True:
            items, token = await self.read(call_for(token), read, within=within)
            for item in items:
                yield item
            if not token:
                return
            if token in seen:
                raise ProtocolError("the service returned the same page token twice, so its list would never end")
            seen.add(token)

    def _turn_error(self, call: Call, error: httpx.RequestError, exchange: Exchange, clock: EventClock) -> Exception:
        if exchange.was_not_sent(error) and not exchange.is_stopped:
            return self._transport_error(call, error, exchange)
        return lost(error, clock, exchange)

    def _transport_error(self, call: Call, error: httpx.RequestError, exchange: Exchange) -> Exception:
        # The route may name another proxy by now.
        proxy = self._own[0].connections.proxy_name if self._own else None
        return transport_error(call, error, exchange, self._settings.route.base_url, proxy=proxy)

    @staticmethod
    async def _response(client: httpx.AsyncClient, request: httpx.Request) -> httpx.Response:
        """Send the request; return the answer, whose body is still to be read. Raises `httpx.RequestError`."""
        try:
            with httpx_errors():
                return await client.send(request, stream=True, follow_redirects=False)
        except httpx.HTTPStatusError as error:
            # A response hook of the user's client calls `raise_for_status`.
            return error.response

    async def _answer(self, client: httpx.AsyncClient, request: httpx.Request, call: Call, left: Remaining) -> bytes:
        response = await self._response(client, request)
        try:
            if response.is_success:
                return await self._body(response, left)
            raise await self._refusal(call, response, left)
        finally:
            await response.aclose()
            stream = response.extensions.get("network_stream")
            if response.status_code >= 500 and response.http_version == "HTTP/1.1" and stream is not None:
                # Some servers close the connection after such an answer without saying so.
                await stream.aclose()

    # What these two read may contain the key, so it must not be in a frame of the error.
    async def _refusal(self, call: Call, response: httpx.Response, left: Remaining) -> APIStatusError:
        start = await self._beginning(response, left)
        return self._settings.refusal(call, response.status_code, response.headers, start)

    async def _other_answer(self, call: Call, response: httpx.Response, left: Remaining) -> ProtocolError:
        start = await self._beginning(response, left)
        return not_an_event_stream(call, response.headers, start, self._settings.secrets)

    @staticmethod
    async def _body(response: httpx.Response, left: Remaining) -> bytes:
        """The whole body. Raises `httpx.RequestError`: `ReadTimeout` when no time is left."""
        pieces: list[bytes] = []
        async for piece in response.aiter_bytes():
            pieces.append(piece)
            if left() == 0:
                raise httpx.ReadTimeout("the answer took too long")
        return b"".join(pieces)

    @staticmethod
    async def _beginning(response: httpx.Response, left: Remaining) -> bytes:
        """Return the beginning of an error's body: what arrives in time and without an error, up to the limit."""
        start = bytearray()
        # A hook's error has closed the answer.
        with suppress(httpx.RequestError, httpx.StreamError):
            async for piece in response.aiter_bytes():
                start += piece
                if len(start) >= _ERROR_BODY_LIMIT or left() == 0:
                    break
        return bytes(start[:_ERROR_BODY_LIMIT])
