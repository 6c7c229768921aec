"""A model of the service: sessions whose turns happen at known times, under any `Behaviour`.

It shares with the local server what decides which events a stream and a history hold, and nothing
with the client. A turn is a function of time, so that nothing runs in the background.
"""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

from pydantic import JsonValue

from chat_sessions.core.events import Event, Stop, UserInput, dump_event
from chat_sessions.core.models import Usage
from chat_sessions.core.turn import Turn, replay
from chat_sessions.server import Behaviour
from chat_sessions.server.turns.segments import Segments, event_name, hidden_in_history, is_live

__all__ = ["Answered", "ServedTurn", "Service", "Speech", "paced"]

# How long keep-alives go on for a turn that never ends, in seconds; then nothing comes any more.
_LONGEST_SILENCE = 600.0
_JSON = (("Content-Type", "application/json"),)
_STREAM = (("Content-Type", "text/event-stream; charset=utf-8"), ("Cache-Control", "no-store"))


@dataclass(frozen=True)
class Speech:
    """What the agent says: events, each with the seconds before it; `math.inf` for one that never comes."""

    said: tuple[tuple[float, Event], ...]


@dataclass(eq=False)
class ServedTurn:
    """One turn that landed."""

    prompt: str
    started: float
    speech: Speech
    is_ours: bool = True
    cut_at: float = math.inf

    @cached_property
    def timeline(self) -> list[tuple[float, Event]]:
        """Every event with the time at which it happens; the last is the stop."""
        made: list[tuple[float, Event]] = [(self.started, UserInput(content=self.prompt))]
        segments = Segments()
        at = self.started
        stop = Stop(usage=Usage(), is_error=False)
        for gap, event in self.speech.said:
            at += gap
            if at > self.cut_at or at == math.inf:
                at, stop = self.cut_at, Stop(usage=Usage(), is_error=True, error="the client disconnected")
                break
            if isinstance(event, Stop):
                stop = event
                break
            made += [(at, each) for each in segments.add(event)]
        return [*made, *((at, event) for event in (*segments.close(), stop))]

    @property
    def ended(self) -> float:
        """When its stop happens; `math.inf` for never."""
        return self.timeline[-1][0]

    @property
    def turn(self) -> Turn:
        """The whole of it, as the agent said it."""
        return replay([event for _, event in self.timeline])[0]

    def cut(self, at: float) -> None:
        """The client has gone, and the service ends the turn with it."""
        if at < min(self.cut_at, self.ended):
            self.cut_at = max(at, self.started)
            del self.timeline


@dataclass
class Answered:
    """An answer: its head, and its body with the time of each piece."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: Callable[[], Iterator[tuple[float, bytes]]]
    begins: float
    # Called with the time at which the service notices that its client has gone.
    left: Callable[[float], None] = field(default=lambda _: None)


class Service:
    """Sessions and their turns. `speeches` says what the agent answers to each prompt that lands, in order."""

    def __init__(self, behaviour: Behaviour, speeches: Callable[[int], Speech]) -> None:
        self.behaviour = behaviour
        self.sessions: dict[str, list[ServedTurn]] = {}
        self._speeches = speeches
        self._landed = 0
        self.busy_refusals = 0

    def ask(self, method: str, path: str, body: bytes, at: float) -> Answered:
        """What the service does with a request that reaches it."""
        parts = path.removeprefix("/api/v1/chat").strip("/").split("/")
        session_id = parts[0]
        if not session_id:
            session_id = f"ses-{len(self.sessions) + 1}"
            self.sessions[session_id] = []
            return _json(200, self._summary(session_id), at)
        if session_id not in self.sessions:
            return _json(404, {"detail": "Session not found"}, at)
        if method == "GET":
            events: list[JsonValue] = [] if parts[1:] else [dump_event(event) for event in self.history(session_id, at)]
            return _json(200, {**self._summary(session_id), **({} if parts[1:] else {"events": events})}, at)
        return self._post(session_id, json.loads(body)["prompt"], at)

    def history(self, session_id: str, at: float) -> list[Event]:
        """The session's events as a reader sees them at a time."""
        hidden = hidden_in_history(self.behaviour)
        return [
            event
            for turn in self.sessions[session_id]
            if turn.started <= at and (self.behaviour.history_timing == "live" or turn.ended <= at)
            for when, event in turn.timeline
            if when <= at and event.type not in hidden
        ]

    def write(self, session_id: str, prompt: str, at: float, *, is_ours: bool) -> ServedTurn:
        """A prompt lands; its turn begins then."""
        self._landed += 1
        turn = ServedTurn(prompt, at, self._speeches(self._landed), is_ours)
        self.sessions[session_id].append(turn)
        return turn

    def busy_until(self, session_id: str, at: float) -> float:
        """When the session's running turns will have ended; the past if none runs."""
        return max((turn.ended for turn in self.sessions[session_id]), default=at)

    def _post(self, session_id: str, prompt: str, at: float) -> Answered:
        free = self.busy_until(session_id, at)
        if free > at and self.behaviour.concurrent_turns == "conflict":
            self.busy_refusals += 1
            return _json(409, {"detail": "the session is answering another message"}, at)
        begins = max(at, free) if self.behaviour.concurrent_turns == "queue" else at
        if begins == math.inf:
            return Answered(200, _STREAM, lambda: iter(()), begins)
        turn = self.write(session_id, prompt, begins, is_ours=True)

        def left(when: float) -> None:
            if when < turn.started:
                # It still stood in line, and is not taken.
                self.sessions[session_id].remove(turn)
            elif self.behaviour.on_disconnect == "cancel":
                turn.cut(when)

        return Answered(200, _STREAM, lambda: self._stream(turn), begins, left)

    def _stream(self, turn: ServedTurn) -> Iterator[tuple[float, bytes]]:
        last = turn.started
        for number, (at, event) in enumerate(turn.timeline):
            yield from self._comments(last, at)
            last = at
            if not is_live(event.type, self.behaviour):
                continue
            name = event_name(event.type, self.behaviour)
            lines = [f"event: {name}"] if name else []
            lines += [f"id: 1-{number}"] if self.behaviour.event_ids else []
            lines.append("data: " + json.dumps(dump_event(event), ensure_ascii=False))
            yield at, "\r\n".join((*lines, "", "")).encode()

    def _comments(self, start: float, end: float) -> Iterator[tuple[float, bytes]]:
        pause = self.behaviour.keep_alive
        at = start + (pause or math.inf)
        while at < min(end, start + _LONGEST_SILENCE):
            yield at, b": keep-alive\r\n\r\n"
            at += pause or math.inf

    def _summary(self, session_id: str) -> dict[str, JsonValue]:
        return {
            "session_id": session_id,
            "last_updated_at": "2026-04-22T12:34:41",
            "generated_title": None,
            "index_ids": ["idx-1"],
            "job_metadata": None,
            "shared_access": "read_only",
        }


def _json(status: int, body: JsonValue, at: float) -> Answered:
    return Answered(status, _JSON, lambda: iter([(at, json.dumps(body, ensure_ascii=False).encode())]), at)


async def paced(pieces: Iterator[tuple[float, bytes]], wait: Callable[[float], None]) -> AsyncIterator[bytes]:
    """The pieces; `wait` is told the time of each before it is given."""
    for at, data in pieces:
        wait(at)
        yield data
