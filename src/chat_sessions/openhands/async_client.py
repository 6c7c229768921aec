"""The async client of the OpenHands Agent Server."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from copy import copy
from types import TracebackType
from typing import Self

import httpx
from pydantic import JsonValue, SecretStr

from chat_sessions.core.errors import APIStatusError, ConfigurationError, RateLimitError
from chat_sessions.core.events import Event, Session
from chat_sessions.core.models import ImageAttachment, PresignedUrl, SessionSummary, TitledSummary
from chat_sessions.http.calls import retry_delay
from chat_sessions.http.secrets import as_secret, concealed
from chat_sessions.openhands.async_connection import AsyncConversationEvents
from chat_sessions.openhands.base import Interruption, no_attachments, was_not_sent
from chat_sessions.openhands.caller import AsyncCaller
from chat_sessions.openhands.confirmation import OnConfirmation, waits_for_confirmation
from chat_sessions.openhands.history import history_of, is_settled
from chat_sessions.openhands.json_values import JsonObject
from chat_sessions.openhands.profiles import profile_id, profile_name
from chat_sessions.openhands.settings import Settings, check_id
from chat_sessions.openhands.titles import (
    TITLE_WAITS,
    GeneratedTitle,
    automatic,
    check_length,
    generated,
    question,
    title_llm,
    titled,
)
from chat_sessions.openhands.wire import (
    agent_profile_call,
    ask_call,
    confirmation_call,
    create_call,
    delete_call,
    events_call,
    info_call,
    interrupt_call,
    is_absence,
    is_route_gone,
    list_call,
    pause_call,
    read_summary,
    rename_call,
    run_call,
    send_call,
    server_call,
    switch_call,
    title_call,
)
from chat_sessions.session.async_chat_session import AsyncChatSession
from chat_sessions.session.async_turn_stream import AsyncTurnStream
from chat_sessions.session.backend import ConnectionLost, TurnRequest
from chat_sessions.session.deadlines import EventClock, Timeouts

__all__ = ["AsyncOpenHandsChat"]


class AsyncOpenHandsChat(AsyncCaller):
    """The async twin of `OpenHandsChat`: the same arguments, the same methods to await.

    It keeps one connection pool per running event loop; each is closed with its loop. asyncio only.
    """

    def __init__(
        self,
        *,
        base_url: str | None = None,
        api_key: str | SecretStr | None = None,
        llm: Mapping[str, JsonValue] | str | None = None,
        agent: Mapping[str, JsonValue] | str | None = None,
        tools: Sequence[str | Mapping[str, JsonValue]] | None = None,
        workspace: Mapping[str, JsonValue] | str | os.PathLike[str] | None = None,
        conversation: Mapping[str, JsonValue] | None = None,
        on_confirmation: OnConfirmation | None = None,
        http_client: httpx.AsyncClient | None = None,
        timeouts: Timeouts | None = None,
        max_retries: int = 2,
        max_event_bytes: int = 16 * 1024 * 1024,
    ) -> None:
        # A traceback may show local variables.
        api_key, llm, agent, tools = as_secret(api_key), concealed(llm), concealed(agent), concealed(tools)
        workspace, conversation = concealed(workspace), concealed(conversation)
        self._settings = Settings.resolve(
            base_url=base_url,
            api_key=api_key,
            llm=llm,
            agent=agent,
            tools=tools,
            workspace=workspace,
            conversation=conversation,
            timeouts=timeouts,
            max_retries=max_retries,
            max_event_bytes=max_event_bytes,
        )
        self._on_confirmation = on_confirmation
        self._connect(http_client)

    @classmethod
    def from_settings(
        cls,
        settings: Settings,
        *,
        on_confirmation: OnConfirmation | None = None,
        http_client: httpx.AsyncClient | None = None,
    ) -> Self:
        """A client with the settings of another."""
        made = cls.__new__(cls)
        made._settings = settings
        made._on_confirmation = on_confirmation
        made._connect(http_client)
        return made

    def _connect(self, http_client: httpx.AsyncClient | None) -> None:
        self._kinds = ("session", "events")
        self._open(http_client)

    def __copy__(self) -> Self:
        return self.from_settings(self._settings, on_confirmation=self._on_confirmation, http_client=self._given_client)

    def __deepcopy__(self, memo: object) -> Self:
        return copy(self)

    def __getstate__(self) -> dict[str, object]:
        return {"_settings": self._settings}

    def __setstate__(self, state: dict[str, Settings]) -> None:
        self._settings = state["_settings"]
        self._on_confirmation = None
        self._connect(None)

    @property
    def transport(self) -> Self:
        """Itself: it sends turns and reads sessions back."""
        return self

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def server_info(self) -> JsonObject:
        """See `OpenHandsChat.server_info`."""
        return await self._object(server_call())

    async def create(self, *, index_ids: Sequence[str] | None = None) -> SessionSummary:
        """Create a conversation with the client's agent (`POST /api/conversations`).

        Its id is made here, so that a create whose answer was lost is repeated without a second one. An
        agent with a tool that the server does not have is refused at the first message only, with a 500.
        """
        self._check_indexes(index_ids)
        body = self._settings.new_conversation()
        if (name := profile_name(body)) is not None:
            call = agent_profile_call(name)
            body["agent_profile_id"] = profile_id(call, await self._object(call))
        call = create_call(body)
        summary = read_summary(call, await self._object(call))
        if self._settings.llm_profile is not None:
            try:
                await self._object(switch_call(summary.session_id, self._settings.llm_profile))
            except BaseException:
                if "conversation_id" not in self._settings.conversation:
                    await self._send(delete_call(summary.session_id))
                raise
        return summary

    def list(self, *, page_size: int | None = None) -> AsyncIterator[SessionSummary]:
        """The server's conversations, the newest first, each page (100 at most) fetched when it is needed."""
        self._check_page_size(page_size)
        return self._listed(page_size)

    async def _listed(self, page_size: int | None) -> AsyncIterator[SessionSummary]:
        async for call, item in self._items(lambda page_id: list_call(page_size, page_id)):
            yield read_summary(call, item)

    async def retrieve(self, session_id: str) -> Session:
        """The conversation with its events, as a session's."""
        session_id = check_id(session_id)
        events, info = await self._history(session_id, limit=None)
        summary = read_summary(info_call(session_id), info)
        return Session.model_validate({**summary.model_dump(), "events": events})

    async def get_summary(self, session_id: str) -> SessionSummary:
        """The conversation without its events."""
        call = info_call(check_id(session_id))
        return read_summary(call, await self._object(call))

    async def set_title(self, session_id: str, *, first_message: str) -> TitledSummary:
        """Have a title made, as `generate_title` does.

        The server makes it from the conversation itself: `first_message`, which other services make it from,
        is not sent. `title_origin` is "automatic" where the server had chosen it already.
        """
        del first_message
        title = await self.generate_title(session_id)
        return titled(await self.get_summary(session_id), title)

    async def rename(self, session_id: str, title: str) -> None:
        """Give the conversation this title."""
        if not title.strip():
            raise ConfigurationError("the title is empty")
        await self._object(rename_call(check_id(session_id), title))

    async def generate_title(
        self, session_id: str, max_length: int = 50, llm: Mapping[str, JsonValue] | str | None = None
    ) -> GeneratedTitle:
        """A title of at most `max_length` (1 to 200) characters, which the conversation then has.

        Up to server 1.18, `POST .../generate_title` makes it, with `llm` or the client's own. Later servers have
        no such route: there it is the title that the server makes by itself, for which this waits a few
        seconds, and where it makes none the agent is asked. `origin` says which; only the first uses `llm`.
        """
        session_id, llm = check_id(session_id), concealed(llm)
        check_length(max_length)
        try:
            call = title_call(session_id, max_length, title_llm(llm, self._settings.llm))
            title = generated(await self._object(call), "title", max_length, "generated")
        except APIStatusError as error:
            if error.status_code >= 500:
                # An unknown conversation breaks the old route: this says so.
                await self.read_info(session_id)
            if not is_route_gone(error):
                raise
            if (given := await self._automatic_title(session_id, max_length)) is not None:
                return given
            title = generated(
                await self._object(ask_call(session_id, question(max_length))), "response", max_length, "asked"
            )
        if title.title:
            await self.rename(session_id, title.title)
        return title

    async def _automatic_title(self, session_id: str, max_length: int) -> GeneratedTitle | None:
        for wait in TITLE_WAITS if self._settings.titles_itself else TITLE_WAITS[:1]:
            await asyncio.sleep(wait)
            info = await self._object(info_call(session_id))
            if (title := automatic(info, max_length)) is not None:
                return title
            if not info.get("last_user_message_id"):
                raise ConfigurationError("this session has no message yet to make a title from")
        return None

    async def interrupt(self, session_id: str) -> Interruption:
        """End the run of a conversation, and so its turn, which ends as a failed one.

        Gives back "interrupted", or "paused" on a server before 1.23: that one answers, and stops, only when
        the model's call that is under way has ended. Actions that wait for a confirmation are refused. Leaving a
        stream does not end the run.
        """
        session_id = check_id(session_id)
        try:
            await self._object(interrupt_call(session_id))
        except APIStatusError as error:
            if not is_route_gone(error):
                raise
            # An unknown conversation is a 404 here too.
            await self._object(pause_call(session_id))
            how: Interruption = "paused"
        else:
            how = "interrupted"
        if waits_for_confirmation(await self._object(info_call(session_id))):
            # Neither ends that, and the next message would let the actions run.
            await self._object(confirmation_call(session_id, accept=False, reason="the run was interrupted"))
        return how

    async def respond_to_confirmation(self, session_id: str, *, accept: bool, reason: str | None = None) -> None:
        """Allow or refuse the actions that a conversation waits with; either way its run goes on.

        `reason` is for the agent. Read the rest of the turn from the session, when its run has ended.
        """
        session_id = check_id(session_id)
        await self._object(confirmation_call(session_id, accept=accept, reason=reason or "the user refused"))
        if not accept:
            # The server takes a refusal for an answer to the agent, but does not let it go on by itself.
            await self._object(run_call(session_id))

    async def delete(self, session_id: str) -> None:
        """Delete the conversation; a run of it is ended first."""
        call = delete_call(check_id(session_id))
        async for attempt in self._attempts(lambda error: retry_delay(call, error)):
            with attempt:
                try:
                    await self._send(call)
                except APIStatusError as error:
                    if not is_absence(error):
                        raise
                    # The first try may have deleted it before its answer was lost.
                    if attempt.num == 1:
                        await self.read_info(call.path.rpartition("/")[2])
                        raise

    async def attachment_url(self, attachment: ImageAttachment) -> PresignedUrl:
        """Raises `ConfigurationError`: an agent server has no attachments."""
        raise no_attachments(attachment)

    def session(self, session_id: str | None = None, *, index_ids: Sequence[str] | None = None) -> AsyncChatSession:
        """A session to hold: an existing one, or, with None, one that is created at the first send."""
        self._check_indexes(index_ids)
        return AsyncChatSession(self, None if session_id is None else check_id(session_id))

    def stream(
        self,
        session_id: str,
        prompt: str,
        *,
        index_ids: Sequence[str] | None = None,
        require_all_indexes: bool = False,
    ) -> AsyncTurnStream:
        """One turn, sent when the stream is entered. A run that goes on is waited for first."""
        return self.session(check_id(session_id)).stream(
            prompt, index_ids=index_ids, require_all_indexes=require_all_indexes
        )

    async def open_turn(self, request: TurnRequest, clock: EventClock) -> AsyncConversationEvents:
        """Listen, and send the message. For `TurnStream`; see `TurnTransport`."""
        events = await self._listen(request, clock)
        try:
            await self._send_message(request, events, clock)
        except BaseException:
            await events.close()
            raise
        return events

    async def _listen(self, request: TurnRequest, clock: EventClock) -> AsyncConversationEvents:
        async for attempt in self._attempts(was_not_sent):
            with attempt:
                clock.start(afresh=True)
                events = AsyncConversationEvents(self, self._settings, request, clock, self._on_confirmation)
                self._found(await events.listen(self._kinds))
                return events
        raise AssertionError  # pragma: no cover - the last attempt returns or raises

    async def _send_message(self, request: TurnRequest, events: AsyncConversationEvents, clock: EventClock) -> None:
        call = message = send_call(request.session_id, request.prompt)
        try:
            async for attempt in self._attempts(lambda error: retry_delay(message, error)):
                with attempt:
                    try:
                        await self._post(call, clock)
                    except RateLimitError:
                        if await events.has_message():
                            # At its limit of runs the server takes the message and only refuses to run it.
                            call = run_call(request.session_id)
                        raise
        except RateLimitError as error:
            if events.has_landed:
                raise ConnectionLost(f"the conversation has the message, and does not run ({error})") from error
            raise

    async def read_back(self, session_id: str, *, timeout: float | None) -> Sequence[Event]:
        """The session's history, one attempt. For `TurnStream`; see `TurnTransport`."""
        return (await self._history(session_id, limit=timeout))[0]

    async def read_info(self, session_id: str, *, limit: float | None = None) -> JsonObject:
        """The conversation as the server tells it, one attempt within `limit` seconds."""
        call = info_call(session_id)
        return self._read_object(call, await self._send(call, limit))

    async def _history(self, session_id: str, *, limit: float | None) -> tuple[Sequence[Event], JsonObject]:
        deadline = None if limit is None else time.monotonic() + limit
        items, info = await self._read(session_id, deadline)
        if not is_settled(items, info):
            # The run has ended between the two requests.
            items, info = await self._read(session_id, deadline)
        return history_of(items, info), info

    async def _read(self, session_id: str, deadline: float | None) -> tuple[Sequence[JsonObject], JsonObject]:
        items = [item async for _, item in self._items(lambda page_id: events_call(session_id, page_id), deadline)]
        return items, await self._object(info_call(session_id), deadline)
