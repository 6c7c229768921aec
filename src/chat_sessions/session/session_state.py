"""What a session object knows of its session, which a sync one shares with its async twin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Generic, TypeVar

from chat_sessions.core.delivery import asked
from chat_sessions.core.errors import ConfigurationError
from chat_sessions.core.events import Session
from chat_sessions.core.models import SessionSummary
from chat_sessions.core.turn import Turn, replay
from chat_sessions.session.backend import AsyncBackend, Backend, TurnRequest, check_same
from chat_sessions.session.stored.busy import check_wait
from chat_sessions.session.stored.turn_count import TurnCount
from chat_sessions.session.turn_state import PreparedTurn

if TYPE_CHECKING:
    from chat_sessions.session.async_chat_session import AsyncChatSession

__all__ = ["AsyncSessionState", "SessionState", "first_prompt"]

_Client = TypeVar("_Client", bound=Backend | AsyncBackend)


@dataclass(slots=True, eq=False)
class _Facts:
    """What is known of a session."""

    id: str | None
    index_ids: tuple[str, ...] | None
    # Whether the turns are counted before the first one of this process.
    baseline: bool = True
    wait_if_busy: bool | float = True
    count: TurnCount | None = None
    # Two first sends at once must create one session: they queue for it.
    creation: object = field(default_factory=object)


class _State(Generic[_Client]):
    """The facts, and what is checked against them."""

    client: _Client

    def __init__(
        self,
        client: _Client,
        session_id: str | None = None,
        *,
        index_ids: Sequence[str] | None = None,
        baseline: bool = True,
        wait_if_busy: bool | float = True,
    ) -> None:
        self.client = client
        if session_id == "":
            raise ConfigurationError("session_id is empty; pass None for a session that is created at the first send")
        check_wait(wait_if_busy)
        own = None if index_ids is None else tuple(index_ids)
        self._facts = _Facts(session_id, own, baseline, wait_if_busy)

    @property
    def id(self) -> str | None:
        """The session's id; None until it is created, at the first send."""
        return self._facts.id

    @property
    def index_ids(self) -> tuple[str, ...] | None:
        """The indexes that its turns query, as far as they are known here."""
        count = self._facts.count
        return self._facts.index_ids or (None if count is None else count.index_ids) or None

    @property
    def turn_count(self) -> int | None:
        """How many turns the session holds, as far as this process knows; None where it does not know."""
        return 0 if self.id is None else self._count().value

    def _known_id(self) -> str:
        if self._facts.id is None:
            raise ConfigurationError("this session does not exist yet: it is created at the first send, or by create()")
        return self._facts.id

    def _count(self) -> TurnCount:
        if self._facts.count is None:
            self._facts.count = TurnCount.of(self.client.queue_key(self._known_id()), self.client)
        return self._facts.count

    def _adopt(self, summary: SessionSummary) -> None:
        """Record the service's summary of the session. Raises `AnotherSession` if it belongs to a different one."""
        check_same(self._known_id(), summary.session_id)
        count = self._count()
        # A session that has none may still get them with its first turn.
        count.index_ids = tuple(summary.index_ids or ()) if summary.index_ids or count.value else None
        if self._facts.index_ids is None and summary.index_ids:
            self._facts.index_ids = tuple(summary.index_ids)

    def _created(self, summary: SessionSummary) -> None:
        self._facts.id = summary.session_id
        self._count().created()
        self._adopt(summary)

    def _needs_baseline(self) -> bool:
        """Whether to count the session's turns before the next one. Without look-ups the count is not needed."""
        count = self._count()
        is_known = count.has_baseline or count.is_unreadable
        return self._facts.baseline and not is_known and self.client.timeouts.recovery != 0

    def _has_counted(self, session: Session) -> None:
        """Take in the session as it is before its next turn."""
        check_same(self._known_id(), session.session_id)
        self._count().baseline(len(asked(replay(session.events))))
        self._adopt(session)

    def _indexes(self, wanted: tuple[str, ...] | None) -> tuple[str, ...] | None:
        """Return the indexes to query; None if a request has to find out."""
        known = self._count().index_ids
        own = wanted or self._facts.index_ids or known
        return own or (self.client.index_ids if known == () or self.client.index_ids == () else None)

    def _check_indexes(self, wanted: tuple[str, ...] | None) -> None:
        """Raise `ConfigurationError` for a first turn without an index: its session would be left empty."""
        is_first, can_do_without = self._facts.id is None, self.client.index_ids == ()
        if is_first and not (wanted or self._facts.index_ids or self.client.index_ids or can_do_without):
            raise _no_index()

    def _prepared(self, prompt: str, require_all_indexes: bool, image_urls: tuple[str, ...]) -> PreparedTurn:
        request = TurnRequest(self._known_id(), prompt, (), require_all_indexes, image_urls)
        return PreparedTurn(request, self.client.queue_key(request.session_id), self._count())

    def _with_indexes(self, prepared: PreparedTurn, index_ids: tuple[str, ...] | None) -> PreparedTurn:
        if index_ids is None:
            raise _no_index()
        self.client.check_turn(prepared.request.prompt, index_ids, has_images=bool(prepared.request.image_urls))
        return replace(prepared, request=replace(prepared.request, index_ids=index_ids))


def _no_index() -> ConfigurationError:
    return ConfigurationError(
        "no index to query: the service needs index_ids with each turn; pass them to the call, the session or the "
        "client"
    )


class AsyncSessionState(_State[AsyncBackend]):
    """What an `AsyncChatSession` knows."""


class SessionState(_State[Backend]):
    """What a `ChatSession` knows, and the way to its async twin."""

    @property
    def aio(self) -> AsyncChatSession:
        """The same session for async code. What either side learns, its id above all, the other knows."""
        twin = self.client.aio.session()
        twin._facts = self._facts
        return twin


def first_prompt(turns: Sequence[Turn]) -> str:
    """Return the session's first prompt. Raises `ConfigurationError` if there is none yet."""
    for turn in turns:
        if turn.prompt:
            return turn.prompt
    raise ConfigurationError("this session has no message yet to make a title from; pass first_message")
