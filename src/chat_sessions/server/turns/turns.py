"""Turns: an agent's answer, stored as it comes and only then shown to the client."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from typing import Any
from weakref import WeakValueDictionary

from chat_sessions.core.errors import ProtocolError
from chat_sessions.core.events import Event, Stop, UnknownEvent, UserInput, parse_event, parse_event_json
from chat_sessions.core.models import JobMetadata, Usage
from chat_sessions.server.documents.library import Library
from chat_sessions.server.store.store import Store, StoredEvent, StoreFailed, TurnLost, TurnRunning
from chat_sessions.server.turns.agent import Agent, AgentTurn
from chat_sessions.server.turns.behaviour import Behaviour
from chat_sessions.server.turns.limits import Limits, TimedAgent, TurnSize
from chat_sessions.server.turns.orphans import Orphans
from chat_sessions.server.turns.segments import DELTA_TYPES, Segments, is_live
from chat_sessions.server.turns.titles import title_of

__all__ = ["RunningTurn", "SessionBusy", "ShuttingDown", "Turns"]

_log = logging.getLogger(__name__)

# An agent that produces faster than the disk writes is held back after this many events.
_AHEAD = 128
# An agent that goes on after it was cancelled is left behind after this many seconds.
_PATIENCE = 5.0
# A message that waits for a turn in another process asks for its end this often, in seconds.
_ASK_AGAIN = 0.1


class SessionBusy(Exception):
    """The session is answering another message."""


class ShuttingDown(Exception):
    """The server takes no more messages."""


class RunningTurn:
    """A turn under way: its live events, and the way to end it early."""

    def __init__(self, session_id: str, turn_id: int, order: asyncio.Lock) -> None:
        self.session_id = session_id
        self.turn_id = turn_id
        self._order: asyncio.Lock | None = order
        self.why_cancelled: str | None = None
        self.answering: asyncio.Task[None] | None = None
        self._live: asyncio.Queue[Sequence[StoredEvent]] = asyncio.Queue()
        self._is_read = True

    async def live(self) -> AsyncIterator[StoredEvent]:
        """The events to stream, each as soon as it is stored; ends with the turn. For one reader."""
        while events := await self._live.get():
            for event in events:
                yield event

    def cancel(self, reason: str) -> None:
        """Ends the turn with an error stop that says why; does nothing to one that is ending already."""
        # A second cancellation would hit the task while it closes the turn.
        if self.why_cancelled is None and self.answering is not None:
            self.why_cancelled = reason
            self.answering.cancel()

    def abandon(self) -> None:
        """Says that nobody reads `live` any more, so that nothing is kept for it."""
        self._is_read = False

    def release(self) -> None:
        """Lets the session's next message begin."""
        if self._order is not None:
            self._order.release()
            self._order = None

    def show(self, *events: StoredEvent) -> None:
        """Hands events to the reader of `live`; none at all is its end."""
        if self._is_read:
            self._live.put_nowait(events)


class Turns:
    """Starts turns, keeps their order within a session, and ends them all when the server closes."""

    def __init__(
        self, store: Store, library: Library, agent: Agent, behaviour: Behaviour, limits: Limits | None = None
    ) -> None:
        self._store = store
        self._library = library
        self._limits = limits or Limits()
        seconds = self._limits.turn_seconds
        self._agent = agent if seconds is None else TimedAgent(agent, seconds)
        self._behaviour = behaviour
        self._running: dict[asyncio.Task[None], RunningTurn] = {}
        # The sessions in which a turn is just being recorded; each future is done when it has been.
        self._beginning: dict[asyncio.Future[None], str] = {}
        self._order: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._closing = False
        self._drained = False
        self._watching: asyncio.Task[None] | None = None
        self._orphans = Orphans(
            store,
            answered=lambda: [turn.turn_id for turn in self._running.values()],
            is_beginning=lambda session_id: session_id in self._beginning.values(),
            lost=self._lose,
            closing=_closing,
        )

    async def open(self) -> None:
        """Ends, as errors, the turns of processes that died, now and until `close`.

        On SQLite, whose file one server has at a time, those are all that run when it is opened. On a shared
        store they are those whose process shows no life, and it takes a few seconds to be sure of that.
        """
        if not self._store.is_shared:
            await self._orphans.end_all()
        self._watching = asyncio.create_task(self._orphans.watch())

    async def start(
        self,
        session_id: str,
        prompt: str,
        *,
        index_ids: Sequence[str],
        require_all_indexes: bool,
        is_gone: Callable[[], Awaitable[bool]],
    ) -> RunningTurn | None:
        """Records the message and begins to answer it.

        Gives None, and records nothing, for a message that had to queue and whose client left
        meanwhile (`is_gone`). Raises `SessionBusy`, `ShuttingDown`, and what `Store.begin_turn` raises.

        A message that queues for a turn in another process of a shared store gets its turn after that one, but
        not in the order of arrival among the processes.
        """
        order = self._order.setdefault(session_id, asyncio.Lock())
        if self._behaviour.concurrent_turns == "parallel":
            order = asyncio.Lock()
        queued = order.locked()
        if queued and self._behaviour.concurrent_turns == "conflict":
            raise SessionBusy
        await order.acquire()
        user_input = _stored(UserInput(content=prompt))
        index_ids = list(dict.fromkeys(index_ids))
        try:
            turn_id = None
            while not (queued and await is_gone()):
                turn_id = await self._begin(session_id, prompt, user_input, index_ids)
                if turn_id is not None:
                    break
                await asyncio.sleep(_ASK_AGAIN)
                queued = True
        except BaseException:
            order.release()
            raise
        if turn_id is None:
            order.release()
            return None
        turn = RunningTurn(session_id, turn_id, order)
        if is_live("user_input", self._behaviour):
            turn.show(user_input)
        events: asyncio.Queue[StoredEvent] = asyncio.Queue(_AHEAD)
        # The task of a turn is the server's own: it outlives the request that began it.
        turn.answering = asyncio.create_task(self._answer(turn, prompt, index_ids, require_all_indexes, events))
        recording = asyncio.create_task(self._record(turn, events))
        self._running[recording] = turn

        def ended(_task: asyncio.Task[None]) -> None:
            del self._running[recording]
            turn.release()

        recording.add_done_callback(ended)
        return turn

    async def _begin(self, session_id: str, prompt: str, user_input: StoredEvent, index_ids: list[str]) -> int | None:
        """The number of a new turn, or None if the message has to queue for a turn in another process."""
        if self._closing:
            raise ShuttingDown
        begun = asyncio.get_running_loop().create_future()
        self._beginning[begun] = session_id
        try:
            return await self._store.begin_turn(
                session_id,
                user_input,
                index_ids=index_ids,
                title=title_of(prompt) if self._behaviour.automatic_title else None,
                locked=self._behaviour.sources == "locked",
                alone=self._behaviour.concurrent_turns != "parallel",
            )
        except TurnRunning:
            if self._behaviour.concurrent_turns == "conflict":
                raise SessionBusy from None
            return None
        except (StoreFailed, asyncio.CancelledError):
            # It may have begun all the same.
            self._orphans.suspect()
            raise
        finally:
            begun.set_result(None)
            del self._beginning[begun]

    async def delete(self, session_id: str) -> None:
        """Removes a session; a turn that it is answering ends first, one in another process soon after.

        Raises `UnknownSession`.
        """
        await self._store.session(session_id)
        await self._end(
            [task for task, turn in self._running.items() if turn.session_id == session_id], "the session was deleted"
        )
        await self._store.delete_session(session_id)

    async def close(self, *, drain: float = 0.0) -> None:
        """Takes no more messages, gives running turns `drain` seconds to end, and cancels the rest.

        May be called again, also while it waits: without a `drain`, both end at once. Nobody waits a second
        time for what did not end in the first.
        """
        self._closing = True
        if self._beginning:
            await asyncio.wait(list(self._beginning), timeout=_PATIENCE)
        if self._running and drain > 0 and not self._drained:
            await asyncio.wait(list(self._running), timeout=drain)
        self._drained = True
        await self._end(list(self._running), "the server is shutting down")
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait([self._watching])

    def _lose(self, turn_id: int) -> None:
        for turn in self._running.values():
            if turn.turn_id == turn_id:
                # What the client is told comes from the store, when the stop is to be written.
                turn.cancel("the turn was ended from outside")

    async def _end(self, recordings: list[asyncio.Task[None]], reason: str) -> None:
        for recording in recordings:
            self._running[recording].cancel(reason)
        if recordings:
            await asyncio.wait(recordings, timeout=_PATIENCE)

    async def _answer(
        self,
        turn: RunningTurn,
        prompt: str,
        index_ids: Sequence[str],
        require_all_indexes: bool,
        events: asyncio.Queue[StoredEvent],
    ) -> None:
        """Asks the agent, and puts the events of the turn, the stop always last."""
        started = time.monotonic()
        segments = Segments()
        skipped: list[str] = []
        stop = Stop(usage=Usage(), is_error=False)
        try:
            indexes, skipped = await self._library.queryable(index_ids)
            if skipped and (require_all_indexes or not indexes):
                which = "not all" if indexes else "none"
                stop = _error_stop(f"{which} of the requested indexes can be queried: no {', '.join(skipped)}")
            else:
                history = await self._store.events(turn.session_id, without=DELTA_TYPES, before_turn=turn.turn_id)
                agent_turn = AgentTurn(
                    session_id=turn.session_id,
                    prompt=prompt,
                    indexes=indexes,
                    history=[parse_event_json(event.body) for event in history],
                )
                stop = await self._ask(agent_turn, segments, events) or stop
        except BaseException as error:
            # The agent is the user's own: whatever it raises ends the turn alone. Unless caught
            # here, a SystemExit would end the event loop, and with it every other turn.
            if isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
                raise  # Ctrl-C, and not the agent's
            if isinstance(error, asyncio.CancelledError) and _is_cancelled():
                stop = _error_stop(turn.why_cancelled or "the server is shutting down")
            else:
                _log.exception("the agent failed in session %s", turn.session_id)
                stop = _error_stop("the agent failed: " + ": ".join(filter(None, (type(error).__name__, str(error)))))
        usage = stop.usage
        if not usage.duration_ms:
            usage = usage.model_copy(update={"duration_ms": round((time.monotonic() - started) * 1000, 3)})
        stop = stop.model_copy(update={"usage": usage, "skipped_index_ids": skipped or stop.skipped_index_ids})
        for event in (*segments.close(), stop):
            await events.put(_stored(event))

    async def _ask(self, agent_turn: AgentTurn, segments: Segments, events: asyncio.Queue[StoredEvent]) -> Stop | None:
        """Puts the agent's events, each segment completed; gives its own stop, or that of a turn grown too large."""
        size = TurnSize(self._limits)
        answer = self._agent.run(agent_turn)
        try:
            async for event in answer:
                if isinstance(event, Stop):
                    return event
                if isinstance(event, UserInput):
                    raise TypeError("user_input is the server's own event, an agent cannot give it")
                if isinstance(event, UnknownEvent) and _is_known(event):
                    raise TypeError(f"an UnknownEvent cannot stand for a {event.type} event; give the event itself")
                # Before the event enters a segment: what cannot be written must not be part of its whole.
                stored = _stored(event)
                cut = size.add(stored.body)
                if cut is not None:
                    return cut
                for completed in segments.add(event):
                    await events.put(stored if completed is event else _stored(completed))
            return None
        finally:
            if isinstance(answer, AsyncGenerator):
                await answer.aclose()

    async def _record(self, turn: RunningTurn, events: asyncio.Queue[StoredEvent]) -> None:
        """Stores a turn's events, and shows each when it is stored.

        What gathers while one write runs goes into the next: an agent at reading speed has each
        event written by itself, a fast one is not slowed to the pace of the disk.
        """
        broken: str | None = None
        ended = False
        while not ended:
            batch = [await events.get()]
            while not events.empty():
                batch.append(events.get_nowait())
            ended = batch[-1].type == "stop"
            if broken is None:
                try:
                    stop = parse_event_json(batch[-1].body) if ended else None
                    await self._store.append(
                        turn.session_id,
                        turn.turn_id,
                        batch,
                        job_metadata=_job_metadata(stop) if isinstance(stop, Stop) else None,
                    )
                except TurnLost as error:
                    broken = str(error)
                    turn.cancel(broken)
                except Exception as error:  # noqa: BLE001 (a full disk, a lost connection: the client has to be told)
                    _log.exception("the store failed in session %s", turn.session_id)
                    broken = f"the answer could not be stored: {error}"
                    turn.cancel(broken)
                    self._orphans.suspect()
            if ended:
                # Before the stop is shown: a client that has read it may send its next message.
                turn.release()
            if broken is None:
                live = [event for event in batch if is_live(event.type, self._behaviour)]
                if live:
                    turn.show(*live)
        if broken is not None:
            turn.show(_stored(_error_stop(broken)))
        turn.show()


def _is_cancelled() -> bool:
    """Whether somebody cancelled this task: an agent may raise `CancelledError` of its own accord."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _is_known(event: UnknownEvent) -> bool:
    """Whether a client would take the event for one of a known type, well-formed or not."""
    try:
        return not isinstance(parse_event(event.raw), UnknownEvent)
    except ProtocolError:
        return True


def _closing(stored: Sequence[StoredEvent]) -> tuple[list[StoredEvent], dict[str, Any]]:
    """What ends a turn whose process has gone: its open segment as a whole, and an error stop."""
    segments = Segments()
    for event in stored:
        segments.add(parse_event_json(event.body))
    stop = _error_stop("the server stopped while it was answering")
    return [_stored(event) for event in (*segments.close(), stop)], _job_metadata(stop)


def _error_stop(error: str) -> Stop:
    # An exception's text can hold halves of surrogate pairs, which no UTF-8 can.
    return Stop(usage=Usage(), is_error=True, error=error.encode("utf-8", "replace").decode("utf-8"))


def _stored(event: Event) -> StoredEvent:
    return StoredEvent(event.type, event.model_dump_json())


def _job_metadata(stop: Stop) -> dict[str, Any]:
    usage = stop.usage.model_dump(mode="json")
    return JobMetadata.model_validate({**usage, "is_error": stop.is_error, "error": stop.error}).model_dump(mode="json")
