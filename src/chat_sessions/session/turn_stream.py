# Generated from async_turn_stream.py by scripts/generate_sync.py: edit that file, then run `make format`.
"""One turn as a stream of events: a context manager that ends with the turn's `stop`, or raises.

Thin: what an event adds is decided in `core.turn`, what became of a broken stream in `recovery`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from types import TracebackType
from typing import Self

from chat_sessions.core.errors import APIError, ConfigurationError, ConflictError, InternalServerError, ProtocolError
from chat_sessions.core.events import Event, Stop, TextDelta, ToolCall, ToolResult
from chat_sessions.core.turn import Turn, Update, Words
from chat_sessions.session.backend import (
    ConnectionLost,
    DeadlinePassed,
    EventConnection,
    EventUnreadable,
    TurnRequest,
    TurnTransport,
)
from chat_sessions.session.deadlines import EventClock, Timeouts
from chat_sessions.session.recovery import Recovery
from chat_sessions.session.stored.busy import Busy
from chat_sessions.session.turn_queue import wait_for_turn
from chat_sessions.session.turn_state import PreparedTurn, TurnState, event_of
from chat_sessions.session.waiting import sleep

__all__ = ["TurnStream"]

# Seconds to read the history of a turn that has ended but had an unreadable event.
_LONGEST_LOOK = 5.0


class TurnStream(TurnState):
    """The events of one turn, as they come.

    Use it as a context manager: leaving the block closes the socket at once. The prompt is sent on entering (or at the
    first event, without a block). Iterating yields events until the turn's `Stop`; to print the answer it is enough to
    print each `TextDelta`, whether the service sends deltas, whole texts or both. After the `Stop`, iterating raises
    `TurnFailed` if the stop says that the turn failed. A stream that breaks is looked up in its session; what is
    missing is delivered, or a `TurnError` is raised. One pass only.
    """

    def __init__(
        self,
        transport: TurnTransport,
        prepare: Callable[[], PreparedTurn],
        complete: Callable[[PreparedTurn], PreparedTurn] | None = None,
        *,
        prompt: str,
        timeouts: Timeouts,
        wait_if_busy: bool | float = True,
        image_urls: tuple[str, ...] = (),
    ) -> None:
        super().__init__(prompt, timeouts, wait_if_busy, image_urls)
        self._transport = transport
        self._prepare = prepare
        # Called when this turn is next: no other turn of this process is running in the session.
        self._complete = complete
        self._connection: EventConnection | None = None

    def open(self) -> Self:
        """Send the prompt, if it is not sent yet; returns the stream.

        Waits for earlier turns on the session. Raises `APIStatusError` if the service refuses the turn,
        `APIConnectionError` if it cannot be reached.
        """
        if self._is_open:
            return self
        self._begin()
        try:
            self._prepared = self._prepare()
            slot = self._admit(
                wait_for_turn(self._prepared.queue_key, self._what, self._where, limit=self._timeouts.total)
            )
            try:
                slot.begin_read()
                if self._complete is not None:
                    self._prepared = self._complete(self._prepared)
                self._turns_before = self._prepared.count.begin()
                self._start(self._prepared.request, EventClock(self._timeouts))
            finally:
                slot.end_read()
        except BaseException:
            self.close()
            raise
        return self

    def _start(self, request: TurnRequest, clock: EventClock) -> None:
        """Post the turn, and look it up if its answer does not come."""
        # Set first: from here on, closing the stream stops the request.
        self._clock = clock
        self._still_open()
        try:
            self._connection = self._post(request, clock)
            self._live = self._connection
            if self._is_closed:
                # By another thread or task, in the meantime.
                self._live = None
                self._connection.close()
            clock.pause()
            return
        except (ConnectionLost, DeadlinePassed, EventUnreadable, InternalServerError) as error:
            self._recover(error)
        except (APIError, ConfigurationError):
            self._landed = False
            raise
        while not self._ready and not self._is_closed:
            self._pull()

    def _post(self, request: TurnRequest, clock: EventClock) -> EventConnection:
        """Post the turn. If the session is busy with an earlier one, wait for its end and post again."""
        busy: Busy | None = None
        while True:
            # From here on the prompt may have landed, even if this is interrupted.
            self._landed = None
            try:
                return self._transport.open_turn(request, clock)
            except ConflictError as error:
                busy = self._refused(error, busy)
            while not busy.may_post:
                self._wait(busy, request.session_id)
                self._still_open()

    def _wait(self, busy: Busy, session_id: str) -> None:
        """Check once whether the session's earlier turn has ended."""
        if (wait := busy.next_wait()) > 0:
            sleep(wait)
        try:
            history = self._transport.read_back(session_id, timeout=busy.time_left)
        except (APIError, ProtocolError):
            busy.not_read()
        else:
            self._looked(history, busy)

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        try:
            while (update := self.take() or self.next_update()) is not None:
                # Most updates are their own event.
                if type(update) is TextDelta:
                    return update
                if (event := event_of(update)) is not None:
                    return event
        except ConfigurationError:
            # Another thread or task reads the stream: leave it open.
            raise
        except BaseException:
            self._interrupted()
            raise
        raise StopIteration

    def next_update(self) -> Update | None:
        """Return what the next event adds to the turn; None at the end. `take` returns what needs no wait."""
        while (update := self.take()) is None:
            if self._is_closed:
                return None
            if (slot := self._may_read()) is None:
                self.open()
                continue
            try:
                slot.begin_read()
                self._pull()
                slot.end_read()
            except BaseException as error:
                if isinstance(error, ProtocolError) and error.turn is None:
                    error.turn = self._fold.turn
                self.close()
                raise
        return update

    def _pull(self) -> None:
        """Read until something is ready, or the turn has ended."""
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
        if self._stop is not None and self._unread is not None:
            self._end(self._stop, self._look_up(self._unread, _LONGEST_LOOK))
            return
        assert self._connection is not None and self._clock is not None  # noqa: S101, PT018 - open() made them
        try:
            if self._clock.is_over:
                # No read waits for a service that sends without a pause.
                raise DeadlinePassed(self._clock.describe())
            self._clock.start()
            event = next(self._connection, None)
            if event is None:
                raise ConnectionLost("the stream ended without a stop event")
        except (ConnectionLost, DeadlinePassed, EventUnreadable) as error:
            self._connection.close()
            if not self._is_closed:
                self._recover(error)
            return
        self._clock.event_arrived()
        self._ready.extend(self._updates(event))

    def _end(self, stop: Stop, missing: Recovery) -> None:
        """Take from the session what a broken event should have brought, if the session shows it; then end the turn."""
        with suppress(APIError, ConfigurationError, ProtocolError):
            history = self._transport.read_back(self.session_id or "", timeout=missing.time_left)
            self._ready.extend(missing.look(history))
        self._ready.extend(self._fold.updates(stop))

    def _look(self, recovery: Recovery) -> None:
        """Read the session back once more, or raise the error that is now known."""
        if recovery.is_over:
            recovery.fail()
        if (wait := recovery.next_wait()) > 0:
            sleep(wait)
        left = recovery.time_left
        try:
            history = self._transport.read_back(self.session_id or "", timeout=left)
        except (APIError, ConfigurationError, ProtocolError) as error:
            recovery.failed(error, within=left)
        else:
            self._ready.extend(recovery.look(history))

    def close(self) -> None:
        """Close the socket and let the session's next turn begin. Idempotent. The service may finish the turn."""
        # Done first, so that a reader elsewhere does not take this for a broken stream.
        self._is_closed = True
        self._live = None
        self.abandon()
        try:
            if self._connection is not None:
                self._connection.close()
            elif self._clock is not None:
                # Another thread or task is opening it: end its request.
                self._clock.stop()
        finally:
            self._release()

    def text_deltas(self) -> Iterator[str]:
        """Yield the answer's text, piece by piece: together, the turn's `text`."""
        words = Words()
        for event in self:
            if isinstance(event, TextDelta):
                yield words.add(event)
            elif isinstance(event, ToolCall | ToolResult):
                words.part()

    def result(self) -> Turn:
        """Read to the end; returns the whole turn. Raises what iterating raises."""
        while self.next_update() is not None:
            pass
        return self._whole()
