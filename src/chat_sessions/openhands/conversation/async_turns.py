"""The turns of a conversation: listen, send the message once, have it run; and the conversation read back."""

from __future__ import annotations

from collections.abc import Sequence

from chat_sessions.core.errors import APIError, ConflictError, RateLimitError
from chat_sessions.core.events import Event
from chat_sessions.http.calls import told
from chat_sessions.http.connection.exchange import Remaining, remaining
from chat_sessions.openhands.confirmation import OnConfirmation
from chat_sessions.openhands.conversation.async_conversations import AsyncConversations
from chat_sessions.openhands.events.history import branch_of, history_of, is_settled
from chat_sessions.openhands.events.json_values import JsonObject
from chat_sessions.openhands.live.async_connection import AsyncConversationEvents
from chat_sessions.openhands.live.reading import not_run
from chat_sessions.openhands.live.sockets import SocketKind, was_not_opened
from chat_sessions.openhands.wire import events_call, info_call, read_events, run_call, send_call
from chat_sessions.session.backend import ConnectionLost, TurnRequest
from chat_sessions.session.deadlines import EventClock
from chat_sessions.session.turn_state import closed_before_sent
from chat_sessions.session.waiting import async_sleep, growing_waits

__all__ = ["AsyncTurns"]

# Seconds until a server that shows the end of a run also has its event: it saves the state first.
_UNTIL_STORED = 0.25


class AsyncTurns(AsyncConversations):
    """How an `AsyncOpenHandsChat` sends a turn."""

    _on_confirmation: OnConfirmation | None
    # The websockets that the server may have, in the order in which they are looked for.
    _kinds: tuple[SocketKind, ...]

    async def open_turn(self, request: TurnRequest, clock: EventClock) -> AsyncConversationEvents:
        """Listen, and send the message. For `TurnStream`; see `TurnTransport`."""
        events = await self._listen(request, clock)
        try:
            await self._send_message(request, events, clock)
        except BaseException:
            await events.close()
            raise
        return events

    async def _listen(self, request: TurnRequest, clock: EventClock) -> AsyncConversationEvents:
        headers = self._http.given_headers()
        async for attempt in self._http.attempts(was_not_opened, total=self.timeouts.total):
            with attempt:
                clock.start(afresh=True)
                events = AsyncConversationEvents(self, self._settings, request, clock, self._on_confirmation, headers)
                try:
                    kind = await events.listen(self._kinds)
                except APIError:
                    if clock.is_stopped:
                        raise closed_before_sent() from None
                    raise
                if kind == "events":
                    # The next turn does not look for the other one.
                    self._kinds = ("events",)
                return events
        raise AssertionError  # pragma: no cover - the last attempt returns or raises

    async def _send_message(self, request: TurnRequest, events: AsyncConversationEvents, clock: EventClock) -> None:
        if clock.is_stopped:
            raise closed_before_sent()
        call = send_call(request.session_id, request.prompt, request.image_urls)
        async for attempt in self._http.attempts_of(call, total=self.timeouts.total):
            with attempt:
                if clock.is_stopped:
                    raise ConnectionLost("the stream was closed while its prompt was being sent")
                try:
                    await self._http.post(call, clock)
                except RateLimitError as error:
                    clock.on_stop(events.stop)
                    if not await events.has_message():
                        raise
                    # At its limit of runs the server takes the message and only refuses to run it.
                    await self._run_when_possible(request, clock, error)

    async def _run_when_possible(self, request: TurnRequest, clock: EventClock, cause: RateLimitError) -> None:
        """Run the message that the conversation holds, as soon as another run on the server has ended.

        Raises `TurnStalled` when the turn's time is up.
        """
        clock.start(afresh=True)
        call, waits, wait = run_call(request.session_id), growing_waits(longest=2.0), 0.0
        while (left := clock.remaining()) is None or left > wait:
            try:
                await self._http.send(call, limit=left)
            except RateLimitError:
                if clock.is_stopped:
                    return
                wait = next(waits)
                await async_sleep(wait)
            except ConflictError:
                # It already runs: someone else started it.
                return
            else:
                clock.start(afresh=True)
                return
        raise not_run(request, clock.describe()) from cause

    async def read_back(self, session_id: str, *, timeout: float | None) -> Sequence[Event]:
        """Return the session's history, in one attempt. For `TurnStream`; see `TurnTransport`."""
        events, _ = await self._history(session_id, limit=timeout)
        return [told(event, self._settings.secrets) for event in events]

    async def read_info(self, session_id: str, *, limit: float | None = None) -> JsonObject:
        """Return the conversation without its events, in one attempt within `limit` seconds."""
        call = info_call(session_id)
        return self._read_object(call, await self._http.send(call, limit=limit))

    async def start_run(self, session_id: str, *, limit: float | None = None) -> None:
        """Run the message that waits, one attempt within `limit` seconds. For the connection of a turn."""
        await self._http.send(run_call(session_id), limit=limit)

    async def _history(self, session_id: str, *, limit: float | None) -> tuple[Sequence[Event], JsonObject]:
        within = None if limit is None else remaining(limit)
        items, info = await self._read(session_id, within)
        if not is_settled(items, info):
            # The run has ended between the two requests, or the server has yet to store the event that says so.
            left = within() if within else None
            await async_sleep(_UNTIL_STORED if left is None else min(_UNTIL_STORED, left / 2))
            items, info = await self._read(session_id, within)
        return history_of(items, info), info

    async def _read(self, session_id: str, within: Remaining | None) -> tuple[Sequence[JsonObject], JsonObject]:
        pages = self._http.pages(
            lambda page_id: events_call(session_id, page_id),
            lambda call, content: read_events(self._read_object(call, content)),
            within=within,
        )
        items = [item async for item in pages if item]
        info = await self._http.read(info_call(session_id), self._read_object, within=within)
        return branch_of(items, info), info
