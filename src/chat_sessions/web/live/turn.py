"""A turn that this page sent."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Literal

from chat_sessions.core.errors import ChatSessionsError, ConflictError, ProtocolError, TurnError
from chat_sessions.core.turn import RunBegan, RunEnded, Turn, Update
from chat_sessions.session import AsyncChatSession, AsyncTurnStream
from chat_sessions.web.render.blocks import Blocks

__all__ = ["LiveTurn", "Moment", "TurnState"]

TurnState = Literal["waiting", "running", "looking up", "stopped", "unsent", "ended"]


@dataclass
class Moment:
    """What came between `began` and `ended`, in seconds since the message was sent: `count` events of one kind."""

    kind: str
    began: float
    ended: float
    count: int = 1
    run: int | None = None


class LiveTurn:
    """One turn: it waits for earlier ones of its session, runs, and ends well, with an error or stopped.

    One that is stopped while it waits is never sent. `after` is how many turns the session showed when it was sent;
    `key` tells it from others.
    """

    def __init__(self, prompt: str, *, after: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.prompt = prompt
        self.after = after
        self.key = secrets.token_hex(8)
        self.blocks = Blocks()
        self.error: Exception | None = None
        self.moments: list[Moment] = []
        self.task: asyncio.Task[None] | None = None
        self._clock = clock
        self._sent_at = clock()
        self._state: TurnState = "waiting"
        self._stream: AsyncTurnStream | None = None

    @property
    def state(self) -> TurnState:
        """What it is doing."""
        if not self.is_over and self._stream is not None and self._stream.is_recovering:
            return "looking up"
        if self._state == "stopped" and (self._stream is None or self._stream.landed is False):
            return "unsent"
        return self._state

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self._state in ("ended", "stopped")

    @property
    def turn(self) -> Turn:
        """The turn so far."""
        return self._stream.turn if self._stream is not None else Turn(self.prompt)

    @property
    def may_have_landed(self) -> bool:
        """Whether the session may hold it."""
        if self.state == "unsent":
            return False
        return self.error is None or isinstance(self.error, ProtocolError | TurnError)

    async def run(
        self,
        session: AsyncChatSession,
        lock: Callable[[], AbstractAsyncContextManager[None]],
        changed: Callable[[], None],
        wait_while_busy: Callable[[], Awaitable[bool]],
    ) -> None:
        """Send it and read it to its end. Cancelling stops it.

        If the session is busy and refuses it, `wait_while_busy` waits and returns whether it was busy; then the message
        is sent again. It was refused, so it cannot land twice.
        """
        was_refused = False
        try:
            while True:
                try:
                    async with lock():
                        # Before it is opened: sending may break, and is then looked up.
                        self._stream = session.stream(self.prompt)
                        async with self._stream as stream:
                            await self._read(stream, changed)
                    break
                except ConflictError:
                    was_refused, is_second = True, was_refused
                    # The other turn may have ended between the refusal and the look, but not twice.
                    if not await wait_while_busy() and is_second:
                        raise
        except asyncio.CancelledError:
            self._state = "stopped"
            self._end_runs()
            raise
        except ChatSessionsError as error:
            self.error = error
            self._end_runs()
        finally:
            if self._state != "stopped":
                self._state = "ended"
            changed()

    async def _read(self, stream: AsyncTurnStream, changed: Callable[[], None]) -> None:
        self._state = "running"
        changed()
        while (update := await stream.next_update()) is not None:
            self._take(update)
            changed()

    def _end_runs(self) -> None:
        for ended in self._stream.end_runs() if self._stream is not None else ():
            self._take(ended)

    def _take(self, update: Update) -> None:
        at = self._clock() - self._sent_at
        self.blocks.add(update, at)
        match update:
            case RunBegan():
                self.moments.append(Moment("tool", at, at, run=update.number))
            case RunEnded():
                for moment in self.moments:
                    if moment.run == update.number:
                        moment.ended = at
            case _:
                kind = update.type.removesuffix("_delta")
                last = self.moments[-1] if self.moments else None
                if last is not None and last.kind == kind and last.run is None:
                    last.ended = at
                    last.count += 1
                else:
                    self.moments.append(Moment(kind, at, at))
