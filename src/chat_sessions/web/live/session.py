"""One session as all open pages see it: what the service holds, and the turns that were sent from here."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from dataclasses import dataclass

from chat_sessions.core.errors import ChatSessionsError, ConflictError, NotFoundError
from chat_sessions.core.events import Session
from chat_sessions.core.turn import Turn, replay
from chat_sessions.session import AsyncChatSession
from chat_sessions.session.backend import AsyncBackend
from chat_sessions.web.live.confirmation import Action, Answer, Confirmation, Pending, Respond
from chat_sessions.web.live.turn import LiveTurn

__all__ = ["LiveSession", "Shown", "shown"]

TurnLock = Callable[[], AbstractAsyncContextManager[None]]


@dataclass(frozen=True)
class Shown:
    """A turn as it is shown: as the service holds it, or as it happens here.

    `live` is shown if it is set. `seen` is the turn as it was sent from here, even if the history is shown instead.
    """

    number: int
    stored: Turn | None = None
    live: LiveTurn | None = None
    seen: LiveTurn | None = None

    @property
    def turn(self) -> Turn:
        """The turn so far."""
        if self.live is not None:
            return self.live.turn
        return self.stored or Turn()

    def is_same(self, other: Shown) -> bool:
        """Whether both look the same, now and later."""
        return self.live is None and self.stored is other.stored and self.live is other.live and self.seen is other.seen


def shown(history: Sequence[Turn], turns: Sequence[LiveTurn]) -> list[Shown]:
    """Put the turns that were sent from here in their places among those that the service holds.

    A turn is found by its prompt, at or after the place where it was sent. Its stream is shown until it is over, then
    the history once it has the turn's end or, for a turn that was stopped here, as soon as it has more. A turn that is
    over and not in the history is shown where it was sent.
    """
    seen: dict[int, LiveTurn] = {}
    before: dict[int, list[LiveTurn]] = {}
    start = 0
    for live in turns:
        start = max(start, live.after)
        place = next((n for n in range(start, len(history)) if history[n].prompt == live.prompt), None)
        if place is None or not live.may_have_landed:
            before.setdefault(min(start, len(history)) if live.is_over else len(history), []).append(live)
            continue
        start = place + 1
        seen[place] = live
    items: list[tuple[Turn | None, LiveTurn | None]] = []
    for n in range(len(history) + 1):
        items += [(None, live) for live in before.get(n, ())]
        items += [(turn, seen.get(n)) for turn in history[n : n + 1]]
    return [
        Shown(n, stored, live if stored is None else _leading(stored, live), live)
        for n, (stored, live) in enumerate(items)
    ]


def _leading(stored: Turn, live: LiveTurn | None) -> LiveTurn | None:
    """Return the live turn if it shows more than the stored one."""
    if live is None or not live.is_over:
        return live
    if live.state == "stopped":
        # Keep what was read until the service has as much.
        return None if stored.is_complete or len(stored.text) > len(live.turn.text) else live
    return None if stored.is_complete else live


class LiveSession:
    """A session that is open in a page, or has a turn running.

    `revision` grows with everything that changes but the pieces of a running turn.
    """

    def __init__(
        self,
        backend: AsyncBackend,
        session_id: str,
        *,
        turn_lock: TurnLock,
        look_every: float,
        pending: Pending | None = None,
        respond: Respond | None = None,
    ) -> None:
        self.session_id = session_id
        self.stored: Session | None = None
        self.history: list[Turn] = []
        self.turns: list[LiveTurn] = []
        # Not from 0: a page that was rendered by an earlier process knows other numbers.
        self.rendered: dict[int, tuple[Shown, str]] = {}
        self.revision = secrets.randbits(40)
        self.problem: ChatSessionsError | None = None
        self.is_closing = False
        self.confirmation: Confirmation | None = None
        self._session: AsyncChatSession = backend.session(session_id)
        self._turn_lock = turn_lock
        self._look_every = look_every
        self._pending = pending
        self._respond = respond
        self._pages: set[asyncio.Event] = set()

    @property
    def shown(self) -> list[Shown]:
        """All turns, oldest first."""
        return shown(self.history, self.turns)

    @property
    def is_known(self) -> bool:
        """Whether it has been read or asked in; False if it was deleted or unreachable from the start."""
        return self.stored is not None or bool(self.turns)

    @property
    def running(self) -> list[LiveTurn]:
        """The turns that run here, or wait."""
        return [turn for turn in self.turns if not turn.is_over]

    @property
    def asks(self) -> bool:
        """Whether the session waits for a permission that its last turn needs, which does not run here."""
        return self.confirmation is not None and not self.running

    @property
    def is_busy(self) -> bool:
        """Whether the service holds a turn that has not ended."""
        return bool(self.history) and not self.history[-1].is_complete

    @property
    def stoppable(self) -> str:
        """The key of the turn that can be stopped now; "" if there is none."""
        return self.running[0].key if self.running else ""

    @property
    def has_pages(self) -> bool:
        """Whether a page is open on it."""
        return bool(self._pages)

    async def read(self) -> Session:
        """Read the session from the service. Raises `APIError`."""
        stored = await self._session.retrieve()
        if self.stored is None or stored != self.stored:
            self.stored = stored
            known = self.history
            # An unchanged turn stays the same object, so that it is not rendered again.
            self.history = [
                known[n] if n < len(known) and known[n] == turn else turn
                for n, turn in enumerate(replay(stored.events))
            ]
            self.revision += 1
            self._note_pending(stored)
        self.problem = None
        self._changed()
        return stored

    def _note_pending(self, stored: Session) -> None:
        """Ask for the permission that the session waits for, if the turn that needs it does not run here."""
        if self._pending is None or self.running:
            return
        asked = Confirmation.of(self._pending(stored))
        if self.confirmation is None or self.confirmation.actions != asked.actions:
            self.confirmation = asked if asked.actions else None

    async def look(self) -> None:
        """Read the session; if that fails, keep the error for the pages, which look again."""
        try:
            if self.stored is not None and not self.is_busy:
                summary = await self._session.summary()
                stored = self.stored
                if (summary.last_updated_at, summary.generated_title) == (
                    stored.last_updated_at,
                    stored.generated_title,
                ):
                    if self.problem is not None:
                        self.problem = None
                        self._changed()
                    return
            await self.read()
        except ChatSessionsError as error:
            if str(error) != str(self.problem):
                self.problem = error
                self._changed()

    @property
    def is_gone(self) -> bool:
        """Whether the service said that there is no such session."""
        return isinstance(self.problem, NotFoundError)

    async def ask(self, prompt: str) -> LiveTurn:
        """Send a message, after the turns that run. Raises `ConfigurationError` for one that cannot be sent."""
        self._session.client.check_turn(prompt, None)
        if self.stored is None or self.is_gone:
            await self.read()
        if self.asks:
            raise ConflictError("the agent waits for permission: approve or reject its actions first", status_code=409)
        turn = LiveTurn(prompt, after=len(self.history))
        self.turns.append(turn)
        self.revision += 1
        turn.task = asyncio.create_task(self._run(turn))
        self._changed()
        return turn

    async def confirm(self, actions: Iterable[Action]) -> Answer:
        """Ask the pages whether an agent may take these actions, and wait for the answer of one."""
        self.confirmation = Confirmation.of(actions)
        self._changed()
        try:
            return await self.confirmation.answer
        finally:
            self.confirmation = None
            self._changed()

    async def answer(self, key: str, answer: Answer) -> bool:
        """Answer the confirmation with this key. Returns whether it is the one that waits. Raises `APIError`."""
        asked = self.confirmation
        if asked is None or asked.key != key:
            return False
        if self.running or self._respond is None:
            asked.give(answer)
            return True
        # A second click finds nothing to answer.
        self.confirmation = None
        try:
            await self._respond(self.session_id, answer)
        except ChatSessionsError:
            self.confirmation = asked
            raise
        finally:
            self._changed()
        await self.look()
        return True

    async def stop(self, key: str) -> LiveTurn | None:
        """Stop the turn with this key, and return it. If it is not the first that runs, returns None."""
        turn = next(iter(self.running), None)
        if turn is None or turn.key != key:
            return None
        if turn.task is not None:
            turn.task.cancel()
            await asyncio.wait([turn.task])
        return turn

    async def close(self) -> None:
        """Stop every turn and end the feeds of the pages."""
        while self.running:
            await self.stop(self.running[0].key)
        self.is_closing = True
        self._changed()

    async def _run(self, turn: LiveTurn) -> None:
        try:
            await turn.run(self._session, self._turn_lock, self._changed, self._wait_while_busy)
        finally:
            self.revision += 1
            self._changed()
        # By now the service has a title, and the final form of the turn.
        with suppress(ChatSessionsError):
            await self.read()

    async def _wait_while_busy(self) -> bool:
        """Wait for a turn that another process sent, or that was stopped here and still runs at the service.

        Returns whether there was one that ended within the deadline for looking up turns.
        """
        was_busy = False
        loop, limit = asyncio.get_running_loop(), self._session.client.timeouts.recovery
        deadline = None if limit is None else loop.time() + limit
        while deadline is None or loop.time() < deadline:
            await self.read()
            if not self.is_busy:
                return was_busy
            was_busy = True
            await asyncio.sleep(self._look_every)
        return False

    def _changed(self) -> None:
        for page in self._pages:
            page.set()

    @contextmanager
    def page(self) -> Generator[asyncio.Event]:
        """An event that is set at each change, for one open page."""
        changed = asyncio.Event()
        self._pages.add(changed)
        try:
            yield changed
        finally:
            self._pages.discard(changed)
