# Generated from async_endpoints.py by scripts/generate_sync.py: edit that file, then run `make format`.
"""The endpoints of an OpenHands Agent Server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Self

from pydantic import JsonValue

from chat_sessions.core.errors import APIStatusError, ConfigurationError
from chat_sessions.core.events import Session
from chat_sessions.core.models import ImageAttachment, PresignedUrl, SessionSummary, TitledSummary
from chat_sessions.http.secrets import concealed
from chat_sessions.http.settings import checked_prompt
from chat_sessions.openhands.confirmation import waits_for_confirmation
from chat_sessions.openhands.conversation.session import OpenHandsSession
from chat_sessions.openhands.conversation.turns import Turns
from chat_sessions.openhands.events.json_values import JsonObject
from chat_sessions.openhands.profiles import profile_id, profile_name
from chat_sessions.openhands.settings import check_id, check_indexes
from chat_sessions.openhands.titles import (
    TITLE_WAITS,
    GeneratedTitle,
    check_length,
    found,
    generated,
    question,
    title_llm,
    titled,
)
from chat_sessions.openhands.wire import (
    Interruption,
    agent_profile_call,
    ask_call,
    confirmation_call,
    create_call,
    delete_call,
    info_call,
    interrupt_call,
    is_absence,
    is_route_gone,
    list_call,
    read_conversations,
    read_summary,
    rename_call,
    run_call,
    switch_call,
    title_call,
)
from chat_sessions.session.turn_stream import TurnStream
from chat_sessions.session.waiting import sleep

__all__ = ["Endpoints"]


class Endpoints(Turns):
    """The methods of an `OpenHandsChat`."""

    def __repr__(self) -> str:
        if not hasattr(self, "_settings"):
            # A traceback with local variables shows what could not be made.
            return f"<{type(self).__name__} without settings>"
        return f"{type(self).__name__}(base_url={self.base_url!r})"

    @property
    def service(self) -> str:
        """The service's name: "openhands"."""
        return "openhands"

    @property
    def base_url(self) -> str:
        """The server's address, without `/api`."""
        return self._settings.base_url

    @property
    def index_ids(self) -> tuple[str, ...]:
        """Empty: an agent server knows no indexes."""
        return ()

    @property
    def transport(self) -> Self:
        """Itself: it sends turns and reads sessions back."""
        return self

    def queue_key(self, session_id: str) -> tuple[str, ...]:
        """Return what makes a session the same one for every client of this process."""
        return (self.service, self.base_url, session_id)

    def check_turn(self, prompt: str, index_ids: Sequence[str] | None, *, has_images: bool = False) -> None:
        """Raise `ConfigurationError` for a turn that cannot be sent. Images may go without words."""
        checked_prompt(prompt, may_be_empty=has_images)
        check_indexes(index_ids)

    def close(self) -> None:
        """Close the connections made here. The client may be used again: it makes new ones."""
        self._http.close_connections()

    def create(self, *, index_ids: Sequence[str] | None = None) -> SessionSummary:
        """Create a conversation with the client's agent (`POST /api/conversations`).

        Its id is made here, so that a create whose answer was lost is repeated without a second one. An
        agent with a tool that the server does not have is refused at the first message only, with a 500.
        """
        check_indexes(index_ids)
        body = self._settings.new_conversation()
        if (name := profile_name(body)) is not None:
            call = agent_profile_call(name)
            body["agent_profile_id"] = profile_id(call, self._object(call))
        call = create_call(body)
        summary = read_summary(call, self._object(call))
        if self._settings.llm_profile is not None:
            try:
                self._object(switch_call(summary.session_id, self._settings.llm_profile))
            except BaseException:
                if "conversation_id" not in self._settings.conversation:
                    self._http.send(delete_call(summary.session_id))
                raise
        return summary

    def list(self, *, page_size: int | None = None) -> Iterator[SessionSummary]:
        """The server's conversations, the newest first, each page (100 at most) fetched when it is needed."""
        first = list_call(page_size, None)
        return self._http.pages(
            lambda page_id: first if page_id is None else list_call(page_size, page_id),
            lambda call, content: read_conversations(call, self._read_object(call, content)),
        )

    def retrieve(self, session_id: str) -> Session:
        """The conversation with its events, as a session's."""
        session_id = check_id(session_id)
        events, info = self._history(session_id, limit=None)
        summary = read_summary(info_call(session_id), info)
        return Session.model_validate({**summary.model_dump(), "events": events})

    def get_summary(self, session_id: str) -> SessionSummary:
        """The conversation without its events."""
        call = info_call(check_id(session_id))
        return read_summary(call, self._object(call))

    def set_title(self, session_id: str, *, first_message: str) -> TitledSummary:
        """Have a title made, as `generate_title` does.

        The server makes it from the conversation itself: `first_message`, which other services make it from,
        is not sent. `title_origin` is "automatic" where the server chose it meanwhile, "existing" where the
        conversation had it already.
        """
        del first_message
        title = self.generate_title(session_id)
        return titled(self.get_summary(session_id), title)

    def rename(self, session_id: str, title: str) -> None:
        """Give the conversation this title."""
        if not title.strip():
            raise ConfigurationError("the title is empty")
        session_id = check_id(session_id)
        self._asked(rename_call(session_id, title), session_id, "names to give")

    def generate_title(
        self, session_id: str, max_length: int = 50, llm: Mapping[str, JsonValue] | str | None = None
    ) -> GeneratedTitle:
        """A title of at most `max_length` (1 to 200) characters, which the conversation then has.

        Up to server 1.18, `POST .../generate_title` makes it, with `llm` (a model's name, or any of the server's
        own settings of a model) or the client's own. Later servers have no such route: there it is the title that
        the conversation has, or that the server makes by itself, for which this waits a few seconds, and
        where it makes none the agent is asked. `origin` says which. With `llm` a later server is a
        `ConfigurationError`: it makes titles with the conversation's own model.
        """
        session_id, llm = check_id(session_id), concealed(llm)
        check_length(max_length)
        call = title_call(session_id, max_length, title_llm(llm, self._settings.llm))
        # An unknown conversation breaks the old route, with an error that looks as if it may pass.
        info = self._object(info_call(session_id))
        try:
            title = generated(self._object(call), "title", max_length, "generated")
        except APIStatusError as error:
            if not is_route_gone(error):
                raise
            if llm is not None:
                raise self._lacks("titles made with llm=", "leave llm out") from error
            if (given := self._automatic_title(info, session_id, max_length)) is not None:
                if given.title != info.get("title"):
                    self.rename(session_id, given.title)
                return given
            title = generated(self._object(ask_call(session_id, question(max_length))), "response", max_length, "asked")
        if title.title:
            self.rename(session_id, title.title)
        return title

    def _automatic_title(self, info: JsonObject, session_id: str, max_length: int) -> GeneratedTitle | None:
        if (title := found(info, max_length, "existing")) is not None:
            return title
        for wait in TITLE_WAITS if self._settings.titles_itself else TITLE_WAITS[:1]:
            sleep(wait)
            info = self._object(info_call(session_id))
            if (title := found(info, max_length, "automatic")) is not None:
                return title
            if not info.get("last_user_message_id"):
                raise ConfigurationError("this session has no message yet to make a title from")
        return None

    def interrupt(self, session_id: str) -> Interruption:
        """End the run of a conversation, and so its turn, which ends as a failed one.

        Gives back "interrupted", or "paused" on a server before 1.23: that one answers, and stops, only when
        the model's call that is under way has ended. Actions that wait for a confirmation are refused. Leaving a
        stream does not end the run.
        """
        session_id = check_id(session_id)
        try:
            self._object(interrupt_call(session_id))
        except APIStatusError as error:
            if not is_route_gone(error):
                raise
            self.pause(session_id)
            how: Interruption = "paused"
        else:
            how = "interrupted"
        if waits_for_confirmation(self._object(info_call(session_id))):
            # Neither ends that, and the next message would let the actions run.
            self._object(confirmation_call(session_id, accept=False, reason="the run was interrupted"))
        return how

    def respond_to_confirmation(self, session_id: str, *, accept: bool, reason: str | None = None) -> None:
        """Allow or refuse the actions that a conversation waits with; in both cases its run continues.

        `reason` is for the agent. Read the rest of the turn from the session, when its run has ended.
        """
        session_id = check_id(session_id)
        self._object(confirmation_call(session_id, accept=accept, reason=reason or "the user refused"))
        if not accept:
            # The server takes a refusal for an answer to the agent, but does not let it go on by itself.
            self._object(run_call(session_id))

    def delete(self, session_id: str) -> None:
        """Delete the conversation; a run of it is ended first."""
        call = delete_call(check_id(session_id))
        for attempt in self._http.attempts_of(call):
            with attempt:
                try:
                    self._http.send(call)
                except APIStatusError as error:
                    if not is_absence(error):
                        raise
                    # The first try may have deleted it before its answer was lost.
                    if attempt.num == 1:
                        self.read_info(call.path.rpartition("/")[2])
                        raise

    def attachment_url(self, attachment: ImageAttachment) -> PresignedUrl:
        """Raise `ConfigurationError`: an agent server has no attachments."""
        raise ConfigurationError(
            f"an OpenHands agent server has no attachments; {attachment.attachment_name!r} is not one"
        )

    def session(
        self,
        session_id: str | None = None,
        *,
        index_ids: Sequence[str] | None = None,
        baseline: bool = True,
        wait_if_busy: bool | float = True,
    ) -> OpenHandsSession:
        """A session to hold: an existing one, or, with None, one that is created at the first send.

        Before the first turn that you send here to an existing session, its history is read once to count its turns.
        `baseline=False` skips that: a stream that breaks before its answer has begun then ends as
        `TurnOutcomeUnknown`, even if the session has the answer. If an earlier turn still runs, a new one waits for it
        to end: up to `timeouts.total`, else 10 minutes, or `wait_if_busy` seconds, but at least
        `timeouts.first_event`. After that, it raises `ConflictError`.
        """
        check_indexes(index_ids)
        known = None if session_id is None else check_id(session_id)
        return OpenHandsSession(self, known, baseline=baseline, wait_if_busy=wait_if_busy)

    def stream(
        self,
        session_id: str,
        prompt: str,
        *,
        index_ids: Sequence[str] | None = None,
        require_all_indexes: bool = False,
        baseline: bool = True,
        wait_if_busy: bool | float = True,
    ) -> TurnStream:
        """One turn, sent when the stream is entered. A run that goes on is waited for first.

        `baseline` and `wait_if_busy` are as for `session`.
        """
        session = self.session(check_id(session_id), baseline=baseline, wait_if_busy=wait_if_busy)
        return session.stream(prompt, index_ids=index_ids, require_all_indexes=require_all_indexes)
