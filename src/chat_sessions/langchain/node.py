"""A session as a node of a graph that keeps the session's id in its state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from langchain_core.messages import AIMessage
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from langchain_core.runnables.config import patch_config

from chat_sessions.core.errors import ConfigurationError
from chat_sessions.langchain.content import Output, check_output
from chat_sessions.langchain.messages import text_message

__all__ = ["session_node"]


def session_node(
    model: Runnable[Any, AIMessage],
    *,
    messages_key: str = "messages",
    session_key: str = "session_id",
    name: str = "session",
    output: Output = "blocks",
) -> Runnable[Any, dict[str, Any]]:
    """Return a LangGraph node that answers the state's last user message in the state's session.

    The state is a mapping, a dataclass or a pydantic model. The node returns the answer under
    `messages_key` and the session's id under `session_key`: the first turn of a thread creates the session, the
    checkpointer keeps its id, and the next turn continues it. The state needs a key for the id, such as `session_id:
    NotRequired[str]`, because LangGraph drops keys that a state does not have.

    With `output="text"` the answer in the state is text only, for graphs whose other models get it as history; the
    graph's stream still has everything. Raises `ConfigurationError` for anything but a model. The node raises what
    the model raises, and `ConfigurationError` for an answer that is not a message.
    """
    check_output(output)
    if not isinstance(model, Runnable):  # pyright: ignore[reportUnnecessaryIsInstance] - people give clients
        raise ConfigurationError(
            f"session_node takes a model, such as SessionChatModel(client=...), not a {type(model).__name__}"
        )

    def given(state: Any, config: RunnableConfig) -> tuple[Any, RunnableConfig]:
        session_id = _value(state, session_key)
        # A key with a reducer, such as `Annotated[str, ...]`, begins as "".
        if session_id not in (None, ""):
            # Not as an argument, which a fallback would receive too.
            config = patch_config(config, configurable={"session_id": session_id})
        return _value(state, messages_key) or [], config

    def update(answer: AIMessage) -> dict[str, Any]:
        if not isinstance(answer, AIMessage):  # pyright: ignore[reportUnnecessaryIsInstance] - people give chains
            got = "text" if isinstance(answer, str) else f"a {type(answer).__name__}"
            raise ConfigurationError(
                f"session_node takes a model that answers with a message, and got {got}: leave out the output parser, "
                "and use an agent or a graph as a node itself"
            )
        kept: dict[str, Any] = {messages_key: [text_message(answer) if output == "text" else answer]}
        # A fallback of the model answers without a session.
        session_id = answer.response_metadata.get("session_id")
        return kept if session_id is None else {**kept, session_key: session_id}

    def run(state: Any, config: RunnableConfig) -> dict[str, Any]:
        return update(model.invoke(*given(state, config)))

    async def arun(state: Any, config: RunnableConfig) -> dict[str, Any]:
        return update(await model.ainvoke(*given(state, config)))

    return RunnableLambda(run, arun, name=name)


def _value(state: Any, key: str) -> Any:
    if isinstance(state, Mapping):
        return cast("Mapping[str, Any]", state).get(key)
    return getattr(state, key, None)
