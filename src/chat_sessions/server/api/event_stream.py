"""The endpoint of a message: its turn as an event stream, each event in an HTTP chunk of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import StreamingResponse

from chat_sessions.server.api.context import Opened
from chat_sessions.server.api.wire import ScopeQuery, SendMessage
from chat_sessions.server.store.records import SourcesLocked, StoredEvent
from chat_sessions.server.turns.behaviour import Behaviour
from chat_sessions.server.turns.running import RunningTurn
from chat_sessions.server.turns.segments import event_name

__all__ = ["event_stream", "send_message"]

# A burst is sent in parts of this many events; in between, other streams get their turn.
_AT_ONCE = 32
# Proxies must neither store a stream nor hold it back.
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


async def _turn(
    session_id: str, body: SendMessage, chat: Opened, _scope: Annotated[ScopeQuery, Query()], request: Request
) -> AsyncIterator[RunningTurn | None]:
    """Start the turn, and leave it when its answer has been sent or its client has gone."""
    try:
        turn = await chat.turns.start(
            session_id,
            body.prompt,
            index_ids=body.index_ids,
            require_all_indexes=body.require_all_indexes,
            is_gone=request.is_disconnected,
        )
    except SourcesLocked as error:
        # 422 and not 409: the API declares no other error for this route, the request's content is refused, and the
        # official clients retry a 409 six times.
        problem = {
            "type": "sources_locked",
            "loc": ("body", "index_ids"),
            "msg": f"The sources of a session are locked after its first message; this one has {error.index_ids}",
            "input": body.index_ids,
        }
        raise RequestValidationError([problem]) from None
    if turn is None:
        yield None
        return
    every = chat.behaviour.keep_alive
    nudging = None if every is None else asyncio.create_task(_nudge(turn, every))
    try:
        yield turn
    finally:
        if nudging is not None:
            nudging.cancel()
        turn.abandon()
        if chat.behaviour.on_disconnect == "cancel":
            turn.cancel("the client disconnected")


async def send_message(turn: Annotated[RunningTurn | None, Depends(_turn)], chat: Opened) -> Response:
    """Run one turn, streamed. An error after status 200 is in the `stop` event."""
    if turn is None:
        return Response(status_code=204)  # never read: the client left while its message was queued
    return StreamingResponse(event_stream(turn, chat.behaviour), media_type="text/event-stream", headers=_HEADERS)


async def event_stream(turn: RunningTurn, behaviour: Behaviour) -> AsyncIterator[bytes]:
    """Yield the turn's events as blocks, and a comment for each keep-alive, until the turn ends."""
    number = 0
    while (events := await turn.shown()) is not None:
        if not events:
            yield f": ping - {datetime.now(UTC)}\r\n\r\n".encode()
        for event in events:
            number += 1
            yield _block(event, turn.turn_id, number, behaviour)
            if number % _AT_ONCE == 0:
                # Without this, nothing else would run while events are ready and the client takes them.
                await asyncio.sleep(0)


async def _nudge(turn: RunningTurn, every: float) -> None:
    # A separate task, because a timeout around each wait would cost more than the event itself.
    while True:
        await asyncio.sleep(every)
        turn.nudge()


def _block(event: StoredEvent, turn_id: int, number: int, behaviour: Behaviour) -> bytes:
    """Return the event's lines. Its JSON is a single line: line breaks in it are escaped."""
    id_line = f"id: {turn_id}-{number}\r\n" if behaviour.event_ids else ""
    name = event_name(event.type, behaviour)
    name_line = "" if name is None else f"event: {name}\r\n"
    return f"{id_line}{name_line}data: {event.body}\r\n\r\n".encode()
