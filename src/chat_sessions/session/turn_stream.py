"""One turn as a stream of events: a context manager that ends with the turn's `stop`, or raises.

`TurnStream` and `AsyncTurnStream` are thin: what an event adds is decided in `core.turn`, what
became of a broken stream in `recovery`, so that the two differ only in how they wait.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from chat_sessions.core.errors import APIError, ConfigurationError, InternalServerError, ProtocolError, TurnFailed
from chat_sessions.core.events import Event, TextDelta
from chat_sessions.core.turn import Turn, TurnFold
from chat_sessions.session.deadlines import EventClock, Timeouts
from chat_sessions.session.recovery import Recovery
from chat_sessions.session.transport import (
    AsyncEventConnection,
    AsyncTurnTransport,
    ConnectionLost,
    DeadlinePassed,
    EventConnection,
    EventUnreadable,
    TurnRequest,
    TurnTransport,
)
from chat_sessions.session.turn_count import TurnCount
from chat_sessions.session.turn_queue import TurnSlot, wait_for_turn, wait_for_turn_async

__all__ = ["AsyncTurnStream", "PreparedTurn", "TurnStream"]


@dataclass(frozen=True, slots=True)
class PreparedTurn:
    """A turn that is about to be posted: the request, its session's line and count of turns."""

    request: TurnRequest
    queue_key: tuple[str, ...]
    count: TurnCount


class _TurnState:
    """What both shells keep of a turn."""

    def __init__(self, prompt: str, timeouts: Timeouts) -> None:
        self._slot: TurnSlot | None = None
        self._timeouts = timeouts
        self._fold = TurnFold(prompt)
        self._ready: deque[Event] = deque()
        self._prepared: PreparedTurn | None = None
        self._turns_before: int | None = None
        # Whether the session holds the prompt; None where that is not known.
        self._landed: bool | None = False
        self._clock: EventClock | None = None
        self._recovery: Recovery | None = None
        self._is_open = False
        self._is_closed = False

    @property
    def turn(self) -> Turn:
        """The turn so far; the whole turn once the stream has ended."""
        return self._fold.turn

    @property
    def session_id(self) -> str | None:
        """Where the turn runs; None before `open` where the session is created by it."""
        return self._prepared.request.session_id if self._prepared else None

    @property
    def is_closed(self) -> bool:
        """Whether the stream has ended or was closed; its socket is closed then."""
        return self._is_closed

    def _failed_turn(self) -> TurnFailed | None:
        turn = self._fold.turn
        if turn.error is None:
            return None
        session_id = self.session_id or ""
        return TurnFailed(f"the turn failed in session {session_id}: {turn.error}", turn=turn, session_id=session_id)

    def _recover(self, cause: Exception, *, accepted: bool) -> None:
        """From now on, read the session instead of the stream."""
        self._recovery = Recovery(
            self._fold,
            cause=cause,
            session_id=self.session_id or "",
            budget=self._timeouts.recovery,
            turns_before=self._turns_before,
            in_doubt=self._prepared.count.in_doubt if self._prepared else False,
            accepted=accepted,
        )

    def _release(self) -> None:
        self._is_closed = True
        if self._slot is not None and self._prepared is not None:
            # The next turn begins with the release, and must find this one counted.
            is_shown = bool(self._fold.turn.events) or (self._recovery is not None and self._recovery.is_found)
            self._prepared.count.end(landed=True if is_shown else self._landed)
            self._slot.release()
            self._slot = None

    def __del__(self) -> None:
        # Dropped without being closed: the session may hold its turn, and the next one must find it counted.
        self._release()


class TurnStream(_TurnState):
    """The events of one turn, as they come.

    Use it with `with`: leaving the block closes the socket at once. The prompt is sent on entering
    (or at the first event, without a block). Iterating yields events until the turn's `Stop`; to
    print the answer it is enough to print each `TextDelta`: a service that sends whole texts only,
    or repeats them, reads the same. Then raises `TurnFailed` if the stop says so. A stream that
    breaks is looked up in its session; what is missing is delivered, or a `TurnError` is raised.
    One pass only.
    """

    def __init__(
        self,
        transport: TurnTransport,
        prepare: Callable[[], PreparedTurn],
        *,
        prompt: str,
        timeouts: Timeouts,
    ) -> None:
        super().__init__(prompt, timeouts)
        self._transport = transport
        self._prepare = prepare
        self._connection: EventConnection | None = None

    def open(self) -> Self:
        """Send the prompt, if it is not sent yet.

        Waits for earlier turns on the session. Raises `APIStatusError` if the service refuses the turn,
        `APIConnectionError` if it cannot be reached.
        """
        if self._is_open:
            return self
        if self._is_closed:
            raise ConfigurationError("this stream was closed before it was opened: nothing was sent")
        self._is_open = True
        try:
            self._prepared = self._prepare()
            slot = wait_for_turn(self._prepared.queue_key)
            if self._is_closed:
                slot.release()
                raise ConfigurationError("this stream was closed while its turn waited for another: nothing was sent")
            self._slot = slot
            self._turns_before = self._prepared.count.begin()
            self._clock = EventClock(self._timeouts)
            # From here on it may have landed, whatever ends this: an interruption, too.
            self._landed = None
            try:
                self._connection = self._transport.open_turn(self._prepared.request, self._clock)
                self._clock.pause()
            except (ConnectionLost, DeadlinePassed, InternalServerError) as error:
                self._recover(error, accepted=False)
                while not self._ready and not self._is_closed:
                    self._pull()
            except APIError:
                self._landed = False
                raise
        except BaseException:
            self.close()
            raise
        return self

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        while not self._ready:
            if self._is_closed:
                raise StopIteration
            slot = self._slot
            if slot is None:
                self.open()
                continue
            slot.touch()
            try:
                self._pull()
            except BaseException:
                self.close()
                raise
        return self._ready.popleft()

    def _pull(self) -> None:
        """Read until something is ready to be shown, or the turn has ended."""
        if self._fold.is_complete:
            if self._connection is not None and self._recovery is None:
                self._connection.finish()
            self.close()
            if (failed := self._failed_turn()) is not None:
                raise failed
            return
        if self._recovery is not None:
            self._look(self._recovery)
            return
        assert self._connection is not None and self._clock is not None  # noqa: S101, PT018 - open() made them
        self._clock.start()
        try:
            event = next(self._connection, None)
            if event is None:
                raise ConnectionLost("the stream ended without a stop event")
        except (ConnectionLost, DeadlinePassed, EventUnreadable) as error:
            self._connection.close()
            self._recover(error, accepted=True)
            return
        self._clock.event_arrived()
        self._ready.extend(self._fold.add(event))

    def _look(self, recovery: Recovery) -> None:
        """Read the session back once more, or raise what is then known to be true."""
        if recovery.is_over:
            recovery.fail()
        if (wait := recovery.next_wait()) > 0:
            time.sleep(wait)
        try:
            history = self._transport.read_back(self.session_id or "", timeout=recovery.time_left)
        except (APIError, ProtocolError) as error:
            recovery.failed(error)
        else:
            self._ready.extend(recovery.look(history))

    def close(self) -> None:
        """Close the socket and let the session's next turn begin. Idempotent. The service may finish the turn."""
        # First: a reader in another thread must not take this for a broken stream.
        self._is_closed = True
        if self._connection is not None:
            self._connection.close()
        self._release()

    def abandon(self) -> None:
        """Note that nobody reads on and another thread is about to `close` it: the session's next turn waits for that.

        For a finaliser, which must not wait for a lock: this takes none.
        """
        if (slot := self._slot) is not None:
            slot.abandon()

    def text_deltas(self) -> Iterator[str]:
        """The answer's text, piece by piece."""
        for event in self:
            if isinstance(event, TextDelta):
                yield event.content

    def result(self) -> Turn:
        """Read to the end; gives back the whole turn. Raises what iterating raises."""
        for _ in self:
            pass
        if not self._fold.is_complete:
            raise ConfigurationError("this stream was closed before its turn ended: it has no result")
        return self._fold.turn


class AsyncTurnStream(_TurnState):
    """The async twin of `TurnStream`: `async with`, `async for`, `await stream.result()`."""

    def __init__(
        self,
        transport: AsyncTurnTransport,
        prepare: Callable[[], Awaitable[PreparedTurn]],
        *,
        prompt: str,
        timeouts: Timeouts,
    ) -> None:
        super().__init__(prompt, timeouts)
        self._transport = transport
        self._prepare = prepare
        self._connection: AsyncEventConnection | None = None

    async def open(self) -> Self:
        """Send the prompt, if it is not sent yet. See `TurnStream.open`."""
        if self._is_open:
            return self
        if self._is_closed:
            raise ConfigurationError("this stream was closed before it was opened: nothing was sent")
        self._is_open = True
        try:
            self._prepared = await self._prepare()
            slot = await wait_for_turn_async(self._prepared.queue_key)
            if self._is_closed:
                slot.release()
                raise ConfigurationError("this stream was closed while its turn waited for another: nothing was sent")
            self._slot = slot
            self._turns_before = self._prepared.count.begin()
            self._clock = EventClock(self._timeouts)
            # From here on it may have landed, whatever ends this: an interruption, too.
            self._landed = None
            try:
                self._connection = await self._transport.open_turn(self._prepared.request, self._clock)
                self._clock.pause()
            except (ConnectionLost, DeadlinePassed, InternalServerError) as error:
                self._recover(error, accepted=False)
                while not self._ready and not self._is_closed:
                    await self._pull()
            except APIError:
                self._landed = False
                raise
        except BaseException:
            await self.close()
            raise
        return self

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        while not self._ready:
            if self._is_closed:
                raise StopAsyncIteration
            slot = self._slot
            if slot is None:
                await self.open()
                continue
            slot.touch_async()
            try:
                await self._pull()
            except BaseException:
                await self.close()
                raise
        return self._ready.popleft()

    async def _pull(self) -> None:
        """Read until something is ready to be shown, or the turn has ended."""
        if self._fold.is_complete:
            if self._connection is not None and self._recovery is None:
                await self._connection.finish()
            await self.close()
            if (failed := self._failed_turn()) is not None:
                raise failed
            return
        if self._recovery is not None:
            await self._look(self._recovery)
            return
        assert self._connection is not None and self._clock is not None  # noqa: S101, PT018 - open() made them
        self._clock.start()
        try:
            event = await anext(self._connection, None)
            if event is None:
                raise ConnectionLost("the stream ended without a stop event")
        except (ConnectionLost, DeadlinePassed, EventUnreadable) as error:
            await self._connection.close()
            self._recover(error, accepted=True)
            return
        self._clock.event_arrived()
        self._ready.extend(self._fold.add(event))

    async def _look(self, recovery: Recovery) -> None:
        """Read the session back once more, or raise what is then known to be true."""
        if recovery.is_over:
            recovery.fail()
        if (wait := recovery.next_wait()) > 0:
            await asyncio.sleep(wait)
        try:
            history = await self._transport.read_back(self.session_id or "", timeout=recovery.time_left)
        except (APIError, ProtocolError) as error:
            recovery.failed(error)
        else:
            self._ready.extend(recovery.look(history))

    async def close(self) -> None:
        """Close the socket and let the session's next turn begin. Idempotent. The service may finish the turn."""
        if (slot := self._slot) is not None:
            # Where a task of its own closes it, the one that read it may ask for the next turn.
            slot.touch_async()
        try:
            if self._connection is not None:
                await self._connection.close()
        finally:
            self._release()

    def abandon(self) -> None:
        """Note that nobody reads on and its event loop is about to `close` it: the next turn's task waits for that.

        For a finaliser, which must not wait for a lock: this takes none.
        """
        if (slot := self._slot) is not None:
            slot.abandon_async()

    async def text_deltas(self) -> AsyncIterator[str]:
        """The answer's text, piece by piece."""
        async for event in self:
            if isinstance(event, TextDelta):
                yield event.content

    async def result(self) -> Turn:
        """Read to the end; gives back the whole turn. Raises what iterating raises."""
        async for _ in self:
            pass
        if not self._fold.is_complete:
            raise ConfigurationError("this stream was closed before its turn ended: it has no result")
        return self._fold.turn
