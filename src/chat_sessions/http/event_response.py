# Generated from async_event_response.py by scripts/generate_sync.py: edit that file, then run `make format`.
"""A turn's HTTP response as live events, bounded by event deadlines."""

from __future__ import annotations

from contextlib import suppress

import httpcore
import httpx

from chat_sessions.core.errors import ProtocolError
from chat_sessions.core.events import Event, Stop
from chat_sessions.http.calls import frameless, lost, told
from chat_sessions.http.connection.exchange import SHORTEST_READ, Exchange, remaining
from chat_sessions.http.connection.network import httpx_error
from chat_sessions.http.event_stream import EventDecoder
from chat_sessions.http.lease import Lease
from chat_sessions.session.backend import DeadlinePassed, EventUnreadable
from chat_sessions.session.deadlines import EventClock

__all__ = ["EventResponse"]

# How long the end of the body may take after the stop, in seconds: enough for bytes in flight, too short to notice.
# After that the connection is not reused.
_END_WAIT = 0.02
_BROKEN = (httpx.TransportError, httpx.StreamError, httpx.DecodingError)
_BROKEN_BELOW = (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException)


class EventResponse:
    """The events of an open response; an `EventConnection`."""

    def __init__(
        self, response: httpx.Response, exchange: Exchange, clock: EventClock, *, max_event_bytes: int
    ) -> None:
        self._clock = clock
        self._exchange = exchange
        self._lease = Lease(response)
        self._decoder = EventDecoder(max_event_bytes)
        # A mock or a cache gives the whole content at once, and an injected client's event hook may have read it.
        is_plain = "content-encoding" not in response.headers and not response.is_stream_consumed
        self._chunks = response.iter_raw() if is_plain else response.iter_bytes()
        stream = self._lease.stream
        self._direct = stream if stream is not None and stream.can_read_body and is_plain else None
        self._unreadable: ProtocolError | None = None

    def __next__(self) -> Event:
        while (event := self._next_event()) is None:
            left = self._clock.remaining()
            chunk = self._read(None if left is None else max(left, SHORTEST_READ))
            if chunk is None:
                raise StopIteration
            self._decoder.feed(chunk)
            if left == 0 and not self._decoder.has_event:
                # What arrived in time has been decoded.
                raise DeadlinePassed(self._clock.describe())
        return event

    def ready_event(self) -> Event | None:
        """Return the next event if it has already arrived; None if there is none, or if it cannot be read."""
        if self._unreadable is None:
            try:
                event = self._decoder.next_event()
                return told(event, self._exchange.secrets()) if isinstance(event, Stop) else event
            except ProtocolError as error:
                self._unreadable = frameless(error, self._exchange.secrets())
        return None

    def _next_event(self) -> Event | None:
        event = self.ready_event()
        error, self._unreadable = self._unreadable, None
        if error is None:
            return event
        if self._decoder.is_over_limit:
            # Reading the session back would return the same oversized event.
            raise error
        raise EventUnreadable(error) from error

    def _read(self, limit: float | None) -> bytes | None:
        """Return more of the body; None at its end; empty if only HTTP framing arrived."""
        self._lease.check()
        try:
            if self._direct is not None:
                content = self._direct.read_body(limit)
                if content or self._direct.can_read_body:
                    return content
                self._direct = None
            with self._exchange.in_force():
                return next(self._chunks, None)
        except _BROKEN as error:
            raise lost(error, self._clock, self._exchange) from error
        except _BROKEN_BELOW as error:
            frameless(error, self._exchange.secrets())
            raise lost(httpx_error(error), self._clock, self._exchange) from error

    def finish(self) -> None:
        """Read the end of the body if it is there, so that the connection can be used again; then close."""
        with suppress(*_BROKEN, *_BROKEN_BELOW):
            left = remaining(_END_WAIT)
            while self._direct is not None and (limit := left()) and not self._direct.read_body(limit):
                if not self._direct.can_read_body:
                    self._direct = None
            if self._direct is None:
                self._lease.read_end(self._chunks, self._exchange, _END_WAIT)
        self.close()

    def close(self) -> None:
        """Close the response: its socket, unless the body was read to its end."""
        self._lease.close()

    def __del__(self) -> None:
        self._lease.drop()
