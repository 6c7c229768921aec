"""The sync client of the LlamaCloud Chat API."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from types import TracebackType
from typing import Self, TypeVar

import httpx
import stamina
from pydantic import BaseModel, SecretStr

from chat_sessions.core.errors import APIStatusError, NotFoundError, ProtocolError
from chat_sessions.core.events import Event, Session
from chat_sessions.core.models import ImageAttachment, PresignedUrl, SessionPage, SessionSummary, TitledSummary
from chat_sessions.http.bounds import beginning, body, bounded
from chat_sessions.http.calls import NOT_SENT, Call, transport_error
from chat_sessions.http.loop_pools import OWN_LIMITS
from chat_sessions.http.secrets import as_secret, concealed
from chat_sessions.llama_cloud.async_client import AsyncLlamaCloudChat
from chat_sessions.llama_cloud.base import ClientBase, remaining
from chat_sessions.llama_cloud.connection import ResponseEvents, close_dropped, lost
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
from chat_sessions.session.backend import TurnRequest
from chat_sessions.session.chat_session import ChatSession
from chat_sessions.session.deadlines import EventClock, Timeouts
from chat_sessions.session.turn_stream import TurnStream

__all__ = ["LlamaCloudChat"]

_Model = TypeVar("_Model", bound=BaseModel)


class LlamaCloudChat(ClientBase):
    """A client of the LlamaCloud (LlamaParse Platform) Chat API.

    Arguments come before the environment: `LLAMA_CLOUD_API_KEY` (or `LLAMA_PARSE_API_KEY`),
    `LLAMA_CLOUD_BASE_URL`, `LLAMA_CLOUD_PROJECT_ID`, `LLAMA_CLOUD_ORGANIZATION_ID` and
    `LLAMA_CLOUD_CUSTOM_HEADERS` (lines "Name: value"). Raises `ConfigurationError` without a key.

    - `base_url` or `region` ("us", "eu"): where the service is; default the US region.
    - `index_ids`: the indexes of sessions that have none of their own.
    - `headers`: sent with each request.
    - `http_client`, `async_http_client`: clients of yours to use instead of one made here; you close them.
    - `timeouts`: see `Timeouts`.
    - `max_retries`: how often a read, a delete or a title is tried again after a connection error, a 408,
      429 or 5xx, with backoff and obeying `Retry-After` up to 60 s. A turn or a create is sent again only
      after a refused connection or a 429: it has provably not been taken.
    - `max_event_bytes`: the largest event accepted, default 16 MiB.
    - `max_prompt_chars`: the service's limit, checked before sending; None turns the check off.

    Thread-safe. Connections are made at the first request and closed by `close()` or by leaving a `with` block.
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
        http_client: httpx.Client | None = None,
        async_http_client: httpx.AsyncClient | None = None,
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
        self._connect(http_client, async_http_client)

    @classmethod
    def from_settings(
        cls,
        settings: Settings,
        *,
        http_client: httpx.Client | None = None,
        async_http_client: httpx.AsyncClient | None = None,
    ) -> Self:
        """A client with the settings of another."""
        made = cls.__new__(cls)
        made._settings = settings
        made._connect(http_client, async_http_client)
        return made

    def _connect(self, http_client: httpx.Client | None, async_http_client: httpx.AsyncClient | None) -> None:
        self._given_client = http_client
        self._given_async_client = async_http_client
        self._aio = AsyncLlamaCloudChat.from_settings(self._settings, http_client=async_http_client)
        self._own_client: httpx.Client | None = None
        self._made_in_process = os.getpid()
        self._close_own_client: weakref.finalize[..., LlamaCloudChat] | None = None
        self._making_client = threading.Lock()

    def __copy__(self) -> Self:
        return self.from_settings(
            self._settings, http_client=self._given_client, async_http_client=self._given_async_client
        )

    def __deepcopy__(self, memo: object) -> Self:
        return copy(self)

    def __getstate__(self) -> dict[str, object]:
        return {"_settings": self._settings}

    def __setstate__(self, state: dict[str, Settings]) -> None:
        self._settings = state["_settings"]
        self._connect(None, None)

    @property
    def aio(self) -> AsyncLlamaCloudChat:
        """The async twin with the same settings, always the same one; it keeps one connection pool per event loop."""
        return self._aio

    @property
    def transport(self) -> Self:
        """Itself: it sends turns and reads sessions back."""
        return self

    def close(self) -> None:
        """Close the connections made here. The client may be used again: it makes new ones."""
        with self._making_client:
            close, self._own_client, self._close_own_client = self._close_own_client, None, None
        if close is not None:
            close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def create(self, *, index_ids: Sequence[str] | None = None, shared_access: str | None = None) -> SessionSummary:
        """Create a session (`POST /api/v1/chat`).

        `index_ids` (10 at most, default the client's) are locked once the first message has been sent; None
        leaves the session unbound. `shared_access` is what its share link grants: "query" or "read_only".
        """
        wanted = self.index_ids if index_ids is None else index_ids
        self._settings.check_indexes(wanted)
        return self._model(create_call(wanted, shared_access), SessionSummary)

    def list(self, *, page_size: int | None = None) -> Iterator[SessionSummary]:
        """The project's sessions (`GET /api/v1/chat`), each page fetched when it is needed."""
        self._check_page_size(page_size)
        return self._pages(page_size)

    def _pages(self, page_size: int | None) -> Iterator[SessionSummary]:
        seen: set[str] = set()
        token: str | None = None
        while True:
            page = self._model(list_call(page_size, token), SessionPage)
            yield from page.items
            token = page.next_page_token
            if not token:
                return
            if token in seen:
                raise ProtocolError(f"the service gave the page token {token!r} twice: its list of sessions has no end")
            seen.add(token)

    def retrieve(self, session_id: str) -> Session:
        """The session with its events (`GET /api/v1/chat/{session_id}`)."""
        return self._model(retrieve_call(self._settings.check_id(session_id)), Session)

    def get_summary(self, session_id: str) -> SessionSummary:
        """The session without its events (`GET /api/v1/chat/{session_id}/summary`)."""
        return self._model(summary_call(self._settings.check_id(session_id)), SessionSummary)

    def set_title(self, session_id: str, *, first_message: str) -> TitledSummary:
        """Have a title made from `first_message` (`POST /api/v1/chat/{session_id}/title`).

        The route was published for a week in May 2026. Where it is gone (404 or 405), the title that the
        service made by itself is given back, and `title_origin` is "automatic".
        """
        self._settings.check_prompt(first_message)
        try:
            summary = self._model(title_call(self._settings.check_id(session_id), first_message), SessionSummary)
        except APIStatusError as error:
            if not is_route_gone(error):
                raise
            return titled(self.get_summary(session_id), automatic=True)
        return titled(summary, automatic=False)

    def delete(self, session_id: str) -> None:
        """Delete the session (`DELETE /api/v1/chat/{session_id}`)."""
        call = delete_call(self._settings.check_id(session_id))
        for attempt in self._attempts(call):
            with attempt:
                try:
                    self._send(call)
                except NotFoundError:
                    # The first try may have deleted it before its answer was lost.
                    if attempt.num == 1:
                        raise

    def attachment_url(self, attachment: ImageAttachment) -> PresignedUrl:
        """A link to a page screenshot; it needs no key and expires."""
        return self._model(self._attachment_call(attachment), PresignedUrl)

    def session(self, session_id: str | None = None, *, index_ids: Sequence[str] | None = None) -> ChatSession:
        """A session to hold: an existing one, or, with None, one that is created at the first send."""
        self._settings.check_indexes(index_ids)
        return ChatSession(self, session_id, index_ids=index_ids)

    def stream(
        self,
        session_id: str,
        prompt: str,
        *,
        index_ids: Sequence[str] | None = None,
        require_all_indexes: bool = False,
    ) -> TurnStream:
        """One turn (`POST /api/v1/chat/{session_id}/messages/stream`), sent when the stream is entered.

        `index_ids` default to the session's own, then to the client's. `require_all_indexes` fails the turn
        if one of them cannot be queried; else it is named in `skipped_index_ids`.
        """
        session = self.session(self._settings.check_id(session_id))
        return session.stream(prompt, index_ids=index_ids, require_all_indexes=require_all_indexes)

    def open_turn(self, request: TurnRequest, clock: EventClock) -> ResponseEvents:
        """Post a turn. For `TurnStream`; see `TurnTransport`."""
        call = turn_call(request)
        for attempt in self._attempts(call, total=self.timeouts.total):
            with attempt:
                return self._post(call, clock)
        raise AssertionError  # pragma: no cover - the last attempt returns or raises

    def _post(self, call: Call, clock: EventClock) -> ResponseEvents:
        client = self._client()
        request = self._request(client, call, answer=self._turn_timeout(), accept="text/event-stream")
        clock.start(afresh=True)
        with bounded(request, clock.remaining):
            try:
                response = client.send(request, stream=True, follow_redirects=False)
            except NOT_SENT as error:
                raise transport_error(call, error, self.base_url) from error
            except httpx.TransportError as error:
                raise lost(error, clock) from error
            try:
                if not response.is_success:
                    start = beginning(response, clock.remaining)
                    raise self._refusal(call, response, start)
                if not is_event_stream(response.headers):
                    start = beginning(response, clock.remaining)
                    raise not_an_event_stream(call, response.headers, start, self._settings.secrets)
            except BaseException:
                response.close()
                raise
        return ResponseEvents(response, clock, max_event_bytes=self._settings.max_event_bytes)

    def read_back(self, session_id: str, *, timeout: float | None) -> Sequence[Event]:
        """The session's history, one attempt. For `TurnStream`; see `TurnTransport`."""
        call = retrieve_call(session_id)
        return self._read(call, self._send(call, limit=timeout), Session).events

    def _client(self) -> httpx.Client:
        close_dropped()
        if self._given_client is not None:
            return self._given_client
        with self._making_client:
            if self._close_own_client is not None and self._made_in_process != os.getpid():
                # A fork shares the sockets: parent and child would read each other's answers.
                self._close_own_client.detach()
                self._own_client = None
            if self._own_client is None:
                self._made_in_process = os.getpid()
                self._own_client = httpx.Client(limits=OWN_LIMITS, trust_env=self._settings.trust_env)
                # A client that nobody closes, as in most scripts, leaves no open socket behind.
                self._close_own_client = weakref.finalize(self, self._own_client.close)
            return self._own_client

    def _attempts(self, call: Call, *, total: float | None = None) -> Iterable[stamina.Attempt]:
        return stamina.retry_context(
            on=self._retry_on(call, total),
            attempts=self._settings.max_retries + 1,
            timeout=None,
            wait_initial=0.5,
            wait_max=self._longest_wait(total),
        )

    def _model(self, call: Call, model: type[_Model]) -> _Model:
        for attempt in self._attempts(call):
            with attempt:
                return self._read(call, self._send(call), model)
        raise AssertionError  # pragma: no cover - the last attempt returns or raises

    def _send(self, call: Call, limit: float | None = None) -> bytes:
        """The body of a successful answer."""
        client = self._client()
        answer = self._answer_timeout(limit)
        request = self._request(client, call, answer=answer)
        left = remaining(answer)
        with bounded(request, left):
            try:
                response = client.send(request, stream=True, follow_redirects=False)
                try:
                    if response.is_success:
                        return body(response, left)
                    raise self._refusal(call, response, beginning(response, left))
                finally:
                    response.close()
            except httpx.RequestError as error:
                raise transport_error(call, error, self.base_url) from error
