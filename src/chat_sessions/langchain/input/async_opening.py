"""From a call to its turn, not sent yet."""

from __future__ import annotations

from chat_sessions.langchain.input.call import Call
from chat_sessions.langchain.input.plan import TurnPlan
from chat_sessions.session.async_turn_stream import AsyncTurnStream

__all__ = ["async_open_turn"]


async def async_open_turn(call: Call) -> tuple[AsyncTurnStream, str | None]:
    """Return the turn of this call, and the id of its session, which is created if it does not exist yet.

    Raises `ConfigurationError` for input that a session cannot be sent, before any request.
    """
    plan = TurnPlan.of(call)
    session = plan.async_session()
    text = plan.prompt.text
    if plan.may_be_first and not await session.turns():
        text = plan.prompt.with_system()
    stream = session.stream(text, **plan.turn_arguments)
    await session.create()
    call.sessions.keep(plan.held)
    return stream, session.id
