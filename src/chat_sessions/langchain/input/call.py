"""One call of the model: its input, and the metadata of its run."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from langchain_core.callbacks import BaseCallbackManager, Callbacks
from langchain_core.language_models import LanguageModelInput
from langchain_core.load import dumpd
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, convert_to_messages
from langchain_core.prompt_values import PromptValue
from langchain_core.runnables import RunnableConfig

from chat_sessions.core.arguments import checked_indexes
from chat_sessions.core.errors import ConfigurationError
from chat_sessions.langchain.content import MessageForm
from chat_sessions.langchain.input.sessions import Ask, Place, Sessions

if TYPE_CHECKING:
    from chat_sessions.langchain.chat_model import SessionChatModel

__all__ = ["Answer", "Call", "message_id", "messages_of", "run_configs"]

_SESSION_ID = "session_id"


class Answer(NamedTuple):
    """The result of a call, and the id of its run."""

    message: AIMessage
    run_id: UUID


@dataclass(frozen=True, slots=True)
class Call:
    """One call. `traced` is what the model reports to tracers: its parameters, and those of LangSmith."""

    model: SessionChatModel
    sessions: Sessions
    messages: list[BaseMessage]
    stop: list[str] | None
    config: RunnableConfig
    arguments: Mapping[str, Any]
    traced: tuple[Mapping[str, Any], Mapping[str, Any]]
    ask: Ask = field(default_factory=Ask)

    @property
    def place(self) -> Place:
        """Where in a program the call is made."""
        configurable = self.config.get("configurable", {})
        # LangChain lets the call's `configurable` replace that of a graph's node, and keeps the node's callbacks.
        manager = self.config.get("callbacks")
        noted, run = (
            (manager.metadata, manager.parent_run_id) if isinstance(manager, BaseCallbackManager) else ({}, None)
        )
        thread_id: object = configurable.get("thread_id", noted.get("thread_id"))
        # LangGraph writes "node:task", after those of the enclosing graphs.
        task = str(configurable.get("checkpoint_ns") or noted.get("langgraph_checkpoint_ns") or "")
        node = "|".join(part.partition(":")[0] for part in task.split("|"))
        return Place(None if thread_id is None else str(thread_id), node, task, self.index_ids, run)

    def release(self) -> None:
        """Treat the next call that asks the same as a repetition of this one, which failed."""
        self.sessions.release(self.ask)

    @property
    def index_ids(self) -> tuple[str, ...] | None:
        """The indexes that the turn queries: the call's, else the model's. Raises `ConfigurationError`."""
        given: Sequence[str] | None = self.arguments.get("index_ids")
        return checked_indexes(self.model.index_ids if given is None else given)

    @property
    def is_streamed(self) -> bool:
        """Whether the answer may be given in pieces."""
        if self.model.disable_streaming is True or self.model.streaming is False:
            return False
        return bool(self.arguments.get("stream", True))

    @property
    def asks_for_tokens(self) -> bool:
        """Whether handlers get the tokens of an answer that the caller takes as a whole."""
        return bool(self.arguments.get("stream") or self.model.streaming)

    def form(self, run_id: UUID | None, *, is_v1: bool = False, is_repeated: bool = False) -> MessageForm:
        """Return the form of the answer. One that the input has already is counted there."""
        return MessageForm(
            self.model.service,
            self.model.shown_name,
            "v1" if is_v1 else self.model.output_version,
            self.model.output,
            None if run_id is None else message_id(run_id),
            counts=not is_repeated,
        )

    def serialized(self) -> dict[str, Any]:
        """Return the model as handlers get it, with its name, which some handlers read only here."""
        shown: dict[str, Any] = dumpd(self.model)
        shown["kwargs"] = {"model_name": self.model.shown_name, **shown.get("kwargs", {})}
        return shown

    def run_metadata(self, session_id: str | None) -> dict[str, Any]:
        """Return the metadata of the run, which the tool runs inherit: the config's, and the session's id.

        An id that the application has given its conversation stays: tracers group runs by it.
        """
        session = {} if session_id is None else {_SESSION_ID: self._own_session_id() or session_id}
        langsmith = {**self.traced[1], "ls_integration": "langchain_chat_model"}
        return {**(self.config.get("metadata") or {}), **langsmith, **session}

    def _own_session_id(self) -> str | None:
        """Return the id of the application's own, from the metadata or from OpenInference's `using_session`."""
        given = {**(self.config.get("metadata") or {}), **(self.model.metadata or {})}.get(_SESSION_ID)
        # LangChain copies what is configurable into the metadata.
        if given is not None and given != self.config.get("configurable", {}).get(_SESSION_ID):
            return str(given)
        # An application that exports spans has imported it.
        otel = sys.modules.get("opentelemetry.context")
        own: object = None if otel is None else otel.get_value("session.id")
        return None if own is None else str(own)

    def run_arguments(self, session_id: str | None) -> dict[str, Any]:
        """Return the arguments of `on_chat_model_start`."""
        params = {**self.traced[0], "stop": self.stop, **self.arguments}
        if session_id is not None:
            params["session_id"] = session_id
        return {
            "invocation_params": params,
            "options": {"stop": self.stop, **self.arguments},
            "name": self.config.get("run_name"),
            "run_id": self.config.get("run_id"),
            "batch_size": 1,
        }


def messages_of(given: LanguageModelInput) -> list[BaseMessage]:
    """Return the messages in what a model may be given. Raises `ConfigurationError` for anything else."""
    if isinstance(given, PromptValue):
        return given.to_messages()
    if isinstance(given, str):
        return [HumanMessage(given)]
    if isinstance(given, Sequence):  # pyright: ignore[reportUnnecessaryIsInstance] - people give other things
        try:
            return convert_to_messages(given)
        except (NotImplementedError, ValueError) as error:
            # The first line of the error says what is wrong; the others are links.
            raise ConfigurationError(
                f"the input is not a list of messages: {str(error).partition(chr(10))[0]}"
            ) from error
    raise ConfigurationError(
        f"a model takes a prompt value, a string or a list of messages, not {type(given).__name__}"
    )


def run_configs(callbacks: Callbacks, arguments: dict[str, Any]) -> tuple[RunnableConfig, RunnableConfig]:
    """Take the config out of the arguments of `generate`: that of the first turn, and that of later ones."""
    config = RunnableConfig(callbacks=callbacks)
    for name in ("tags", "metadata", "run_name", "run_id"):
        if (value := arguments.pop(name, None)) is not None:
            config[name] = value
    # Only the first turn can have the run's id.
    later = config.copy()
    later.pop("run_id", None)
    return config, later


def message_id(run_id: UUID) -> str:
    """Return the id of a run's message, as LangChain writes it."""
    return f"lc_run--{run_id}"
