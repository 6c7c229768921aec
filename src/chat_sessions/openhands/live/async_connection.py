"""A turn read from the server's websocket: an `EventConnection`.

The connection listens before the message is sent, resumes after a cut, and reads what the turn has cost when it is
over. What it decides is in `reading` and `turn`.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from websockets.exceptions import ConnectionClosed, InvalidStatus

from chat_sessions.core.errors import APIError
from chat_sessions.core.events import Event
from chat_sessions.openhands.confirmation import OnConfirmation, request_event
from chat_sessions.openhands.events.json_values import JsonObject, as_text
from chat_sessions.openhands.live.async_port import AsyncConversationPort
from chat_sessions.openhands.live.async_websocket import AsyncWebSocket, async_answer_of
from chat_sessions.openhands.live.reading import STATE_WAIT, Reading, not_idle
from chat_sessions.openhands.live.sockets import CANNOT_OPEN, SocketKind, address, check_host, key_frame, opening_error
from chat_sessions.openhands.settings import Settings
from chat_sessions.session.backend import ConnectionLost, DeadlinePassed, TurnRequest
from chat_sessions.session.deadlines import EventClock

__all__ = ["AsyncConversationEvents"]


class AsyncConversationEvents:
    """The live events of one turn."""

    def __init__(
        self,
        port: AsyncConversationPort,
        settings: Settings,
        request: TurnRequest,
        clock: EventClock,
        on_confirmation: OnConfirmation | None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._port = port
        self._settings = settings
        self._clock = clock
        self._on_confirmation = on_confirmation
        self._reading = Reading(settings, request, clock)
        # `headers` are those of an injected HTTP client, None without one.
        self._socket = AsyncWebSocket(settings, headers or {})
        self._is_beside_client = headers is not None

    async def listen(self, kinds: tuple[SocketKind, ...]) -> SocketKind:
        """Connect to the first of these sockets that the server has, and wait until a message can be sent.

        Returns the socket's kind. Raises `APIError`: nothing was sent.
        """
        self._clock.on_stop(self.stop)
        try:
            await self._connect_to_one_of(kinds)
            await self._wait_until_idle()
        except BaseException:
            await self.close()
            raise
        return self._reading.kind

    async def _connect_to_one_of(self, kinds: tuple[SocketKind, ...]) -> None:
        for kind in kinds:
            url = address(self._settings, self._reading.session_id, kind)
            try:
                await self._connect(kind, goes_on=False)
            except InvalidStatus as error:
                # A server without this socket refuses its address, as it does one with a broken id.
                if kind == kinds[-1] or error.response.status_code not in (403, 404):
                    raise opening_error(error, url) from error
            except CANNOT_OPEN as error:
                raise opening_error(error, url, is_beside_client=self._is_beside_client) from error
            else:
                return

    async def _connect(self, kind: SocketKind, *, goes_on: bool) -> None:
        reading = self._reading
        url = address(self._settings, reading.session_id, kind, reading.turn if goes_on else None)
        await self._socket.open(url)
        reading.kind = kind
        check_host(self._settings, self._socket.host)
        if (frame := key_frame(self._settings)) is not None:
            await self._socket.send(frame)

    async def _wait_until_idle(self) -> None:
        """Wait for the conversation's state, and, if it runs, for the end of that run."""
        reading, turn = self._reading, self._reading.turn
        while turn.status is None or turn.status == "running":
            left = self._clock.remaining()
            if left == 0 and turn.status is not None:
                raise not_idle(reading.session_id, turn.status)
            try:
                reading.take(await self._socket.recv(STATE_WAIT if left is None else min(left, STATE_WAIT)))
            except ConnectionClosed as error:
                raise reading.not_open(error) from error
            except TimeoutError:
                info = await self._port.read_info(reading.session_id, limit=left)
                turn.status = as_text(info.get("execution_status"))
        if turn.status == "waiting_for_confirmation":
            raise not_idle(reading.session_id, turn.status)

    @property
    def has_landed(self) -> bool:
        """Whether the conversation is known to have this turn's message."""
        return self._reading.turn.has_landed

    async def has_message(self) -> bool:
        """Return whether the conversation has this turn's message; waits briefly for it to appear."""
        with suppress(TimeoutError, ConnectionClosed):
            while not self._reading.turn.has_landed:
                self._reading.take(await self._socket.recv(STATE_WAIT))
        return self.has_landed

    async def __anext__(self) -> Event:
        reading = self._reading
        while not reading.ready:
            if reading.has_stopped:
                raise StopAsyncIteration
            if reading.turn.is_over:
                await self._end()
            else:
                await self._read()
        return reading.ready.popleft()

    def ready_event(self) -> Event | None:
        """Return the next event if it has already arrived; None if there is none."""
        return self._reading.ready.popleft() if self._reading.ready else None

    async def _read(self) -> None:
        reading = self._reading
        try:
            reading.take(await self._socket.recv(reading.wait_limit()))
        except TimeoutError:
            if self._clock.remaining() == 0:
                raise DeadlinePassed(self._clock.describe()) from None
            if reading.turn.needs_look:
                reading.looked(await self._info())
            elif not reading.release():
                await self._ask_in_silence()
        except ConnectionClosed as error:
            reading.must_reconnect(error)
            await self._reconnect(error)

    async def _info(self) -> JsonObject:
        try:
            return await self._port.read_info(self._reading.session_id, limit=self._clock.remaining())
        except APIError as error:
            raise ConnectionLost(f"the run seems to be over, but the conversation cannot be read ({error})") from error

    async def _ask_in_silence(self) -> None:
        # The socket decides: do not give up because the server cannot be asked right now.
        with suppress(APIError):
            info = await self._port.read_info(self._reading.session_id, limit=self._clock.remaining())
            if self._reading.was_silent(info):
                await self._port.start_run(self._reading.session_id, limit=self._clock.remaining())

    async def _end(self) -> None:
        """End the turn with its stop, or answer the confirmation that the run waits for and let it continue."""
        reading = self._reading
        reading.check_whole()
        reading.release()
        request = reading.confirmation
        if request is not None:
            reading.ready.append(request_event(request))
            if self._on_confirmation is not None:
                # The time that a person takes is not the service's.
                self._clock.pause()
                answer = await async_answer_of(self._on_confirmation, request)
                await self._port.respond_to_confirmation(
                    reading.session_id, accept=answer is True, reason=answer if isinstance(answer, str) else None
                )
                self._clock.start()
                reading.turn.goes_on()
                return
        info: JsonObject | APIError
        try:
            info = await self._port.read_info(reading.session_id, limit=self._clock.remaining())
        except APIError as error:
            info = error
        reading.stop(info)

    async def _reconnect(self, cause: ConnectionClosed) -> None:
        for wait in self._reading.reconnect_waits():
            left = self._clock.remaining()
            if left == 0 or not await self._socket.pause(wait if left is None else min(wait, left)):
                break
            try:
                await self._connect(self._reading.kind, goes_on=True)
            except CANNOT_OPEN:
                continue
            if self._reading.is_closed:
                break
            self._reading.reconnected()
            return
        raise ConnectionLost(f"the connection broke ({cause})") from cause

    def stop(self) -> None:
        """End what waits for the socket, from any thread: the stream is closed while it is being opened."""
        self._reading.is_closed = True
        self._socket.stop()

    async def finish(self) -> None:
        """Close the socket: nothing follows the stop."""
        await self.close()

    async def close(self) -> None:
        """Close the socket. The run continues on the server: `interrupt` ends it."""
        self._reading.is_closed = True
        await self._socket.close()
