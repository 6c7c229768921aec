"""What a call asks, in which session: decided before any request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chat_sessions.core.errors import ConfigurationError
from chat_sessions.langchain.arguments import check_call
from chat_sessions.langchain.input.call import Call
from chat_sessions.langchain.input.prompt import Prompt, warn_of_input
from chat_sessions.session import AsyncChatSession, ChatSession

if TYPE_CHECKING:
    from chat_sessions.langchain.chat_model import SessionChatModel

__all__ = ["TurnPlan"]


@dataclass(frozen=True, slots=True)
class TurnPlan:
    """What is sent, and where. `held` is the session, created or not."""

    prompt: Prompt
    held: ChatSession
    turn_arguments: dict[str, Any]
    may_be_first: bool
    """Whether the system text may have to go before this prompt, as the first of its session."""

    @classmethod
    def of(cls, call: Call) -> TurnPlan:
        """Read a call. All that is wrong with it is raised here, and all that is not sent is warned of."""
        model = call.model
        check_call(call.arguments)
        if call.stop:
            warn_of_input("stop is not sent: a session has no stop sequences")
        prompt = Prompt.read(call.messages)
        session_id = _session_id(model, call, prompt)
        prompt.apply_system_policy(model.system)
        prompt.apply_prior_policy(model.on_prior_messages, session_id)
        goes_on = prompt.prior_session_id is not None and prompt.prior_session_id == session_id
        return cls(
            prompt,
            _session(model, call, session_id),
            _turn_arguments(model, call),
            may_be_first=model.system == "prepend" and prompt.system is not None and not goes_on,
        )

    def session(self) -> ChatSession:
        """Return the session for sync code."""
        return self.held

    def async_session(self) -> AsyncChatSession:
        """Return the session for async code."""
        return self.held.aio


def _session_id(model: SessionChatModel, call: Call, prompt: Prompt) -> str | None:
    """Return the id of the session that the turn runs in, None for a new one."""
    session_id: object = call.arguments.get("session_id")
    if session_id is None:
        session_id = call.config.get("configurable", {}).get("session_id")
    if session_id is None:
        session_id = model.session_id
    if session_id is None and model.session is not None:
        session_id = model.session.id
    elif session_id is None and model.session_from_messages:
        session_id = prompt.prior_session_id
    if session_id is not None and not isinstance(session_id, str):
        raise ConfigurationError(f"session_id must be a string, got {session_id!r}")
    return session_id


def _session(model: SessionChatModel, call: Call, session_id: str | None) -> ChatSession:
    if model.session is not None and session_id == model.session.id:
        return model.session
    client = model.known_client or call.sessions.client()
    known = None if session_id is None else call.sessions.get(session_id, client)
    return known or client.session(session_id, index_ids=model.index_ids)


def _turn_arguments(model: SessionChatModel, call: Call) -> dict[str, Any]:
    index_ids = call.arguments.get("index_ids")
    if isinstance(index_ids, str):
        raise ConfigurationError(f"index_ids must be a list of index ids, got the string {index_ids!r}")
    return {
        "index_ids": index_ids or model.index_ids,
        "require_all_indexes": call.arguments.get("require_all_indexes", model.require_all_indexes),
    }
