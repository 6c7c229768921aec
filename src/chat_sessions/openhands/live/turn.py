"""A turn read from the server's websockets: frames in, events out, and whether it is over. Pure.

There are two sockets. `/sockets/session/{id}` (newer servers) numbers its events and names the
message that each delta belongs to. `/sockets/events/{id}` (all) sends the bare events, deltas
without any name between them.

Neither says that a turn is over. A run is over when the conversation's whole state (`full_state`) says so, after this
turn's own message and a running state; `finished` alone is a hint, because a message that another client sends
meanwhile lets the run continue. Old servers (1.18.1) send no such state at the end: there the conversation has to be
asked (`needs_look`).
"""

from __future__ import annotations

from chat_sessions.core.events import Event, TextDelta, ThinkingDelta
from chat_sessions.openhands.events.json_values import JsonObject, as_object, as_text
from chat_sessions.openhands.events.mapping import is_user_message, message_images, message_text
from chat_sessions.openhands.events.turn_facts import ENDED, TurnFacts, status_of

__all__ = ["LiveTurn"]


class _Item:
    """A message that is being written, on the session socket: what of it the reader has seen.

    The text of a failed attempt cannot be taken back. The next one shows what it adds to that; if it differs,
    the message itself corrects it.
    """

    def __init__(self) -> None:
        self._attempt = 0
        self._next_order = 0
        self._is_cut = False
        self._shown: dict[str, list[str]] = {}
        self._said: dict[str, str] = {}
        self._before: dict[str, str] = {}

    def show(self, attempt: int, order: int, kind: str, content: str) -> str:
        """Return what this delta adds for the reader."""
        if attempt > self._attempt:
            self._begin(attempt)
        if attempt < self._attempt or order < self._next_order:
            return ""
        self._is_cut = self._is_cut or order > self._next_order
        self._next_order = order + 1
        if self._is_cut:
            return ""
        before = self._before.get(kind)
        if before is None:
            self._shown.setdefault(kind, []).append(content)
            return content
        said = self._said[kind] = self._said.get(kind, "") + content
        if len(said) <= len(before) or not said.startswith(before):
            return ""
        del self._before[kind]
        self._shown[kind] = [said]
        return said[len(before) :]

    def _begin(self, attempt: int) -> None:
        self._attempt, self._next_order, self._is_cut = attempt, 0, False
        self._said.clear()
        shown = {kind: "".join(parts) for kind, parts in self._shown.items()}
        self._before = {kind: text for kind, text in {**shown, **self._before}.items() if text}


class LiveTurn:
    """One turn, read frame by frame."""

    def __init__(self, prompt: str, image_urls: tuple[str, ...] = ()) -> None:
        self._prompt = prompt.strip()
        self._image_urls = image_urls
        self._items: dict[str, _Item] = {}
        self._seen: set[str] = set()
        self._has_run = False
        self._has_deltas = True
        # A new socket sends the state once more, from another moment than the events around it.
        self._state_is_early = False
        self._end_is_told = False
        self._end_is_due = False
        self.facts = TurnFacts()
        # The conversation's last known status, this turn's or not.
        self.status: str | None = None
        self.has_landed = False
        self.is_over = False
        self.needs_look = False
        # Where to continue after a cut: by number on the session socket, by time on the other.
        self.last_seq: int | None = None
        self._replayed_until: int | None = None
        self.last_time: str | None = None
        # The number of new events and deltas so far.
        self.heard = 0

    def envelope(self, frame: JsonObject) -> list[Event]:
        """Take in one frame of the session socket."""
        match frame.get("type"):
            case "durable":
                if isinstance(seq := frame.get("seq"), int):
                    self.last_seq = seq
                return self.event(as_object(frame.get("event")))
            case "transient":
                return self.event(as_object(frame.get("event")))
            case "delta":
                return self._delta(frame)
            case "sync":
                if isinstance(seq := frame.get("through_seq"), int):
                    self._replayed_until = seq
                    # Without a number yet, there is nothing else to continue from.
                    self.last_seq = seq if self.last_seq is None else self.last_seq
                return []
            case _:
                return []

    def event(self, event: JsonObject) -> list[Event]:
        """Take in one event, as the other socket sends it bare."""
        event_id = as_text(event.get("id"))
        if event_id in self._seen:
            return []
        if event_id:
            self._seen.add(event_id)
        status = status_of(event)
        self.status = status or self.status
        is_state = event.get("key") == "full_state"
        self.heard += not is_state
        if not is_state and event.get("kind") != "StreamingDeltaEvent":
            self.last_time = as_text(event.get("timestamp")) or self.last_time
        if not self.has_landed:
            if not self._is_own(event):
                return []
            self.has_landed = True
            # If the conversation turns out to be running, the message joins that run.
            self._has_run = self.status == "running"
        if event.get("kind") == "StreamingDeltaEvent":
            return self._bare_delta(event)
        if event.get("source") == "agent" and event.get("kind") in ("MessageEvent", "ActionEvent"):
            self._has_deltas = True
            self._items.pop(event_id, None)
        self._follow(status, is_state=is_state)
        return self.facts.read(event)

    def _is_own(self, event: JsonObject) -> bool:
        return (
            is_user_message(event)
            and message_text(event).strip() == self._prompt
            # They distinguish messages without words.
            and message_images(event) == self._image_urls
        )

    def _follow(self, status: str | None, *, is_state: bool) -> None:
        """Decide from a status whether the turn is over."""
        is_early, self._state_is_early = self._state_is_early and is_state, self._state_is_early and not is_state
        if is_early and self.needs_look and status == "running":
            # The state can also be older than the events.
            return
        if status == "running":
            self._has_run, self.needs_look = True, False
            self._end_is_told = self._end_is_due = False
        elif status in ENDED and self._has_run:
            self._end_is_told = self._end_is_told or not is_state
            # The reason of an error comes after its status.
            self.is_over = self._end_is_told if is_early else is_state or (self._end_is_due and status != "error")
            self._end_is_due = self._end_is_due or is_state
            self.needs_look = not self.is_over
        elif status == "idle" and self.needs_look:
            # Only a message to a conversation whose run has ended sets it to idle.
            self.is_over = True

    def confirmed(self) -> None:
        """Note that the conversation, when asked, said that the run is over."""
        self.is_over = True

    def goes_on(self) -> None:
        """Note that a run that seemed to be over continues: wait for its next state."""
        self.is_over = self.needs_look = self._has_run = False

    def reconnected(self) -> None:
        """Note that the stream continues after a cut, which may have cost deltas."""
        self.missed_deltas()
        self._state_is_early = True

    def missed_deltas(self) -> None:
        """Note that deltas are missing on the older socket: their text comes whole in its final."""
        self._has_deltas = False

    def _delta(self, frame: JsonObject) -> list[Event]:
        """Take in a delta that names its item, attempt and place in it."""
        content, kind = as_text(frame.get("content")), as_text(frame.get("kind"))
        attempt, order = frame.get("attempt"), frame.get("order")
        if not (self.has_landed and isinstance(attempt, int) and isinstance(order, int)):
            return []
        if self._replayed_until is not None and (self.last_seq or 0) < self._replayed_until:
            # It belongs to a message after those still to be replayed, which comes whole.
            return []
        item = self._items.setdefault(as_text(frame.get("item_id")), _Item())
        self.heard += 1
        return _as_delta(kind, item.show(attempt, order, kind, content))

    def _bare_delta(self, event: JsonObject) -> list[Event]:
        if not self._has_deltas:
            return []
        return [
            *_as_delta("reasoning", as_text(event.get("reasoning_content"))),
            *_as_delta("text", as_text(event.get("content"))),
        ]


def _as_delta(kind: str, content: str) -> list[Event]:
    if not content:
        return []
    return [ThinkingDelta(content=content) if kind == "reasoning" else TextDelta(content=content)]
