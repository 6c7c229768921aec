"""The session as a node of a graph, with its id in the graph's state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda

__all__ = ["session_node"]


def session_node(
    model: BaseChatModel,
    *,
    messages_key: str = "messages",
    session_key: str = "session_id",
    name: str = "session",
) -> Runnable[Any, dict[str, Any]]:
    """A LangGraph node that answers the last user message of the state in the session of the state.

    The state is a mapping, a dataclass or a pydantic model. The node returns the answer under
    `messages_key` and the session's id under `session_key`: the first turn of a thread creates the
    session, the checkpointer keeps its id, and the next turn goes on with it. The state needs a place
    for the id, such as `session_id: NotRequired[str]`: LangGraph drops what a state does not have.
    """

    def arguments(state: Any) -> tuple[Any, dict[str, Any]]:
        session_id = _value(state, session_key)
        return _value(state, messages_key) or [], {} if session_id is None else {"session_id": session_id}

    def update(answer: AIMessage) -> dict[str, Any]:
        return {messages_key: [answer], session_key: answer.response_metadata["session_id"]}

    def run(state: Any, config: RunnableConfig) -> dict[str, Any]:
        messages, session = arguments(state)
        return update(model.invoke(messages, config, **session))

    async def arun(state: Any, config: RunnableConfig) -> dict[str, Any]:
        messages, session = arguments(state)
        return update(await model.ainvoke(messages, config, **session))

    return RunnableLambda(run, arun, name=name)


def _value(state: Any, key: str) -> Any:
    if isinstance(state, Mapping):
        return cast("Mapping[str, Any]", state).get(key)
    return getattr(state, key, None)
