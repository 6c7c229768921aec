"""One session, held: ask it, stream it, look at its turns.

`ChatSession` and `AsyncChatSession` know which session they are, create it at the first send,
and remember how many turns it held, so that a broken stream can be looked up with certainty.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from chat_sessions.core.errors import ConfigurationError
from chat_sessions.core.events import Session
from chat_sessions.core.models import SessionSummary, TitledSummary
from chat_sessions.core.turn import Turn, replay
from chat_sessions.session.backend import AsyncBackend, Backend
from chat_sessions.session.transport import TurnRequest
from chat_sessions.session.turn_count import TurnCount
from chat_sessions.session.turn_queue import wait_for_turn, wait_for_turn_async
from chat_sessions.session.turn_stream import AsyncTurnStream, PreparedTurn, TurnStream

__all__ = ["AsyncChatSession", "ChatSession"]


@dataclass(slots=True, eq=False)
class _Facts:
    """What is known of a session; a sync and an async shell may share them."""

    id: str | None
    index_ids: tuple[str, ...] | None
    count: TurnCount | None = None
    # Two first sends at once must create one session: they stand in a line of their own.
    creation: object = field(default_factory=object)


class _SessionState:
    """What both shells know of their session."""

    def __init__(self, session_id: str | None, index_ids: Sequence[str] | None) -> None:
        self._facts = _Facts(session_id, None if index_ids is None else tuple(index_ids))
        if session_id == "":
            raise ConfigurationError("session_id is empty; pass None for a session that is created at the first send")

    @property
    def id(self) -> str | None:
        """The session's id; None until it is created, at the first send."""
        return self._facts.id

    @property
    def index_ids(self) -> tuple[str, ...] | None:
        """The indexes that its turns query, as far as they are known here."""
        return self._facts.index_ids

    def _known_id(self) -> str:
        if self._facts.id is None:
            raise ConfigurationError("this session does not exist yet: it is created at the first send, or by create()")
        return self._facts.id

    def _count(self, backend: Backend | AsyncBackend) -> TurnCount:
        if self._facts.count is None:
            self._facts.count = TurnCount.of(backend.queue_key(self._known_id()))
        return self._facts.count

    def _adopt(self, summary: SessionSummary) -> None:
        self._facts.id = summary.session_id
        if self._facts.index_ids is None and summary.index_ids:
            self._facts.index_ids = tuple(summary.index_ids)

    def _created(self, summary: SessionSummary, backend: Backend | AsyncBackend) -> None:
        self._adopt(summary)
        self._count(backend).created()

    def _prepared(
        self, prompt: str, index_ids: tuple[str, ...], require_all_indexes: bool, backend: Backend | AsyncBackend
    ) -> PreparedTurn:
        backend.check_turn(prompt, index_ids)
        request = TurnRequest(self._known_id(), prompt, index_ids, require_all_indexes)
        return PreparedTurn(request, backend.queue_key(request.session_id), self._count(backend))


def _require_indexes(index_ids: tuple[str, ...] | None) -> tuple[str, ...]:
    if index_ids is None:
        raise ConfigurationError(
            "no index to ask: the service needs index_ids with each turn; give them to the call, to the session or to "
            "the client"
        )
    return index_ids


class ChatSession(_SessionState):
    """A session of any backend. Made by a client's `session()`; safe to use from several threads."""

    def __init__(
        self, client: Backend, session_id: str | None = None, *, index_ids: Sequence[str] | None = None
    ) -> None:
        self.client = client
        super().__init__(session_id, index_ids)

    def __repr__(self) -> str:
        return f"ChatSession(id={self.id!r}, index_ids={self.index_ids!r}, service={self.client.service!r})"

    @property
    def aio(self) -> AsyncChatSession:
        """The same session for async code. What either side learns, its id above all, the other knows."""
        twin = AsyncChatSession(self.client.aio)
        twin._facts = self._facts
        return twin

    def create(self) -> str:
        """The session's id; creates the session if it does not exist yet."""
        if self._facts.id is None:
            slot = wait_for_turn(self._facts.creation)
            try:
                if self._facts.id is None:
                    self._created(
                        self.client.create(index_ids=self._facts.index_ids or self.client.index_ids), self.client
                    )
            finally:
                slot.release()
        return self._known_id()

    def stream(
        self, prompt: str, *, index_ids: Sequence[str] | None = None, require_all_indexes: bool = False
    ) -> TurnStream:
        """One turn as a stream, sent when the stream is entered.

        `index_ids` of the call come before the session's own, and those before the client's. Raises
        `ConfigurationError` at once for a prompt that the service would refuse.
        """
        self.client.check_turn(prompt, index_ids)
        wanted = None if index_ids is None else tuple(index_ids)

        def prepare() -> PreparedTurn:
            self.create()
            indexes = wanted or self._facts.index_ids
            if indexes is None and self.client.index_ids != ():
                self._adopt(self.client.get_summary(self._known_id()))
                indexes = self._facts.index_ids
            indexes = _require_indexes(indexes or self.client.index_ids)
            return self._prepared(prompt, indexes, require_all_indexes, self.client)

        return TurnStream(self.client.transport, prepare, prompt=prompt, timeouts=self.client.timeouts)

    def ask(self, prompt: str, *, index_ids: Sequence[str] | None = None, require_all_indexes: bool = False) -> Turn:
        """One whole turn. Raises what `TurnStream` raises."""
        with self.stream(prompt, index_ids=index_ids, require_all_indexes=require_all_indexes) as stream:
            return stream.result()

    def retrieve(self) -> Session:
        """The session with its events."""
        session_id, count = self._known_id(), self._count(self.client)
        reading = count.reading()
        session = self.client.retrieve(session_id)
        self._adopt(session)
        count.read(reading, len(replay(session.events)))
        return session

    def turns(self) -> list[Turn]:
        """The turns so far, oldest first, read from the service; empty for a session not created yet."""
        return [] if self._facts.id is None else replay((self.retrieve()).events)

    def summary(self) -> SessionSummary:
        """What the service says of the session."""
        summary = self.client.get_summary(self._known_id())
        self._adopt(summary)
        return summary

    def set_title(self, first_message: str | None = None) -> TitledSummary:
        """Have a title made from `first_message`, by default the session's first prompt."""
        message = first_message or _first_prompt(self.turns())
        return self.client.set_title(self._known_id(), first_message=message)

    def delete(self) -> None:
        """Delete the session on the service; it cannot be undone."""
        self.client.delete(self._known_id())


class AsyncChatSession(_SessionState):
    """The async twin of `ChatSession`."""

    def __init__(
        self, client: AsyncBackend, session_id: str | None = None, *, index_ids: Sequence[str] | None = None
    ) -> None:
        self.client = client
        super().__init__(session_id, index_ids)

    def __repr__(self) -> str:
        return f"AsyncChatSession(id={self.id!r}, index_ids={self.index_ids!r}, service={self.client.service!r})"

    async def create(self) -> str:
        """The session's id; creates the session if it does not exist yet."""
        if self._facts.id is None:
            slot = await wait_for_turn_async(self._facts.creation)
            try:
                if self._facts.id is None:
                    self._created(
                        await self.client.create(index_ids=self._facts.index_ids or self.client.index_ids), self.client
                    )
            finally:
                slot.release()
        return self._known_id()

    def stream(
        self, prompt: str, *, index_ids: Sequence[str] | None = None, require_all_indexes: bool = False
    ) -> AsyncTurnStream:
        """One turn as a stream, sent when the stream is entered. See `ChatSession.stream`."""
        self.client.check_turn(prompt, index_ids)
        wanted = None if index_ids is None else tuple(index_ids)

        async def prepare() -> PreparedTurn:
            await self.create()
            indexes = wanted or self._facts.index_ids
            if indexes is None and self.client.index_ids != ():
                self._adopt(await self.client.get_summary(self._known_id()))
                indexes = self._facts.index_ids
            indexes = _require_indexes(indexes or self.client.index_ids)
            return self._prepared(prompt, indexes, require_all_indexes, self.client)

        return AsyncTurnStream(self.client.transport, prepare, prompt=prompt, timeouts=self.client.timeouts)

    async def ask(
        self, prompt: str, *, index_ids: Sequence[str] | None = None, require_all_indexes: bool = False
    ) -> Turn:
        """One whole turn. Raises what `AsyncTurnStream` raises."""
        async with self.stream(prompt, index_ids=index_ids, require_all_indexes=require_all_indexes) as stream:
            return await stream.result()

    async def retrieve(self) -> Session:
        """The session with its events."""
        session_id, count = self._known_id(), self._count(self.client)
        reading = count.reading()
        session = await self.client.retrieve(session_id)
        self._adopt(session)
        count.read(reading, len(replay(session.events)))
        return session

    async def turns(self) -> list[Turn]:
        """The turns so far, oldest first, read from the service; empty for a session not created yet."""
        return [] if self._facts.id is None else replay((await self.retrieve()).events)

    async def summary(self) -> SessionSummary:
        """What the service says of the session."""
        summary = await self.client.get_summary(self._known_id())
        self._adopt(summary)
        return summary

    async def set_title(self, first_message: str | None = None) -> TitledSummary:
        """Have a title made from `first_message`, by default the session's first prompt."""
        message = first_message or _first_prompt(await self.turns())
        return await self.client.set_title(self._known_id(), first_message=message)

    async def delete(self) -> None:
        """Delete the session on the service; it cannot be undone."""
        await self.client.delete(self._known_id())


def _first_prompt(turns: Sequence[Turn]) -> str:
    for turn in turns:
        if turn.prompt:
            return turn.prompt
    raise ConfigurationError("this session has no message yet to make a title from; pass first_message")
