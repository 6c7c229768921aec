"""Turns: an agent's answer, stored as it arrives and only then shown to the client."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from weakref import WeakValueDictionary

from chat_sessions.core.errors import ProtocolError
from chat_sessions.core.events import Stop, UnknownEvent, UserInput, parse_event, parse_event_json
from chat_sessions.core.models import Usage
from chat_sessions.server.documents.indexes import Index
from chat_sessions.server.documents.library import Library
from chat_sessions.server.store.database import StoreFailed
from chat_sessions.server.store.records import StoredEvent, TurnLost, TurnRunning
from chat_sessions.server.store.store import Store
from chat_sessions.server.turns.agent import Agent, AgentTurn
from chat_sessions.server.turns.behaviour import Behaviour
from chat_sessions.server.turns.limits import Limits, TimedAgent, TurnSize, TurnSlots
from chat_sessions.server.turns.orphans import Orphans
from chat_sessions.server.turns.running import RunningTurn
from chat_sessions.server.turns.segments import DELTA_TYPES, Segments, is_live
from chat_sessions.server.turns.stops import closing, error_stop, job_metadata, stored
from chat_sessions.server.turns.titles import Titles

__all__ = ["SessionBusy", "ShuttingDown", "Turns"]

_log = logging.getLogger(__name__)

# An agent that produces faster than the disk writes is held back after this many events.
_AHEAD = 128
# An agent that continues after it was cancelled is abandoned after this many seconds.
_PATIENCE = 5.0
# Files that take longer to read are found by a later turn.
_CHECK_SECONDS = 5.0
# A message that waits for a turn in another process checks for its end this often, in seconds.
_ASK_AGAIN = 0.1


class SessionBusy(Exception):
    """The session is answering another message."""

    def __init__(self, session_id: str) -> None:
        super().__init__(f"session {session_id} is answering another message; wait for its stop")


class ShuttingDown(Exception):
    """The server accepts no more messages."""

    def __init__(self) -> None:
        super().__init__("the server is shutting down")


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
        self._slots = TurnSlots(self._limits.running_turns)
        self._behaviour = behaviour
        self.titles = Titles(store, agent, automatic=behaviour.automatic_title)
        self._running: dict[asyncio.Task[None], RunningTurn] = {}
        # The sessions in which a turn is being recorded; each future is done when it has been.
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
            closing=closing,
        )

    async def open(self) -> None:
        """End, as errors, the turns of processes that died, now and until `close`.

        On SQLite, where one server at a time has the file, these are all turns that are running when it is opened.
        On a shared store they are those whose process shows no sign of life; to be sure takes a few seconds.
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
        """Record a message and begin to answer it.

        Returns None, and records nothing, for a message that had to queue and whose client left meanwhile
        (`is_gone`). Raises `TooManyTurns`, `SessionBusy`, `ShuttingDown`, and what `Store.begin_turn` raises.

        A message that queues for a turn in another process of a shared store begins after that turn, but not in the
        order of arrival among the processes.
        """
        self._slots.take()
        turn = None
        try:
            turn = await self._start(session_id, prompt, list(dict.fromkeys(index_ids)), require_all_indexes, is_gone)
        finally:
            # The slot is taken until the agent has ended, whether or not anyone reads its answer.
            if turn is None or turn.answering is None:
                self._slots.free()
            else:
                turn.answering.add_done_callback(self._slots.free)
        return turn

    async def _start(
        self,
        session_id: str,
        prompt: str,
        index_ids: list[str],
        require_all_indexes: bool,
        is_gone: Callable[[], Awaitable[bool]],
    ) -> RunningTurn | None:
        order = self._order.setdefault(session_id, asyncio.Lock())
        if self._behaviour.concurrent_turns == "parallel":
            order = asyncio.Lock()
        queued = order.locked()
        if queued and self._behaviour.concurrent_turns == "conflict":
            raise SessionBusy(session_id)
        await order.acquire()
        user_input = stored(UserInput(content=prompt))
        turn_id = None
        try:
            while not (queued and await is_gone()):
                turn_id = await self._begin(session_id, prompt, user_input, index_ids)
                if turn_id is not None:
                    break
                await asyncio.sleep(_ASK_AGAIN)
                queued = True
        finally:
            if turn_id is None:
                order.release()
        if turn_id is None:
            return None
        turn = RunningTurn(session_id, turn_id, order)
        if is_live("user_input", self._behaviour):
            turn.show(user_input)
        events: asyncio.Queue[StoredEvent] = asyncio.Queue(_AHEAD)
        # The task of a turn is the server's own: it outlives the request that started it.
        turn.answering = asyncio.create_task(self._answer(turn, prompt, index_ids, require_all_indexes, events))
        recording = asyncio.create_task(self._record(turn, events))
        self._running[recording] = turn

        def ended(_task: asyncio.Task[None]) -> None:
            del self._running[recording]
            turn.release()

        recording.add_done_callback(ended)
        return turn

    async def _begin(self, session_id: str, prompt: str, user_input: StoredEvent, index_ids: list[str]) -> int | None:
        """Return the number of a new turn, or None if the message must queue for a turn in another process."""
        if self._closing:
            raise ShuttingDown
        begun = asyncio.get_running_loop().create_future()
        self._beginning[begun] = session_id
        try:
            return await self._store.begin_turn(
                session_id,
                user_input,
                index_ids=index_ids,
                title=self.titles.first(prompt),
                locked=self._behaviour.sources == "locked",
                alone=self._behaviour.concurrent_turns != "parallel",
            )
        except TurnRunning:
            if self._behaviour.concurrent_turns == "conflict":
                raise SessionBusy(session_id) from None
            return None
        except (StoreFailed, asyncio.CancelledError):
            # The turn may have begun all the same.
            self._orphans.suspect()
            raise
        finally:
            begun.set_result(None)
            del self._beginning[begun]

    async def delete(self, session_id: str) -> None:
        """Delete a session. A turn that it is answering ends first; one in another process ends soon after.

        Raises `UnknownSession`.
        """
        await self._store.session(session_id)
        await self._end(
            [task for task, turn in self._running.items() if turn.session_id == session_id], "the session was deleted"
        )
        await self._store.delete_session(session_id)

    async def close(self, *, drain: float = 0.0) -> None:
        """Accept no more messages, give running turns `drain` seconds to end, and cancel the rest.

        May be called again, even while it waits: a call without `drain` ends both at once. Turns that the first call
        drained are not drained again.
        """
        self._closing = True
        if self._beginning:
            await asyncio.wait(list(self._beginning), timeout=_PATIENCE)
        if self._running and drain > 0 and not self._drained:
            await asyncio.wait(list(self._running), timeout=drain)
        self._drained = True
        await self._end(list(self._running), "the server is shutting down")
        await self.titles.close()
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait([self._watching])

    def _lose(self, turn_id: int) -> None:
        for turn in self._running.values():
            if turn.turn_id == turn_id:
                # The client gets the reason from the store, when the stop is to be written.
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
        """Ask the agent, and queue the events of the turn, always with the stop last."""
        started = time.monotonic()
        segments = Segments()
        skipped: list[str] = []
        stop = Stop(usage=Usage(), is_error=False)
        is_first = False
        try:
            indexes, skipped = self._library.queryable(index_ids)
            if skipped and (require_all_indexes or not indexes):
                which = "not all" if indexes else "none"
                missing = f"{which} of the requested indexes can be queried: no {', '.join(skipped)}"
                stop = error_stop(missing + self._library.others(skipped))
            else:
                history = await self._store.events(turn.session_id, without=DELTA_TYPES, before_turn=turn.turn_id)
                is_first = not history
                check = _Check(self._library, indexes)
                agent_turn = AgentTurn(
                    session_id=turn.session_id,
                    prompt=prompt,
                    indexes=indexes,
                    history=[parse_event_json(event.body) for event in history],
                    refresh=check.wait,
                )
                stop = await self._ask(agent_turn, segments, events, check) or stop
        except BaseException as error:
            # The agent is the user's code: whatever it raises ends this turn alone. Uncaught, a SystemExit would end
            # the event loop, and with it every other turn.
            if isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
                raise  # Ctrl-C, not an exception of the agent
            if isinstance(error, asyncio.CancelledError) and _is_cancelled():
                stop = error_stop(turn.why_cancelled or "the server is shutting down")
            else:
                _log.exception("the agent failed in session %s", turn.session_id)
                stop = error_stop("the agent failed: " + ": ".join(filter(None, (type(error).__name__, str(error)))))
        usage = stop.usage
        if not usage.duration_ms:
            usage = usage.model_copy(update={"duration_ms": round((time.monotonic() - started) * 1000, 3)})
        stop = stop.model_copy(update={"usage": usage, "skipped_index_ids": skipped or stop.skipped_index_ids})
        for event in (*segments.close(), stop):
            await events.put(stored(event))
        if is_first and not stop.is_error:
            self.titles.answered(turn.session_id, prompt)

    async def _ask(
        self, agent_turn: AgentTurn, segments: Segments, events: asyncio.Queue[StoredEvent], check: _Check
    ) -> Stop | None:
        """Queue the agent's events with every segment completed. Returns its own stop, or that of a turn cut short."""
        size = TurnSize(self._limits)
        answer = self._agent.run(agent_turn)
        try:
            async for event in answer:
                if isinstance(event, Stop):
                    return event
                if isinstance(event, UserInput):
                    raise TypeError("an agent cannot yield user_input: the server records it itself")
                if isinstance(event, UnknownEvent) and _is_known(event):
                    raise TypeError(f"an UnknownEvent cannot replace a {event.type} event; yield the event itself")
                # Before the event enters a segment: what cannot be written must not become part of a whole.
                written = stored(event)
                cut = size.add(written.body)
                if cut is not None:
                    return cut
                for completed in segments.add(event):
                    await events.put(written if completed is event else stored(completed))
                check.start()
            return None
        finally:
            if isinstance(answer, AsyncGenerator):
                await answer.aclose()

    async def _record(self, turn: RunningTurn, events: asyncio.Queue[StoredEvent]) -> None:
        """Store a turn's events, and show each one once it is stored.

        What gathers during one write goes into the next. So each event of an agent at reading speed is written by
        itself, and a fast agent is not slowed down to the pace of the disk.
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
                        job_metadata=job_metadata(stop) if isinstance(stop, Stop) else None,
                    )
                except TurnLost as error:
                    broken = str(error)
                    turn.cancel(broken)
                except Exception as error:  # noqa: BLE001 (a full disk, a lost connection: the client must hear of it)
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
            turn.show(stored(error_stop(broken)))
        turn.end()


class _Check:
    """The check of the files on disk for a turn: begun after its first event, or when the agent waits for it."""

    def __init__(self, library: Library, indexes: Sequence[Index]) -> None:
        self._library = library
        self._indexes = indexes
        self._begun: asyncio.Task[None] | None = None

    def start(self) -> asyncio.Task[None]:
        """Begin the check, if it has not begun."""
        if self._begun is None:
            self._begun = asyncio.create_task(self._library.refresh(self._indexes))
        return self._begun

    async def wait(self) -> None:
        """Wait for the check, but only a few seconds: many new files take longer to read."""
        await asyncio.wait([self.start()], timeout=_CHECK_SECONDS)


def _is_cancelled() -> bool:
    """Return whether this task was cancelled: an agent may raise `CancelledError` without that."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _is_known(event: UnknownEvent) -> bool:
    """Return whether a client would take the event for one of a known type, well-formed or not."""
    try:
        return not isinstance(parse_event(event.raw), UnknownEvent)
    except ProtocolError:
        return True
