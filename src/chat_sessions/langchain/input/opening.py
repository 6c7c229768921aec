# Generated from async_opening.py by scripts/generate_sync.py: edit that file, then run `make format`.
"""Get from a call to its turn: a new one, not sent yet, or the one that its messages already had."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from langchain_core.messages import BaseMessage

from chat_sessions.core.delivery import asked
from chat_sessions.langchain.input.call import Call
from chat_sessions.langchain.input.plan import TurnPlan
from chat_sessions.langchain.input.sessions import Record
from chat_sessions.session.stored.stored_turn import StoredTurn
from chat_sessions.session.turn_stream import TurnStream

__all__ = ["Opening", "TurnSource", "open_turn"]

TurnSource: TypeAlias = TurnStream | StoredTurn


@dataclass(frozen=True, slots=True)
class Opening:
    """A turn, its session, and the user's messages that it answers. Earlier turns sent the first of them.

    `is_repeated` says whether the input has the turn's answer already.
    """

    stream: TurnSource
    session_id: str
    messages: Sequence[BaseMessage]
    sent_before: int
    is_repeated: bool = False

    def note(self, call: Call, answer_id: str | None) -> None:
        """Record in the model what happened to the messages, and the id of their answer; None if there is none."""
        stream, place = self.stream, call.place
        landed = stream.landed is not False
        record = Record(self.session_id, place.task, stream.turns_before, landed, answer_id is not None)
        # A turn that was found is where it was found; one of several messages may have begun earlier.
        is_found = self.sent_before == len(self.messages) == 1 and not self.is_repeated
        noted = self.messages if is_found else self.messages[self.sent_before :]
        call.sessions.note(noted, place, call.ask, record)
        if answer_id is not None:
            call.sessions.answered(self.messages, place, call.ask, self.session_id, answer_id)
        else:
            call.release()


def open_turn(call: Call) -> Opening:
    """Return the turn of this call; its session is created if it does not exist yet.

    Raises `ConfigurationError` for input that cannot be sent, before any request.
    """
    plan = TurnPlan.of(call)
    messages = plan.prompt.messages
    session = plan.session()
    turns = session.turns() if plan.looks_back else []
    places = asked(turns)
    sent = plan.sent([turns[place] for place in places])
    if sent.position is not None:
        stored = StoredTurn(session, turns, places[sent.position])
        if sent.count == len(messages):
            is_repeated = plan.prompt.is_answered_in(session.id)
            return Opening(stored, session.id or "", messages, sent.count, is_repeated)
        # The service takes no turn while another runs.
        stored.wait()
    is_first = not places and (plan.looks_back or session.id is None)
    text, images = plan.text(sent.count, is_first=is_first), plan.images(sent.count)
    stream = session.stream(text, images=images, **plan.turn_arguments)
    session_id = session.create()
    call.sessions.keep(plan.held)
    return Opening(stream, session_id, messages, sent.count)
