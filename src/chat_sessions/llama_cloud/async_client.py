"""The async client of the LlamaCloud Chat API."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from copy import copy
from types import TracebackType
from typing import Self, TypeVar

import httpx
import stamina
from pydantic import BaseModel, SecretStr

from chat_sessions.core.errors import APIStatusError, NotFoundError, ProtocolError
from chat_sessions.core.events import Event, Session
from chat_sessions.core.models import ImageAttachment, PresignedUrl, SessionPage, SessionSummary, TitledSummary
from chat_sessions.http.bounds import abeginning, abody, bounded_async
from chat_sessions.http.calls import NOT_SENT, Call, transport_error
from chat_sessions.http.loop_pools import LoopPools
from chat_sessions.http.secrets import as_secret, concealed
from chat_sessions.llama_cloud.base import ClientBase, remaining
from chat_sessions.llama_cloud.connection import AsyncResponseEvents, lost
from chat_sessions.llama_cloud.settings import Region, Settings
from chat_sessions.llama_cloud.wire import (
    create_call,
    delete_call,
    is_event_stream,
    is_route_gone,
    list_call,
    not_an_event_stream,
    retrieve_call,
    summary_call,
    title_call,
    titled,
    turn_call,
)
from chat_sessions.session.async_chat_session import AsyncChatSession
from chat_sessions.session.async_turn_stream import AsyncTurnStream
from chat_sessions.session.backend import TurnRequest
from chat_sessions.session.deadlines import EventClock, Timeouts

__all__ = ["AsyncLlamaCloudChat"]

_Model = TypeVar("_Model", bound=BaseModel)


class AsyncLlamaCloudChat(ClientBase):
    """The async twin of `LlamaCloudChat`: the same arguments, the same methods to await.

    It keeps one connection pool per running event loop, so that one object serves an application that
    calls `asyncio.run` again and again; each pool is closed with its loop. asyncio only.
    """

    def __init__(
        self,
        *,
        api_key: str | SecretStr | None = None,
        base_url: str | None = None,
        region: Region | None = None,
        project_id: str | None = None,
        organization_id: str | None = None,
        index_ids: Sequence[str] | None = None,
        headers: Mapping[str, str] | None = None,
        http_client: httpx.AsyncClient | None = None,
        timeouts: Timeouts | None = None,
        max_retries: int = 2,
        max_event_bytes: int = 16 * 1024 * 1024,
        max_prompt_chars: int | None = 1000,
    ) -> None:
        # A traceback may show local variables.
        api_key, headers = as_secret(api_key), concealed(headers)
        super().__init__(
            Settings.resolve(
                api_key=api_key,
                base_url=base_url,
                region=region,
                project_id=project_id,
                organization_id=organization_id,
                index_ids=index_ids,
                headers=headers,
                timeouts=timeouts,
                max_retries=max_retries,
                max_event_bytes=max_event_bytes,
                max_prompt_chars=max_prompt_chars,
            )
        )
        self._connect(http_client)

    @classmethod
    def from_settings(cls, settings: Settings, *, http_client: httpx.AsyncClient | None = None) -> Self:
        """A client with the settings of another."""
        made = cls.__new__(cls)
        made._settings = settings
        made._connect(http_client)
        return made

    def _connect(self, http_client: httpx.AsyncClient | None) -> None:
        self._given_client = http_client
        self._pools = LoopPools(trust_env=self._settings.trust_env)

    def __copy__(self) -> Self:
        return self.from_settings(self._settings, http_client=self._given_client)

    def __deepcopy__(self, memo: object) -> Self:
        return copy(self)

    def __getstate__(self) -> dict[str, object]:
        return {"_settings": self._settings}

    def __setstate__(self, state: dict[str, Settings]) -> None:
        self._settings = state["_settings"]
        self._connect(None)

    @property
    def transport(self) -> Self:
        """Itself: it sends turns and reads sessions back."""
        return self

    async def close(self) -> None:
        """Close the connections that the running event loop has made. The client may be used again."""
        await self._pools.close_running_loop()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def create(
        self, *, index_ids: Sequence[str] | None = None, shared_access: str | None = None
    ) -> SessionSummary:
        """Create a session (`POST /api/v1/chat`).

        `index_ids` (10 at most, default the client's) are locked once the first message has been sent; None
        leaves the session unbound. `shared_access` is what its share link grants: "query" or "read_only".
        """
        wanted = self.index_ids if index_ids is None else index_ids
        self._settings.check_indexes(wanted)
        return await self._model(create_call(wanted, shared_access), SessionSummary)

    def list(self, *, page_size: int | None = None) -> AsyncIterator[SessionSummary]:
        """The project's sessions (`GET /api/v1/chat`), each page fetched when it is needed."""
        self._check_page_size(page_size)
        return self._pages(page_size)

    async def _pages(self, page_size: int | None) -> AsyncIterator[SessionSummary]:
        seen: set[str] = set()
        token: str | None = None
        while True:
            page = await self._model(list_call(page_size, token), SessionPage)
            for item in page.items:
                yield item
            token = page.next_page_token
            if not token:
                return
            if token in seen:
                raise ProtocolError(f"the service gave the page token {token!r} twice: its list of sessions has no end")
            seen.add(token)

    async def retrieve(self, session_id: str) -> Session:
        """The session with its events (`GET /api/v1/chat/{session_id}`)."""
        return await self._model(retrieve_call(self._settings.check_id(session_id)), Session)

    async def get_summary(self, session_id: str) -> SessionSummary:
        """The session without its events (`GET /api/v1/chat/{session_id}/summary`)."""
        return await self._model(summary_call(self._settings.check_id(session_id)), SessionSummary)

    async def set_title(self, session_id: str, *, first_message: str) -> TitledSummary:
        """Have a title made from `first_message` (`POST /api/v1/chat/{session_id}/title`).

        The route was published for a week in May 2026. Where it is gone (404 or 405), the title that the
        service made by itself is given back, and `title_origin` is "automatic".
        """
        self._settings.check_prompt(first_message)
        try:
            summary = await self._model(title_call(self._settings.check_id(session_id), first_message), SessionSummary)
        except APIStatusError as error:
            if not is_route_gone(error):
                raise
            return titled(await self.get_summary(session_id), automatic=True)
        return titled(summary, automatic=False)

    async def delete(self, session_id: str) -> None:
        """Delete the session (`DELETE /api/v1/chat/{session_id}`)."""
        call = delete_call(self._settings.check_id(session_id))
        async for attempt in self._attempts(call):
            with attempt:
                try:
                    await self._send(call)
                except NotFoundError:
                    # The first try may have deleted it before its answer was lost.
                    if attempt.num == 1:
                        raise

    async def attachment_url(self, attachment: ImageAttachment) -> PresignedUrl:
        """A link to a page screenshot; it needs no key and expires."""
        return await self._model(self._attachment_call(attachment), PresignedUrl)

    def session(self, session_id: str | None = None, *, index_ids: Sequence[str] | None = None) -> AsyncChatSession:
        """A session to hold: an existing one, or, with None, one that is created at the first send."""
        self._settings.check_indexes(index_ids)
        return AsyncChatSession(self, session_id, index_ids=index_ids)

    def stream(
        self,
        session_id: str,
        prompt: str,
        *,
        index_ids: Sequence[str] | None = None,
        require_all_indexes: bool = False,
    ) -> AsyncTurnStream:
        """One turn (`POST /api/v1/chat/{session_id}/messages/stream`), sent when the stream is entered.

        `index_ids` default to the session's own, then to the client's. `require_all_indexes` fails the turn
        if one of them cannot be queried; else it is named in `skipped_index_ids`.
        """
        session = self.session(self._settings.check_id(session_id))
        return session.stream(prompt, index_ids=index_ids, require_all_indexes=require_all_indexes)

    async def open_turn(self, request: TurnRequest, clock: EventClock) -> AsyncResponseEvents:
        """Post a turn. For `TurnStream`; see `TurnTransport`."""
        call = turn_call(request)
        async for attempt in self._attempts(call, total=self.timeouts.total):
            with attempt:
                return await self._post(call, clock)
        raise AssertionError  # pragma: no cover - the last attempt returns or raises

    async def _post(self, call: Call, clock: EventClock) -> AsyncResponseEvents:
        client = await self._client()
        request = self._request(client, call, answer=self._turn_timeout(), accept="text/event-stream")
        clock.start(afresh=True)
        with bounded_async(request, clock.remaining):
            try:
                response = await client.send(request, stream=True, follow_redirects=False)
            except NOT_SENT as error:
                raise transport_error(call, error, self.base_url) from error
            except httpx.TransportError as error:
                raise lost(error, clock) from error
            try:
                if not response.is_success:
                    start = await abeginning(response, clock.remaining)
                    raise self._refusal(call, response, start)
                if not is_event_stream(response.headers):
                    start = await abeginning(response, clock.remaining)
                    raise not_an_event_stream(call, response.headers, start, self._settings.secrets)
            except BaseException:
                await response.aclose()
                raise
        return AsyncResponseEvents(response, clock, max_event_bytes=self._settings.max_event_bytes)

    async def read_back(self, session_id: str, *, timeout: float | None) -> Sequence[Event]:
        """The session's history, one attempt. For `TurnStream`; see `TurnTransport`."""
        call = retrieve_call(session_id)
        return self._read(call, await self._send(call, limit=timeout), Session).events

    async def _client(self) -> httpx.AsyncClient:
        return self._given_client or await self._pools.of_running_loop()

    def _attempts(self, call: Call, *, total: float | None = None) -> AsyncIterator[stamina.Attempt]:
        return stamina.retry_context(
            on=self._retry_on(call, total),
            attempts=self._settings.max_retries + 1,
            timeout=None,
            wait_initial=0.5,
            wait_max=self._longest_wait(total),
        )

    async def _model(self, call: Call, model: type[_Model]) -> _Model:
        async for attempt in self._attempts(call):
            with attempt:
                return self._read(call, await self._send(call), model)
        raise AssertionError  # pragma: no cover - the last attempt returns or raises

    async def _send(self, call: Call, limit: float | None = None) -> bytes:
        """The body of a successful answer."""
        client = await self._client()
        answer = self._answer_timeout(limit)
        request = self._request(client, call, answer=answer)
        left = remaining(answer)
        with bounded_async(request, left):
            try:
                response = await client.send(request, stream=True, follow_redirects=False)
                try:
                    if response.is_success:
                        return await abody(response, left)
                    raise self._refusal(call, response, await abeginning(response, left))
                finally:
                    await response.aclose()
            except httpx.RequestError as error:
                raise transport_error(call, error, self.base_url) from error
