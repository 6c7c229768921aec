# Generated from async_conversations.py by scripts/generate_sync.py: edit that file, then run `make format`.
"""What a conversation has besides its turns: its run, title, settings, branches and raw events."""

from __future__ import annotations

import uuid
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING

from pydantic import JsonValue

from chat_sessions.core.errors import APIStatusError, ConfigurationError, ConflictError
from chat_sessions.core.models import SessionSummary
from chat_sessions.http.calls import Call
from chat_sessions.http.secrets import concealed
from chat_sessions.http.service import Service
from chat_sessions.openhands.confirmation import waits_for_confirmation
from chat_sessions.openhands.conversation.calls import (
    check_secrets,
    check_tags,
    fork_call,
    llm_call,
    navigate_call,
    next_page_call,
    of_kind,
    policy_call,
    raw_events_call,
    secrets_call,
    tags_call,
)
from chat_sessions.openhands.conversation.workspace import Workspace
from chat_sessions.openhands.events.json_values import JsonObject, as_object, as_text
from chat_sessions.openhands.live.reading import not_idle
from chat_sessions.openhands.settings import Settings, check_id
from chat_sessions.openhands.titles import (
    TITLE_WAITS,
    GeneratedTitle,
    check_length,
    found,
    generated,
    has_no_message,
    nothing_to_title,
    question,
    title_llm,
)
from chat_sessions.openhands.wire import (
    Interruption,
    agent_profile_of,
    agent_profiles_call,
    ask_call,
    confirmation_call,
    delete_call,
    info_call,
    interrupt_call,
    is_route_gone,
    is_route_missing,
    pause_call,
    profile_in,
    profile_of,
    read_events,
    read_object,
    read_summary,
    rename_call,
    run_call,
    server_call,
    switch_call,
    title_call,
)
from chat_sessions.session.stored.turn_count import TurnCount
from chat_sessions.session.waiting import sleep

if TYPE_CHECKING:
    from chat_sessions.openhands.conversation.session import OpenHandsSession

__all__ = ["Conversations"]


class Conversations(Service[Settings]):
    """The methods of an `OpenHandsChat` that are about a conversation and not about a turn."""

    @abstractmethod
    def session(self, session_id: str | None = None) -> OpenHandsSession:
        """See `Endpoints.session`."""

    def check_images(self) -> None:
        """Do nothing: a message takes images. The server leaves them out if it thinks that the model cannot see."""

    def run(self, session_id: str) -> None:
        """Let the agent continue: after `pause`, or with a message that the server had no room to run.

        Returns at once; does nothing if it already runs, or has nothing to do. Raises `RateLimitError` while
        the server is at its limit of runs.
        """
        session_id = check_id(session_id)
        with suppress(ConflictError):
            self._asked(run_call(session_id), session_id, "runs by request")

    def pause(self, session_id: str) -> None:
        """Stop the agent when the current model call has ended; its turn ends as a failed one.

        `interrupt` ends the call, too. `run` lets the agent continue; its answer is then in the session.
        """
        session_id = check_id(session_id)
        try:
            self._asked(pause_call(session_id), session_id, "pause")
        except APIStatusError as error:
            if error.status_code == 400:
                # 1.18.1 says nothing else about an unknown conversation.
                self._object(info_call(session_id))
            raise

    def interrupt(self, session_id: str) -> Interruption:
        """End the run of a conversation; its turn ends as a failed one.

        Returns "interrupted", or "paused" on a server before 1.23, which answers and stops only when the current
        model call has ended. Actions that wait for a confirmation are refused. Leaving a stream does not end the run.
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
            # Neither call drops the pending actions, which the next message would run.
            self._object(confirmation_call(session_id, accept=False, reason="the run was interrupted"))
        return how

    def respond_to_confirmation(self, session_id: str, *, accept: bool, reason: str | None = None) -> None:
        """Allow or refuse the actions that a conversation waits with; in both cases its run continues.

        `reason` is for the agent. Read the rest of the turn from the session, when its run has ended.
        """
        session_id = check_id(session_id)
        self._object(confirmation_call(session_id, accept=accept, reason=reason or "the user refused"))
        if not accept:
            # The server records a refusal, but does not resume the agent by itself.
            self._object(run_call(session_id))

    def ask_agent(self, session_id: str, question: str) -> str:
        """Return the agent's answer to a question that does not become part of the conversation.

        The agent knows the conversation and uses no tools. It costs a call of the model, and is asked once. Raises
        `ConfigurationError` for 1.18.1 and a model that streams: that server cannot do this.
        """
        if not question.strip():
            raise ConfigurationError("the question is empty")
        session_id = check_id(session_id)
        self._object(info_call(session_id))
        call = ask_call(session_id, question)
        try:
            answer = self._read_object(call, self._http.send(call))
        except APIStatusError as error:
            if is_route_missing(error):
                raise self._lacks("side questions", f"{call} needs a later one") from error
            if "on_token" not in str(error):
                raise
            advice = 'make its conversation with llm={..., "stream": False}'
            raise self._lacks("side questions to a model that streams", advice) from error
        return as_text(answer.get("response"))

    def set_confirmation_policy(self, session_id: str, policy: Mapping[str, JsonValue] | str) -> None:
        """Set which of the agent's actions need permission from now on.

        A name ("AlwaysConfirm", "NeverConfirm") or the server's own settings, such as
        `{"kind": "ConfirmRisky", "threshold": "HIGH"}`.
        """
        body = {"kind": policy} if isinstance(policy, str) else dict(policy)
        session_id = check_id(session_id)
        self._asked(policy_call(session_id, body), session_id, "confirmation policy to change")

    def update_secrets(self, session_id: str, secrets: Mapping[str, JsonValue]) -> None:
        """Add values that the agent's commands find in their environment, or change them.

        A value is a string that is not empty, or the settings of one of the server's sources. The model is not shown
        them. A secret can be changed and not removed, and a fork does not have those given here.
        """
        session_id, secrets = check_id(session_id), concealed(secrets)
        check_secrets(secrets)
        self._asked(secrets_call(session_id, secrets), session_id, "secrets to change")

    def rename(self, session_id: str, title: str) -> None:
        """Give the conversation this title."""
        if not title.strip():
            raise ConfigurationError("the title is empty")
        session_id = check_id(session_id)
        self._asked(rename_call(session_id, title), session_id, "names to give")

    def generate_title(
        self, session_id: str, max_length: int = 50, llm: Mapping[str, JsonValue] | str | None = None
    ) -> GeneratedTitle:
        """Generate a title of at most `max_length` (1 to 200) characters, which the conversation then has.

        Up to server 1.18, `POST .../generate_title` makes it, with `llm` (a model's name, or any of the server's own
        settings of a model) or the client's own. Later servers lack that route: there the title is the one that the
        conversation has, else the one that the server makes by itself, which takes a few seconds, else what the agent
        answers when it is asked. `origin` says which. With `llm`, a later server raises `ConfigurationError`: it makes
        titles with the conversation's own model.
        """
        session_id, llm = check_id(session_id), concealed(llm)
        check_length(max_length)
        call = title_call(session_id, max_length, title_llm(llm, self._settings.llm))
        # An unknown conversation breaks the old route, with an error that looks as if it may pass.
        info = self._object(info_call(session_id))
        try:
            title = generated(self._object(call), "title", max_length, "generated")
        except APIStatusError as error:
            if has_no_message(error):
                raise nothing_to_title() from error
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
                raise nothing_to_title()
        return None

    def set_tags(self, session_id: str, tags: Mapping[str, str]) -> None:
        """Set the conversation's tags, in place of those that it has. Keys are lower-case letters and digits.

        `list` and `get_summary` give them as the summary's `tags`.
        """
        session_id = check_id(session_id)
        check_tags(tags)
        self._asked(tags_call(session_id, tags), session_id, "tags to change")

    def fork(
        self,
        session_id: str,
        *,
        title: str | None = None,
        tags: Mapping[str, str] | None = None,
        from_event_id: str | None = None,
        keep_usage: bool = False,
    ) -> OpenHandsSession:
        """Copy the conversation with its events into a new one; returns the new session.

        With `from_event_id` the copy ends with that event; raises `ConfigurationError` if the server can only copy
        whole conversations. With `keep_usage` it keeps the usage of the original. If the server does not copy the
        model's key, it is sent again, provided that the model is this client's `llm` or a profile of the server. The
        server then does not count the copy's usage.
        """
        session_id, fork_id = check_id(session_id), str(uuid.uuid4())
        check_tags(tags or {})
        call = fork_call(
            session_id, fork_id, title=title, tags=tags, from_event_id=from_event_id, keep_usage=keep_usage
        )
        info = self._asked(call, session_id, "forks")
        if from_event_id is not None and info.get("leaf_event_id") != from_event_id:
            self._http.send(delete_call(fork_id))
            raise self._lacks("forks from an event", "fork the whole conversation")
        summary = read_summary(call, info)
        self._hand_over_key(summary.session_id, info)
        if title is not None and summary.generated_title != title:
            # 1.18.1 accepts the title but does not store it.
            self._object(rename_call(summary.session_id, title))
        return self.session(summary.session_id)

    def _hand_over_key(self, session_id: str, info: JsonObject) -> None:
        """Give a copied conversation its model again, from the server or this client: 1.58.0 loses the key."""
        own, llm = self._settings.llm, as_object(as_object(info.get("agent")).get("llm"))
        profile = profile_of(llm)
        if profile is None and (agent := agent_profile_of(info)) is not None:
            profile = profile_in(self._object(agent_profiles_call()), agent)
        if profile is not None:
            call = switch_call(session_id, profile)
        elif own is not None and all(llm.get(name) == own.get(name) for name in ("model", "base_url")):
            call = llm_call(session_id, own)
        else:
            return
        try:
            self._object(call)
        except APIStatusError as error:
            # Older servers copy it, and a profile may be gone.
            if not is_route_gone(error):
                raise

    def navigate(self, session_id: str, event_id: str | None) -> SessionSummary:
        """Go back to an earlier event: the agent, and the session's turns, continue from there. None is the beginning.

        What came after it is kept as another branch. The ids are those of `events`. Raises `ConflictError` during a
        run, whose answer would come without its prompt.
        """
        session_id = check_id(session_id)
        if (self._object(info_call(session_id))).get("execution_status") == "running":
            raise not_idle(session_id, "running")
        call = navigate_call(session_id, event_id)
        summary = read_summary(call, self._asked(call, session_id, "branches"))
        TurnCount.of(self.queue_key(session_id), self).went_back()
        return summary

    def events(
        self,
        session_id: str,
        *,
        kind: str | None = None,
        source: str | None = None,
        text: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        newest_first: bool = False,
        page_size: int | None = None,
    ) -> Iterator[JsonObject]:
        """Return the events of all branches as the server has them, each page (100 at most) fetched when it is needed.

        `source` is "agent", "user" or "environment"; `text` is searched for in messages; `since` is included, `until`
        is not. `kind`, such as "ActionEvent", is compared here, because servers do not agree on how to name it.
        """
        session_id = check_id(session_id)
        first = raw_events_call(
            session_id,
            None,
            page_size=page_size,
            source=source,
            text=text,
            since=since,
            until=until,
            newest_first=newest_first,
        )
        return self._http.pages(
            lambda page_id: first if page_id is None else next_page_call(first, page_id),
            lambda call, content: of_kind(kind, read_events(self._read_object(call, content))),
        )

    def workspace(self, session_id: str) -> Workspace:
        """The files of the folder that the conversation's agent works in."""
        return Workspace(self._http, self._settings, check_id(session_id), self._lacks)

    def server_info(self) -> JsonObject:
        """Return what the server says of itself (`GET /server_info`): `version`, and later ones `usable_tools`."""
        return self._object(server_call())

    def _asked(self, call: Call, session_id: str, what: str) -> JsonObject:
        """Send a request on a route that a server may lack. Raises `ConfigurationError` where it does."""
        try:
            answer = self._object(call)
        except APIStatusError as error:
            if not is_route_missing(error):
                raise
            # An unknown conversation looks the same.
            self._object(info_call(session_id))
            raise self._lacks(what, f"{call} needs a later one") from error
        if answer.get("success") is False:
            # 1.18.1 says nothing else about an unknown conversation.
            self._object(info_call(session_id))
        return answer

    def _lacks(self, what: str, advice: str) -> ConfigurationError:
        """Return the error for something that the server cannot do."""
        version = as_text((self.server_info()).get("version")) or "of an unknown version"
        return ConfigurationError(f"the agent server {version} has no {what}: {advice}")

    def _object(self, call: Call) -> JsonObject:
        return self._http.read(call, self._read_object)

    def _read_object(self, call: Call, content: bytes) -> JsonObject:
        return read_object(call, content, secrets=self._settings.secrets_of(call))
