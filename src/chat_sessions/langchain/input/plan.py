"""What a call sends, and to which session: decided before any request, and again after reading the session."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any

from chat_sessions.core.errors import ConfigurationError
from chat_sessions.core.turn import Turn
from chat_sessions.langchain.input.arguments import check_call
from chat_sessions.langchain.input.call import Call
from chat_sessions.langchain.input.delivery import Sent, answered, sent
from chat_sessions.langchain.input.prompt import PriorPolicy, Prompt, warn_of_input
from chat_sessions.langchain.input.sessions import Record
from chat_sessions.session import AsyncChatSession, ChatSession

__all__ = ["TurnPlan"]


@dataclass(frozen=True, slots=True)
class TurnPlan:
    """What is sent, and where. `held` is the session, created or not."""

    prompt: Prompt
    held: ChatSession
    turn_arguments: dict[str, Any]
    has_system: bool
    """Whether the system text precedes the prompt, if it is the first of its session."""
    tried: Sequence[Record]
    """The records of messages that may have been sent to this session before."""
    unsent: int
    """How many of the messages, from the first, this model has never sent as they are."""
    others: AbstractSet[int]
    """The positions in the session of the turns that answer the task's other asks of the same words."""
    later: int
    """How many such turns come later, at unknown positions."""
    looks_back: bool
    """Whether the session must be read first, to know which messages are new."""
    goes_back: bool
    """Whether the session has given other answers after the last one in the input."""
    on_prior_messages: PriorPolicy

    @classmethod
    def of(cls, call: Call) -> TurnPlan:
        """Read a call. Raises `ConfigurationError` for a wrong one, and warns of everything that is not sent."""
        model, place = call.model, call.place
        check_call(call.arguments)
        if call.stop:
            warn_of_input("stop is not sent: a session has no stop sequences")
        prompt = Prompt.read(call.messages)
        session_id = _session_id(call, prompt)
        last = prompt.messages[-1]
        call.sessions.begin(call.ask, last, place, session_id)
        records = [
            call.sessions.record(message, place, call.ask, is_last=message is last) for message in prompt.messages
        ]
        known = [record for record in records if record is not None]
        if session_id is None and model.session is None:
            session_id = known[-1].session_id if known else None
            if session_id is None and model.session_from_messages:
                session_id = call.sessions.of_thread(place)
        prompt.apply_system_policy(model.system)
        prompt.apply_prior_policy(model.on_prior_messages, session_id)
        prompt.apply_results_policy(model.on_prior_messages)
        exchanges = prompt.exchanges(session_id)
        goes_on = bool(exchanges)
        held, is_known = _session(call, session_id)
        if any(prompt.images):
            held.client.check_images()
        has_system = model.system == "prepend" and prompt.system is not None
        tried = [record for record in known if record.session_id == session_id and record.may_have_landed]
        others = {
            number: record
            for number, record in call.sessions.others(last, place, call.ask).items()
            if record.session_id == session_id and record.may_have_landed
        }
        mine = records[-1].turns_before if records[-1] is not None else None
        unsent = sum(
            1
            for _ in takewhile(
                lambda sent: sent[1] is None or sent[1].is_rewritten(sent[0]),
                zip(prompt.messages, records, strict=True),
            )
        )
        looks_back = session_id is not None and (
            bool(tried)
            # Another agent hands over what was answered already.
            or prompt.is_answered_in(session_id)
            # The first of them may belong to a failed turn, perhaps of another process.
            or (len(prompt.messages) > 1 and (goes_on or place.thread_id is not None))
            # Another process began this graph, and may have been interrupted in this turn.
            or (goes_on and place.thread_id is not None and not is_known)
            # The system text precedes only a session's first prompt.
            or (has_system and not goes_on)
        )
        return cls(
            prompt,
            held,
            _turn_arguments(call),
            has_system,
            tried,
            unsent,
            {other.turns_before for other in others.values() if other.turns_before not in (None, mine)},
            sum(other.turns_before is None and number > call.ask.number for number, other in others.items()),
            looks_back,
            # Other answers to the same words are nothing to warn of.
            goes_back=goes_on and not others and call.sessions.is_earlier(session_id or "", exchanges[-1].answer_id),
            on_prior_messages=model.on_prior_messages,
        )

    def sent(self, turns: Sequence[Turn]) -> Sent:
        """Return how much of the prompt the session's turns show as sent. Warns if the input goes back in time."""
        prompt = self.prompt
        exchanges = prompt.exchanges(self.held.id)
        if prompt.is_answered_in(self.held.id):
            return answered(len(prompt.messages), turns, exchanges)
        places = [place for place in range(len(turns)) if place not in self.others]
        found = sent(
            prompt.texts,
            [turns[place] for place in places],
            images=prompt.images,
            exchanges=exchanges,
            system=prompt.system if self.has_system else None,
            tried_after=[
                None if record.turns_before is None else bisect_left(places, record.turns_before)
                for record in self.tried
            ],
            unsent=self.unsent,
            later=self.later,
        )
        if found.position is not None:
            found = replace(found, position=places[found.position])
        is_last = found.position is not None and found.position == len(turns) - 1
        if self.goes_back and not is_last:
            prompt.apply_rewind_policy(self.on_prior_messages, self.held.id or "")
        return found

    def text(self, count: int, *, is_first: bool) -> str:
        """Return the text to send, without the first `count` messages."""
        text = "\n\n".join(filter(None, self.prompt.texts[count:]))
        return f"{self.prompt.system}\n\n{text}" if self.has_system and is_first else text

    def images(self, count: int) -> tuple[str, ...]:
        """Return the addresses of the images to send, without those of the first `count` messages."""
        return tuple(url for shown in self.prompt.images[count:] for url in shown)

    def session(self) -> ChatSession:
        """Return the session for sync code."""
        return self.held

    def async_session(self) -> AsyncChatSession:
        """Return the session for async code."""
        return self.held.aio


def _session_id(call: Call, prompt: Prompt) -> str | None:
    """Return the id of the session that the turn runs in, None for a new one."""
    model = call.model
    session_id: object = call.arguments.get("session_id")
    if session_id is None:
        session_id = call.config.get("configurable", {}).get("session_id")
    if session_id is None:
        session_id = model.session_id
    if session_id is None and model.session is not None:
        session_id = model.session.id
    elif session_id is None and model.session_from_messages:
        session_id = prompt.last_session_id
    if session_id is not None and not isinstance(session_id, str):
        raise ConfigurationError(f"session_id must be a string, got {session_id!r}")
    return session_id


def _session(call: Call, session_id: str | None) -> tuple[ChatSession, bool]:
    """Return the session, and whether this model has used it before."""
    model = call.model
    if model.session is not None and session_id == model.session.id:
        return model.session, True
    client = model.known_client
    if client is None:
        client = call.sessions.client()
    known = None if session_id is None else call.sessions.get(session_id, client)
    return known or client.session(session_id, index_ids=model.index_ids), known is not None


def _turn_arguments(call: Call) -> dict[str, Any]:
    wait = call.arguments.get("wait_if_busy")
    return {
        "index_ids": call.index_ids,
        "wait_if_busy": call.model.wait_if_busy if wait is None else wait,
        "require_all_indexes": call.arguments.get("require_all_indexes", call.model.require_all_indexes),
    }
