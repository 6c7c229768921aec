"""What a service must offer to be a backend: sessions, and turns that are sent and read.

A third service is a new package that satisfies `Backend` and `AsyncBackend`; nothing above this layer knows
which service it talks to.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from chat_sessions.core.errors import ProtocolError
from chat_sessions.core.events import Event, Session
from chat_sessions.core.models import ImageAttachment, PresignedUrl, SessionSummary, TitledSummary
from chat_sessions.session.deadlines import EventClock, Timeouts

if TYPE_CHECKING:
    from chat_sessions.session.async_chat_session import AsyncChatSession
    from chat_sessions.session.async_turn_stream import AsyncTurnStream
    from chat_sessions.session.chat_session import ChatSession
    from chat_sessions.session.turn_stream import TurnStream

__all__ = [
    "AnotherSession",
    "AsyncBackend",
    "AsyncEventConnection",
    "AsyncTurnTransport",
    "AsyncTwinned",
    "Backend",
    "ConnectionLost",
    "DeadlinePassed",
    "EventConnection",
    "EventUnreadable",
    "TurnRequest",
    "TurnTransport",
    "Twinned",
    "check_same",
]


@dataclass(frozen=True, slots=True)
class TurnRequest:
    """One turn as it is sent: checked and complete."""

    session_id: str
    prompt: str
    index_ids: tuple[str, ...]
    require_all_indexes: bool = False
    image_urls: tuple[str, ...] = field(default=(), repr=False)


class AnotherSession(ProtocolError):
    """The answer belongs to another session than the one requested: a cache or a proxy mixed them up."""


def check_same(asked: str, answered: str) -> None:
    """Raise `AnotherSession` if the answer belongs to another session than the one requested."""
    # Services may write an id in another way: a UUID with or without its hyphens.
    if asked != answered and _plain(asked) != _plain(answered):
        raise AnotherSession(
            f"asked for session {asked}, but the answer belongs to session {answered!r} and was discarded: is a cache "
            "or a proxy on the way mixing up answers?"
        )


def _plain(session_id: str) -> str:
    return session_id.replace("-", "").casefold()


class ConnectionLost(Exception):
    """The stream broke, or could not be opened after bytes of the request may have left."""


class DeadlinePassed(Exception):
    """No event came in time."""


class EventUnreadable(Exception):
    """An event could not be read, so what follows it may not be the whole answer. `error` says what was wrong."""

    def __init__(self, error: ProtocolError) -> None:
        super().__init__(str(error))
        self.error = error


class EventConnection(Protocol):
    """The live events of one turn. Ends when the service closes the stream.

    `__next__` may raise `ConnectionLost`, `DeadlinePassed` or `EventUnreadable`, after which the turn is
    looked up in its session, or `ProtocolError`, which ends it; `close` is idempotent and closes the
    socket at once.
    """

    def __next__(self) -> Event: ...
    def ready_event(self) -> Event | None:
        """Return the next event if it has already arrived; None if you must call `__next__`. Does not raise."""
        ...

    def finish(self) -> None:
        """Let the connection be used again if the stream ends right after the stop."""
        ...

    def close(self) -> None: ...


class AsyncEventConnection(Protocol):
    """The async twin of `EventConnection`."""

    async def __anext__(self) -> Event: ...
    def ready_event(self) -> Event | None: ...
    async def finish(self) -> None: ...
    async def close(self) -> None: ...


class TurnTransport(Protocol):
    """How a turn is sent, and how its session is read back when the stream broke."""

    def open_turn(self, request: TurnRequest, clock: EventClock) -> EventConnection:
        """Post the turn, once.

        Raises `APIStatusError` for an error status, `APIConnectionError` if no byte left,
        `ConnectionLost` or `DeadlinePassed` if some may have, `EventUnreadable` if it was accepted without a stream.
        """
        ...

    def read_back(self, session_id: str, *, timeout: float | None) -> Sequence[Event]:
        """The session's history, one attempt within `timeout` seconds. Raises `APIError`."""
        ...


class AsyncTurnTransport(Protocol):
    """The async twin of `TurnTransport`."""

    async def open_turn(self, request: TurnRequest, clock: EventClock) -> AsyncEventConnection: ...
    async def read_back(self, session_id: str, *, timeout: float | None) -> Sequence[Event]: ...


class Backend(Protocol):
    """A client of a service that holds sessions. See `LlamaCloudChat` for what each method does."""

    @property
    def service(self) -> str:
        """The service's name, e.g. "llama_cloud"."""
        ...

    @property
    def timeouts(self) -> Timeouts: ...
    @property
    def index_ids(self) -> tuple[str, ...] | None:
        """The indexes of sessions that have none of their own; None if not given, empty if the service has none."""
        ...

    @property
    def transport(self) -> TurnTransport: ...
    @property
    def aio(self) -> AsyncBackend: ...
    def queue_key(self, session_id: str) -> tuple[str, ...]:
        """The key that identifies a session for every client of this process."""
        ...

    def check_turn(self, prompt: str, index_ids: Sequence[str] | None, *, has_images: bool = False) -> None:
        """Raise `ConfigurationError` for a turn that the service would refuse. Images may go without words."""
        ...

    def check_images(self) -> None:
        """Raise `ConfigurationError` if the service takes no images with a prompt."""
        ...

    def create(self, *, index_ids: Sequence[str] | None = None) -> SessionSummary: ...
    def list(self, *, page_size: int | None = None) -> Iterator[SessionSummary]: ...
    def retrieve(self, session_id: str) -> Session: ...
    def get_summary(self, session_id: str) -> SessionSummary: ...
    def set_title(self, session_id: str, *, first_message: str) -> TitledSummary: ...
    def delete(self, session_id: str) -> None: ...
    def stream(
        self,
        session_id: str,
        prompt: str,
        *,
        index_ids: Sequence[str] | None = None,
        require_all_indexes: bool = False,
        baseline: bool = True,
        wait_if_busy: bool | float = True,
    ) -> TurnStream: ...
    def attachment_url(self, attachment: ImageAttachment) -> PresignedUrl: ...
    def session(
        self,
        session_id: str | None = None,
        *,
        index_ids: Sequence[str] | None = None,
        baseline: bool = True,
        wait_if_busy: bool | float = True,
    ) -> ChatSession: ...


class AsyncBackend(Protocol):
    """The async twin of `Backend`."""

    @property
    def service(self) -> str: ...
    @property
    def timeouts(self) -> Timeouts: ...
    @property
    def index_ids(self) -> tuple[str, ...] | None: ...
    @property
    def transport(self) -> AsyncTurnTransport: ...
    def queue_key(self, session_id: str) -> tuple[str, ...]: ...
    def check_turn(self, prompt: str, index_ids: Sequence[str] | None, *, has_images: bool = False) -> None: ...
    def check_images(self) -> None: ...
    async def create(self, *, index_ids: Sequence[str] | None = None) -> SessionSummary: ...
    def list(self, *, page_size: int | None = None) -> AsyncIterator[SessionSummary]: ...
    async def retrieve(self, session_id: str) -> Session: ...
    async def get_summary(self, session_id: str) -> SessionSummary: ...
    async def set_title(self, session_id: str, *, first_message: str) -> TitledSummary: ...
    async def delete(self, session_id: str) -> None: ...
    def stream(
        self,
        session_id: str,
        prompt: str,
        *,
        index_ids: Sequence[str] | None = None,
        require_all_indexes: bool = False,
        baseline: bool = True,
        wait_if_busy: bool | float = True,
    ) -> AsyncTurnStream: ...
    async def attachment_url(self, attachment: ImageAttachment) -> PresignedUrl: ...
    def session(
        self,
        session_id: str | None = None,
        *,
        index_ids: Sequence[str] | None = None,
        baseline: bool = True,
        wait_if_busy: bool | float = True,
    ) -> AsyncChatSession: ...


class Twinned(ABC):
    """A sync client, from which its async twin is reached."""

    @property
    @abstractmethod
    def aio(self) -> AsyncBackend:
        """The async twin with the same settings, always the same one."""


class AsyncTwinned:
    """An async client, which is a twin itself."""
