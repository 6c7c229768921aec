"""The endpoints of the LlamaCloud Chat API."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import TypeVar

from pydantic import BaseModel

from chat_sessions.core.errors import APIStatusError, ConfigurationError, NotFoundError
from chat_sessions.core.events import Event, Session
from chat_sessions.core.models import ImageAttachment, PresignedUrl, SessionSummary, TitledSummary
from chat_sessions.http.async_event_response import AsyncEventResponse
from chat_sessions.http.async_service import AsyncService
from chat_sessions.http.calls import Call, read_model, told
from chat_sessions.llama_cloud.settings import Settings
from chat_sessions.llama_cloud.wire import (
    attachment_call,
    create_call,
    delete_call,
    is_route_gone,
    list_call,
    read_page,
    retrieve_call,
    summary_call,
    title_call,
    titled,
    turn_call,
)
from chat_sessions.session.async_chat_session import AsyncChatSession
from chat_sessions.session.async_turn_stream import AsyncTurnStream
from chat_sessions.session.backend import TurnRequest, check_same
from chat_sessions.session.deadlines import EventClock

__all__ = ["AsyncEndpoints"]

_Model = TypeVar("_Model", bound=BaseModel)
_Summary = TypeVar("_Summary", bound=SessionSummary)


class AsyncEndpoints(AsyncService[Settings]):
    """The methods of an `AsyncLlamaCloudChat`."""

    @property
    def service(self) -> str:
        """The service's name: "llama_cloud"."""
        return "llama_cloud"

    @property
    def index_ids(self) -> tuple[str, ...] | None:
        """The indexes of sessions that name none."""
        return self._settings.index_ids

    def check_turn(self, prompt: str, index_ids: Sequence[str] | None, *, has_images: bool = False) -> None:
        """Raise `ConfigurationError` for a turn that the service would refuse."""
        if has_images:
            self.check_images()
        self._settings.check_prompt(prompt)
        self._settings.check_indexes(index_ids)

    def check_images(self) -> None:
        """Raise `ConfigurationError`: the Chat API takes only text."""
        raise ConfigurationError(
            "LlamaCloud's Chat API takes text only, and the prompt has an image: leave it out, or put the document "
            "into an index that the session queries"
        )

    async def create(
        self, *, index_ids: Sequence[str] | None = None, shared_access: str | None = None
    ) -> SessionSummary:
        """Create a session (`POST /api/v1/chat`).

        `index_ids` (at most 10, by default the client's) are locked once the first message has been sent; None leaves
        the session without indexes. `shared_access` is what its share link allows: "query" or "read_only".
        """
        wanted = self.index_ids if index_ids is None else index_ids
        self._settings.check_indexes(wanted)
        return await self._read(create_call(wanted, shared_access), SessionSummary)

    def list(self, *, page_size: int | None = None) -> AsyncIterator[SessionSummary]:
        """Return the project's sessions (`GET /api/v1/chat`), each page fetched when it is needed."""
        first = list_call(page_size, None)
        return self._http.pages(
            lambda token: first if token is None else list_call(page_size, token),
            lambda call, content: read_page(call, content, self._settings.secrets),
        )

    async def retrieve(self, session_id: str) -> Session:
        """Return the session with its events (`GET /api/v1/chat/{session_id}`)."""
        return await self._read_same(retrieve_call(session_id), Session, session_id)

    async def get_summary(self, session_id: str) -> SessionSummary:
        """Return the session without its events (`GET /api/v1/chat/{session_id}/summary`)."""
        return await self._read_same(summary_call(session_id), SessionSummary, session_id)

    async def set_title(self, session_id: str, *, first_message: str) -> TitledSummary:
        """Generate a title from `first_message` (`POST /api/v1/chat/{session_id}/title`).

        The route was published for a week in May 2026. If it is gone (404 or 405), you get the title that the service
        chose, and `title_origin` is "automatic".
        """
        self._settings.check_prompt(first_message)
        try:
            summary = await self._read_same(title_call(session_id, first_message), SessionSummary, session_id)
        except APIStatusError as error:
            if not is_route_gone(error):
                raise
            return titled(await self.get_summary(session_id), automatic=True)
        return titled(summary, automatic=False)

    async def delete(self, session_id: str) -> None:
        """Delete the session (`DELETE /api/v1/chat/{session_id}`)."""
        call = delete_call(session_id)
        async for attempt in self._http.attempts_of(call):
            with attempt:
                try:
                    await self._http.send(call)
                except NotFoundError:
                    # The first try may have deleted it before its answer was lost.
                    if attempt.num == 1:
                        raise

    async def attachment_url(self, attachment: ImageAttachment) -> PresignedUrl:
        """Return a link to a page screenshot; it needs no key and expires."""
        return await self._read(attachment_call(attachment), PresignedUrl)

    def session(
        self,
        session_id: str | None = None,
        *,
        index_ids: Sequence[str] | None = None,
        baseline: bool = True,
        wait_if_busy: bool | float = True,
    ) -> AsyncChatSession:
        """Return a session to hold: an existing one, or, with None, one that is created at the first send.

        Before the first turn that you send here to an existing session, its history is read once to count its turns.
        `baseline=False` skips that: a stream that breaks before its answer has begun then ends as
        `TurnOutcomeUnknown`, even if the session has the answer. If an earlier turn still runs, a new one waits for it
        to end: up to `timeouts.total`, else 10 minutes, or `wait_if_busy` seconds. After that, or at once with
        `wait_if_busy=False`, it raises `ConflictError`.
        """
        self._settings.check_indexes(index_ids)
        if session_id:
            retrieve_call(session_id)
        return AsyncChatSession(self, session_id, index_ids=index_ids, baseline=baseline, wait_if_busy=wait_if_busy)

    def stream(
        self,
        session_id: str,
        prompt: str,
        *,
        index_ids: Sequence[str] | None = None,
        require_all_indexes: bool = False,
        baseline: bool = True,
        wait_if_busy: bool | float = True,
    ) -> AsyncTurnStream:
        """Return one turn (`POST /api/v1/chat/{session_id}/messages/stream`), sent when the stream is entered.

        `index_ids` default to the session's own, then to the client's. `require_all_indexes` fails the turn
        if one of them cannot be queried; else it is named in `skipped_index_ids`. `baseline` and `wait_if_busy` are
        as for `session`.
        """
        session = self.session(session_id, baseline=baseline, wait_if_busy=wait_if_busy)
        return session.stream(prompt, index_ids=index_ids, require_all_indexes=require_all_indexes)

    async def open_turn(self, request: TurnRequest, clock: EventClock) -> AsyncEventResponse:
        """Post a turn. For `AsyncTurnStream`; see `AsyncTurnTransport`."""
        return await self._http.open_turn(turn_call(request), clock, total=self.timeouts.total)

    async def read_back(self, session_id: str, *, timeout: float | None) -> Sequence[Event]:
        """Return the session's history, in one attempt. For `AsyncTurnStream`; see `AsyncTurnTransport`."""
        call = retrieve_call(session_id)
        content = await self._http.send(call, limit=timeout)
        session = read_model(call, content, Session, secrets=self._settings.secrets)
        check_same(session_id, session.session_id)
        return [told(event, self._settings.secrets) for event in session.events]

    async def _read_same(self, call: Call, model: type[_Summary], session_id: str) -> _Summary:
        summary = await self._read(call, model)
        check_same(session_id, summary.session_id)
        return summary

    async def _read(self, call: Call, model: type[_Model]) -> _Model:
        return await self._http.read(
            call, lambda call, content: read_model(call, content, model, secrets=self._settings.secrets)
        )
