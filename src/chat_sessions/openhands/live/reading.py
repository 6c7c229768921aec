"""What the sync and the async connection of a turn decide. Pure except for the clock."""

from __future__ import annotations

from collections import deque

from websockets.exceptions import ConnectionClosed

from chat_sessions.core.errors import APIConnectionError, APIError, ConflictError, ProtocolError, TurnStalled
from chat_sessions.core.events import Event
from chat_sessions.core.turn import Turn
from chat_sessions.http.calls import told
from chat_sessions.openhands.confirmation import ConfirmationRequest, request_of
from chat_sessions.openhands.events.json_values import JsonObject, as_text
from chat_sessions.openhands.events.turn_facts import ENDED, status_of
from chat_sessions.openhands.live.sockets import SocketKind, closing_error, decode, is_frame_too_large, too_large
from chat_sessions.openhands.live.turn import LiveTurn
from chat_sessions.openhands.settings import Settings
from chat_sessions.session.backend import ConnectionLost, EventUnreadable, TurnRequest
from chat_sessions.session.deadlines import EventClock

__all__ = ["STATE_WAIT", "Reading", "not_idle", "not_run"]

# How long the server may take to send a conversation's state, in seconds, before it is asked: during a run, the state
# that it sends on connecting may be late or missing.
STATE_WAIT = 2.0
# Seconds before each try to reconnect; after the last, the conversation is read back.
RECONNECT_WAITS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)
# How long after a hint that the run is over the server may take to say so, in seconds, before it
# is asked. Servers that do say so do it within milliseconds; 1.18.1 does not at all.
_SETTLING = {"session": 2.0, "events": 0.1}
# After how many seconds of silence the older socket has sent what was missed during a cut.
_REPLAYED = 0.5
# Seconds of silence before the server is asked, each time, whether the run is still going. A message that comes while a
# run ends may be accepted but not run, or run without any event (1.18.1).
_SILENCES = (5.0, 10.0, 20.0, 30.0)


def not_idle(session_id: str, status: str) -> ConflictError:
    """The error for a conversation that cannot take a message now. Nothing was sent."""
    if status == "waiting_for_confirmation":
        # A message would let the waiting actions run unconfirmed.
        why = "waits for a confirmation of its next action: answer with respond_to_confirmation() first"
    else:
        why = "is still at work on an earlier message: wait for its end, or interrupt() it"
    error = ConflictError(f"conversation {session_id} {why}", status_code=409)
    error.may_pass = status != "waiting_for_confirmation"
    return error


def not_run(request: TurnRequest, why: str) -> TurnStalled:
    """The error for a message that the conversation has, and that was not run in time."""
    session_id = request.session_id
    return TurnStalled(
        f"the server is at its limit of runs ({why}): session {session_id} has the prompt, and does not run it. Start "
        f"it with run({session_id!r}) when another run has ended; do not send the prompt again",
        turn=Turn(request.prompt),
        session_id=session_id,
    )


class Reading:
    """A turn being read: frames in, events ready to be given out."""

    def __init__(self, settings: Settings, request: TurnRequest, clock: EventClock) -> None:
        self._settings = settings
        self._secrets = settings.secrets
        self.session_id = request.session_id
        self.turn = LiveTurn(request.prompt, request.image_urls)
        self.ready: deque[Event] = deque()
        self.kind: SocketKind = "session"
        self.is_closed = False
        self.has_stopped = False
        self._clock = clock
        self._awaits_state = False
        self._may_lack_events = False
        self._has_left_out = False
        # What came after a cut, with its time: the older socket sends it in any order.
        self._held: list[tuple[str, list[Event]]] | None = None
        self._has_waited_for_reason = False
        self._reconnects = 0
        self._heard_before = 0
        self._silences = 0

    def take(self, data: str | bytes) -> None:
        """Process one frame; skip it if it is over the limit, since the history has it.

        Raises `ProtocolError` for one that cannot be read.
        """
        if len(data.encode() if isinstance(data, str) else data) > self._settings.max_event_bytes:
            if not self.turn.has_landed:
                raise too_large(self._settings.max_event_bytes)
            self._has_left_out = True
            self._clock.event_arrived()
            return
        frame = decode(data, self._secrets)
        self._silences = 0
        if self.kind == "session":
            self.ready.extend(self.turn.envelope(frame))
            return
        if self._awaits_state and frame.get("key") == "full_state":
            self._awaits_state = False
            if status_of(frame) in ENDED:
                # It comes before the events that were missed, and nothing comes after them.
                raise ConnectionLost("the turn ended while the connection was cut")
        events = self.turn.event(frame)
        if self._held is None:
            self.ready.extend(events)
        elif frame.get("kind") != "StreamingDeltaEvent":
            self._held.append((as_text(frame.get("timestamp")), events))
            self._clock.event_arrived()

    def release(self) -> bool:
        """Make ready what was held back after a cut, in the order of its times; returns whether there was anything."""
        held, self._held = self._held, None
        if held is None:
            return False
        for _, events in sorted(held, key=lambda item: item[0]):
            self.ready.extend(events)
        self.turn.missed_deltas()
        return bool(self.ready)

    def reconnect_waits(self) -> tuple[float, ...]:
        """Return the seconds to wait before each reconnect, longer the more sockets in a row have brought nothing."""
        if self.turn.heard != self._heard_before:
            self._reconnects = 0
        return RECONNECT_WAITS[self._reconnects :]

    def reconnected(self) -> None:
        """Note that a new socket continues where the last one broke."""
        self._reconnects += 1
        self._heard_before = self.turn.heard
        self.turn.reconnected()
        self._awaits_state = self._may_lack_events = self.kind == "events"
        if self.kind == "events" and self._held is None:
            self._held = []

    def wait_limit(self) -> float | None:
        """Seconds to wait for the next frame."""
        left = self._clock.remaining()
        look = _SETTLING[self.kind] if self.turn.needs_look else _SILENCES[min(self._silences, len(_SILENCES) - 1)]
        if self._held is not None and not self.turn.needs_look:
            look = _REPLAYED
        return look if left is None else min(look, left)

    def not_open(self, error: ConnectionClosed) -> APIError | ProtocolError:
        """The error for a socket that was closed before the message was sent."""
        meaning = closing_error(error, self.session_id, self._settings.max_event_bytes)
        return meaning or APIConnectionError(f"the server closed the websocket of {self.session_id} ({error})")

    def must_reconnect(self, error: ConnectionClosed) -> None:
        """Return if the stream can continue with a new socket; else raise what its end means."""
        meaning = closing_error(error, self.session_id, self._settings.max_event_bytes)
        if isinstance(meaning, ProtocolError) and self.turn.has_landed:
            raise EventUnreadable(meaning) from error
        if meaning is not None:
            raise meaning from error
        if self.is_closed or not self.turn.has_landed:
            raise ConnectionLost(f"the connection broke ({error})") from error
        if is_frame_too_large(error) and self.kind == "session":
            # The other socket brings the rest of the turn. If something is missing there, the turn is looked up.
            self.kind = "events"

    def looked(self, info: JsonObject) -> None:
        """Take in the conversation's state, after a hint that the run is over."""
        if as_text(info.get("execution_status")) in ENDED:
            if self.turn.facts.lacks_reason and not self._has_waited_for_reason:
                # It follows the status at once, but may not have been read yet when the server was asked.
                self._has_waited_for_reason = True
                return
            self.turn.confirmed()
        else:
            self.turn.goes_on()

    def was_silent(self, info: JsonObject) -> bool:
        """Take in the conversation's state after a silence; return whether its message must be run."""
        self._silences += 1
        status = as_text(info.get("execution_status"))
        # The event that says so may still be on its way: ask again in a moment, then read the history.
        self.turn.needs_look = self._may_lack_events = status in ENDED
        return status == "idle"

    def check_whole(self) -> None:
        """Raise `ConnectionLost` if the turn is over but only its history can show whether all of it was read.

        After a cut, the older socket sends new events between those that were missed, so the end may come first. And
        it may have sent nothing of what ended in a silence.
        """
        may_lack_events = self._may_lack_events or self._has_left_out
        if may_lack_events and not (self.turn.facts.waits_for_confirmation and self.turn.facts.unanswered):
            raise ConnectionLost("the connection did not bring the whole turn")

    def stop(self, info: JsonObject | APIError) -> None:
        """End the turn with its stop, which says what the conversation knows of it."""
        stop = self.turn.facts.stop(None if isinstance(info, APIError) else info)
        self.ready.append(told(stop, self._settings.secrets))
        self.has_stopped = True

    @property
    def confirmation(self) -> ConfirmationRequest | None:
        """What the run has stopped for permission to do; None if it stopped for another reason."""
        facts = self.turn.facts
        return request_of(self.session_id, facts.unanswered) if facts.waits_for_confirmation else None
