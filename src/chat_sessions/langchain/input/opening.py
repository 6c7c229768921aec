# Generated from async_opening.py by scripts/generate_sync.py: edit that file, then run `make format`.
"""From a call to its turn, not sent yet."""

from __future__ import annotations

from chat_sessions.langchain.input.call import Call
from chat_sessions.langchain.input.plan import TurnPlan
from chat_sessions.session.turn_stream import TurnStream

__all__ = ["open_turn"]


def open_turn(call: Call) -> tuple[TurnStream, str | None]:
    """Return the turn of this call, and the id of its session, which is created if it does not exist yet.

    Raises `ConfigurationError` for input that a session cannot be sent, before any request.
    """
    plan = TurnPlan.of(call)
    session = plan.session()
    text = plan.prompt.text
    if plan.may_be_first and not session.turns():
        text = plan.prompt.with_system()
    stream = session.stream(text, **plan.turn_arguments)
    session.create()
    call.sessions.keep(plan.held)
    return stream, session.id
