# Generated from async_endpoints.py by scripts/generate_sync.py: edit that file, then run `make format`.
"""The endpoints of an OpenHands Agent Server."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from chat_sessions.core.errors import APIStatusError, ConfigurationError
from chat_sessions.core.events import Session
from chat_sessions.core.models import ImageAttachment, PresignedUrl, SessionSummary, TitledSummary
from chat_sessions.http.settings import checked_prompt
from chat_sessions.openhands.conversation.session import OpenHandsSession
from chat_sessions.openhands.conversation.turns import Turns
from chat_sessions.openhands.settings import check_id, check_indexes
from chat_sessions.openhands.titles import (
    titled,
)
from chat_sessions.openhands.wire import (
    agent_profile_call,
    create_call,
    delete_call,
    info_call,
    is_absence,
    list_call,
    profile_id,
    profile_name,
    read_conversations,
    read_summary,
    switch_call,
)
from chat_sessions.session.turn_stream import TurnStream

__all__ = ["Endpoints"]


class Endpoints(Turns):
    """The methods of an `OpenHandsChat`."""

    @property
    def service(self) -> str:
        """The service's name: "openhands"."""
        return "openhands"

    @property
    def index_ids(self) -> tuple[str, ...]:
        """Empty: an agent server knows no indexes."""
        return ()

    def check_turn(self, prompt: str, index_ids: Sequence[str] | None, *, has_images: bool = False) -> None:
        """Raise `ConfigurationError` for a turn that cannot be sent. Images may go without words."""
        checked_prompt(prompt, may_be_empty=has_images)
        check_indexes(index_ids)

    def create(self, *, index_ids: Sequence[str] | None = None) -> SessionSummary:
        """Create a conversation with the client's agent (`POST /api/conversations`).

        The id is made here, so that a create whose answer was lost can be repeated without making a second one. An
        agent with a tool that the server lacks is refused at the first message only, with a 500.
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
        """Return the server's conversations, newest first, each page (100 at most) fetched when it is needed."""
        first = list_call(page_size, None)
        return self._http.pages(
            lambda page_id: first if page_id is None else list_call(page_size, page_id),
            lambda call, content: read_conversations(call, self._read_object(call, content)),
        )

    def retrieve(self, session_id: str) -> Session:
        """Return the conversation with its events, as a session."""
        session_id = check_id(session_id)
        events, info = self._history(session_id, limit=None)
        summary = read_summary(info_call(session_id), info)
        return Session.model_validate({**summary.model_dump(), "events": events})

    def get_summary(self, session_id: str) -> SessionSummary:
        """Return the conversation without its events."""
        call = info_call(check_id(session_id))
        return read_summary(call, self._object(call))

    def set_title(self, session_id: str, *, first_message: str) -> TitledSummary:
        """Generate a title, as `generate_title` does.

        The server makes it from the conversation: `first_message` is not sent. `title_origin` is "automatic" if the
        server chose the title in the meantime, "existing" if the conversation already had one.
        """
        del first_message
        title = self.generate_title(session_id)
        return titled(self.get_summary(session_id), title)

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
        """Return a session to hold: an existing one, or, with None, one that is created at the first send.

        `baseline` and `wait_if_busy` are as for `LlamaCloudChat.session`.
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
        """Return one turn, sent when the stream is entered. Waits first for a run in progress.

        `baseline` and `wait_if_busy` are as for `session`.
        """
        session = self.session(check_id(session_id), baseline=baseline, wait_if_busy=wait_if_busy)
        return session.stream(prompt, index_ids=index_ids, require_all_indexes=require_all_indexes)
