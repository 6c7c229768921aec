"""A turn's events as an event stream, each in an HTTP chunk of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from sse_starlette import EventSourceResponse
from starlette.types import Message, Receive, Scope, Send

from chat_sessions.server.store.records import StoredEvent
from chat_sessions.server.turns.behaviour import Behaviour
from chat_sessions.server.turns.segments import event_name
from chat_sessions.server.turns.turns import RunningTurn

__all__ = ["EventStream"]

# A burst is sent in parts of so many events, with the other streams' turns between them.
_AT_ONCE = 32


class EventStream(EventSourceResponse):
    """The answer to a message: the turn's events, with keep-alives between them, until the turn or the client goes.

    `grace` is how long, in seconds, a stream goes on when the server shuts down.
    """

    def __init__(self, turn: RunningTurn, behaviour: Behaviour, *, grace: float) -> None:
        self._turn = turn
        self._behaviour = behaviour
        super().__init__(  # pyright: ignore[reportUnknownMemberType] - sse-starlette's types have a bare dict
            turn.live(),
            ping=behaviour.keep_alive or 0,
            client_close_handler_callable=self._on_disconnect,
            shutdown_grace_period=grace,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the whole stream."""
        self.body_iterator = _Sending(self._turn, self._behaviour, send)
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._leave()

    async def _on_disconnect(self, _message: Message) -> None:
        self._leave()

    def _leave(self) -> None:
        """The client has gone, or has everything."""
        self._turn.abandon()
        if self._behaviour.on_disconnect == "cancel":
            self._turn.cancel("the client disconnected")


class _Sending:
    """The body of a stream, which sends itself and leaves nothing to be sent.

    sse-starlette would make each event an object, encode it through a text buffer and send it in a cancel scope
    of its own, for a timeout that is not set here: a third of what an event costs.
    """

    def __init__(self, turn: RunningTurn, behaviour: Behaviour, send: Send) -> None:
        self._turn = turn
        self._behaviour = behaviour
        self._send = send

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        send = self._send
        number = 0
        async for event in self._turn.live():
            number += 1
            await send({"type": "http.response.body", "body": self._block(event, number), "more_body": True})
            if number % _AT_ONCE == 0:
                # Nothing above waits while there are events and the client takes them.
                await asyncio.sleep(0)
        raise StopAsyncIteration

    def _block(self, event: StoredEvent, number: int) -> bytes:
        """The event's lines. Its JSON is one line: it has every line break as an escape."""
        number_line = f"id: {self._turn.turn_id}-{number}\r\n" if self._behaviour.event_ids else ""
        name = event_name(event.type, self._behaviour)
        name_line = "" if name is None else f"event: {name}\r\n"
        return f"{number_line}{name_line}data: {event.body}\r\n\r\n".encode()
