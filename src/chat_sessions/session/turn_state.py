"""What the sync and the async stream of a turn have in common."""

from __future__ import annotations

import inspect
import logging
import weakref
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from chat_sessions.core.delivery import Ended, asked
from chat_sessions.core.errors import ConfigurationError, ConflictError, ProtocolError, TurnFailed, failed_turn
from chat_sessions.core.events import Event, Stop, TextDelta, UnknownEvent
from chat_sessions.core.turn import RunBegan, RunEnded, Turn, TurnFold, Update, replay
from chat_sessions.session.backend import AsyncEventConnection, EventConnection, TurnRequest
from chat_sessions.session.deadlines import EventClock, Timeouts
from chat_sessions.session.recovery import Recovery, is_evidence
from chat_sessions.session.stored.busy import Busy, described
from chat_sessions.session.stored.turn_count import TurnCount
from chat_sessions.session.turn_queue import LONGEST_WAIT, TurnSlot
from chat_sessions.session.waiting import current_flow

__all__ = ["PreparedTurn", "TurnState", "closed_before_sent", "event_of"]

_log = logging.getLogger("chat_sessions.session")
# Without a logging configuration, Python would print it.
_log.addHandler(logging.NullHandler())
_PACKAGE = str(Path(__file__).parent.parent)
_RUNS = (RunBegan, RunEnded)


@dataclass(frozen=True, slots=True)
class PreparedTurn:
    """A turn that is about to be posted: the request, its session's queue and count of turns."""

    request: TurnRequest
    queue_key: tuple[str, ...]
    count: TurnCount


class TurnState:
    """One turn: its state, its events so far, and what is ready to be read."""

    # Also of a stream whose constructor raised: Python drops it like any other.
    _slot: TurnSlot | None = None

    def __init__(
        self, prompt: str, timeouts: Timeouts, wait_if_busy: bool | float, image_urls: tuple[str, ...] = ()
    ) -> None:
        self._slot: TurnSlot | None = None
        # A job of this task that opens the stream is known as such by its context.
        self._maker = weakref.ref(current_flow())
        self._timeouts = timeouts
        self._wait_if_busy = wait_if_busy
        self._what = described(prompt)
        self._where = _caller()
        self._fold = TurnFold(prompt, image_urls)
        self._ready: deque[Update] = deque()
        # The connection while its events are shown live; `take` reads from it without waiting.
        self._live: EventConnection | AsyncEventConnection | None = None
        self._prepared: PreparedTurn | None = None
        self._turns_before: int | None = None
        # Whether the session holds the prompt; None if that is not known.
        self._landed: bool | None = False
        self._clock: EventClock | None = None
        self._recovery: Recovery | None = None
        # Why words may be missing although the stream continued, and the stop that followed.
        self._unread: ProtocolError | None = None
        self._stop: Stop | None = None
        self._has_noted_wait = False
        self._is_open = False
        self._is_closed = False

    @property
    def turn(self) -> Turn:
        """The turn so far; the whole turn once the stream has ended."""
        return self._fold.turn

    @property
    def session_id(self) -> str | None:
        """The session in which the turn runs; None before `open` if that creates it."""
        return self._prepared.request.session_id if self._prepared else None

    @property
    def turns_before(self) -> int | None:
        """How many turns the session held before this one; None if that is not known, or the turn was not sent."""
        return self._turns_before

    @property
    def landed(self) -> bool | None:
        """Whether the session holds the prompt; None if that is not known."""
        is_shown = is_evidence(self._fold.turn) or (self._recovery is not None and self._recovery.is_found)
        return True if is_shown else self._landed

    @property
    def is_closed(self) -> bool:
        """Whether the stream has ended or was closed; its socket is closed then."""
        return self._is_closed

    @property
    def is_recovering(self) -> bool:
        """Whether the stream broke and its turn is being looked up in the session."""
        return self._recovery is not None and not self._is_closed

    def take(self) -> Update | None:
        """Return what is ready, without waiting; None if nothing is."""
        while not self._ready:
            # One read often brings several events, so most tokens take this path.
            try:
                # Another thread may close the stream right here.
                if (live := self._live) is None or (event := live.ready_event()) is None:
                    return None
                if type(event) is TextDelta and event.content:
                    self._fold.grow(event)
                    if (slot := self._slot) is not None:
                        slot.note_read()
                    return event
                self._ready += self._updates(event)
            except BaseException:
                # Interrupted, perhaps after an event was decoded: reading on could silently skip it.
                self._release()
                raise
        if (slot := self._slot) is not None:
            slot.note_read()
        return self._ready.popleft()

    def _interrupted(self) -> None:
        """End a stream whose reader was interrupted with an event in hand: reading on would silently skip it."""
        if (slot := self._slot) is not None and not slot.is_reading:
            self._release()

    def _updates(self, event: Event) -> tuple[Update, ...]:
        """Return what a live event adds."""
        if type(event) is Stop:
            self._live = None
            if self._unread is not None:
                self._stop = event
                return ()
        elif type(event) is UnknownEvent and event.is_broken:
            self._unread = ProtocolError(f"session {self.session_id} sent a {event.type} event that cannot be read")
            _log.warning("%s", self._unread)
        return self._fold.updates(event)

    def end_runs(self) -> tuple[RunEnded, ...]:
        """End the tool runs that are still open, the last one first, because the turn is left or has ended badly."""
        return self._fold.end_runs()

    def abandon(self) -> None:
        """Note that the turn is no longer read and is about to be closed: the session's next turn waits for that.

        For a finaliser, which must not wait for a lock: this takes none.
        """
        if (slot := self._slot) is not None:
            slot.abandon()

    def _begin(self) -> None:
        """Begin to open the stream. Raises `ConfigurationError` if it was closed before."""
        if self._is_closed:
            raise ConfigurationError("this stream was closed before it was opened: nothing was sent")
        self._is_open = True

    def _admit(self, slot: TurnSlot) -> TurnSlot:
        """Take the slot, now that this turn is next. Raises `ConfigurationError` if the stream was closed meanwhile."""
        if self._is_closed:
            slot.release()
            raise ConfigurationError("this stream was closed while its turn waited for another: nothing was sent")
        self._slot = slot
        slot.maker = self._maker
        return slot

    def _may_read(self) -> TurnSlot | None:
        """Return the slot, None before `open`. Raises `ConfigurationError` while another thread or task uses it."""
        slot = self._slot
        if (slot.is_reading if slot is not None else self._is_open) and not self._is_closed:
            raise ConfigurationError(
                "another thread or task is already waiting for the next event of this stream: read it from one at a "
                "time"
            )
        return slot

    def _still_open(self) -> None:
        """Raise `ConfigurationError` if the stream was closed while it was being opened, before anything was sent."""
        if self._is_closed:
            raise closed_before_sent()

    def _refused(self, error: ConflictError, busy: Busy | None) -> Busy:
        """Return how to wait for a session that refused the turn. Raises the refusal if waiting is no use."""
        self._landed = False
        if busy is None:
            if self._wait_if_busy is False or self._prepared is None:
                raise error
            limit = self._timeouts.total or LONGEST_WAIT
            busy = Busy(
                left=self._prepared.count.left,
                turns=self._turns_before,
                limit=limit if self._wait_if_busy is True else min(limit, self._wait_if_busy),
            )
        busy.refused(error)
        self._note_wait(busy)
        return busy

    def _looked(self, history: Sequence[Event], busy: Busy) -> None:
        """Take in the session, read after it refused the turn: nothing of this turn is in it yet."""
        turns = replay(history)
        busy.look(turns)
        self._note_wait(busy)
        if self._prepared is not None:
            self._turns_before = self._prepared.count.baseline(len(asked(turns)))

    def _note_wait(self, busy: Busy) -> None:
        # Once, and without the words of a prompt.
        if busy.is_waiting and not self._has_noted_wait:
            self._has_noted_wait = True
            _log.info(
                "session %s is still answering an earlier question; this one waits for that, for up to %g s",
                self.session_id,
                busy.limit,
            )

    def _failed_turn(self) -> TurnFailed | None:
        turn = self._fold.turn
        if turn.error is None:
            return None
        return failed_turn(turn, self.session_id or "")

    def _recover(self, cause: Exception) -> None:
        """Read the session instead of the stream from now on."""
        self._live = None
        if (budget := self._timeouts.recovery) != 0:
            limit = "" if budget is None else f", for up to {budget:g} s"
            _log.warning("the answer in session %s broke (%s): looking it up there%s", self.session_id, cause, limit)
        self._recovery = self._look_up(cause, budget)

    def _look_up(self, cause: Exception, budget: float | None) -> Recovery:
        return Recovery(
            self._fold,
            cause=cause,
            session_id=self.session_id or "",
            budget=budget,
            turns_before=self._turns_before,
            last=self._prepared.count.last if self._prepared else None,
            in_doubt=self._prepared.count.in_doubt if self._prepared else False,
        )

    def _whole(self) -> Turn:
        """Return the turn, read to its end. Raises `ConfigurationError` if the stream was closed before."""
        if not self._fold.is_complete:
            raise ConfigurationError("this stream was closed before its turn ended: it has no result")
        return self._fold.turn

    def _release(self) -> None:
        self._is_closed = True
        self._live = None
        slot, self._slot = self._slot, None
        if slot is not None and self._prepared is not None:
            # The next turn begins with the release, and must find this one counted.
            where = f" ({self._where})" if self._where else ""
            if self._fold.is_complete:
                turn = self._fold.turn
                self._prepared.count.end(landed=self.landed, last=Ended(turn.prompt or "", turn.text))
            else:
                self._prepared.count.end(landed=self.landed, left=self._what + where)
            slot.release()

    def __reduce__(self) -> NoReturn:
        # Nor can it be copied: dropping the copy would end the turn.
        raise ConfigurationError(
            "the stream of a turn cannot be copied or pickled, as it holds an open connection: take its .turn, or a "
            "new stream of the session"
        )

    def __del__(self) -> None:
        # Dropped without being closed: the session may hold its turn, and the next one must find it counted.
        self._release()


def closed_before_sent() -> ConfigurationError:
    """The error for a stream that was closed while it was being opened, before its prompt was sent."""
    return ConfigurationError("this stream was closed before its prompt was sent: nothing was sent")


def event_of(update: Update) -> Event | None:
    """Return the event that this update comes from; None for a tool run that began or ended without one."""
    return update.event if isinstance(update, _RUNS) else update


def _caller() -> str:
    """Return the caller's position as "file:line"; empty if the event loop called this directly, as for a bare task."""
    frame = inspect.currentframe()
    while frame is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    if frame is None or frame.f_globals.get("__name__", "").startswith("asyncio"):
        return ""
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
