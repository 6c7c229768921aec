"""The session as a tool of another agent."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal

from langchain_core.documents import Document
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import ArgsSchema, BaseTool, ToolException
from pydantic import BaseModel, Field, SkipValidation
from typing_extensions import override

from chat_sessions.core.arguments import checked_fields
from chat_sessions.core.errors import ChatSessionsError
from chat_sessions.langchain.messages import source_documents
from chat_sessions.session.waiting import in_context

__all__ = ["TOOL_DESCRIPTION", "TOOL_NAME", "SessionTool"]

TOOL_NAME = "ask_documents"
TOOL_DESCRIPTION = (
    "Ask an assistant that searches and reads the indexed documents. Takes a question, returns an answer that "
    "names the files and pages it comes from."
)


# LangChain can inject the id of a call into a tool, but then the tool cannot be called without one.
_call_id: ContextVar[str | None] = ContextVar("chat_sessions_tool_call_id", default=None)


class _Question(BaseModel):
    question: str = Field(description="One complete question in plain words, understandable on its own.")


class SessionTool(BaseTool):
    """Asks a hosted session; its answer is the tool's result, and the passages behind it are the artifact.

    Made by `SessionChatModel.as_tool`. The model's run, and those of the remote tools, are below the
    tool's own. Each call is a turn of the model's session, or of `configurable.session_id`, or else of a new session.

    Raises what the model raises. With `handle_tool_error`, the agent gets the handled error as the tool's result
    instead.
    """

    name: str = TOOL_NAME
    description: str = TOOL_DESCRIPTION
    args_schema: ArgsSchema | None = _Question
    response_format: Literal["content", "content_and_artifact"] = "content_and_artifact"
    model: SkipValidation[BaseChatModel] = Field(exclude=True, repr=False)
    """The session that is asked."""

    def __init__(self, **fields: Any) -> None:
        """Make a tool of a model. Raises `ConfigurationError` for a wrong field."""
        with checked_fields("SessionTool"):
            super().__init__(**fields)

    # No config is passed: the model takes that of the context, whose run is the tool's. The one that LangChain would
    # pass as an argument has the caller's run.

    def _run(self, question: str) -> tuple[str, list[Document]]:
        with self._handled():
            return _answer(self.model.invoke([_message(question)]))

    async def _arun(self, question: str) -> tuple[str, list[Document]]:
        with self._handled():
            return _answer(await self.model.ainvoke([_message(question)]))

    @override
    def run(self, *args: Any, tool_call_id: str | None = None, **kwargs: Any) -> Any:
        """Return the answer to a call. A call that comes again, from a retry in a graph, is not sent again."""
        with in_context(_call_id, tool_call_id):
            return super().run(*args, tool_call_id=tool_call_id, **kwargs)

    @override
    async def arun(self, *args: Any, tool_call_id: str | None = None, **kwargs: Any) -> Any:
        """The async twin of `run`."""
        with in_context(_call_id, tool_call_id):
            return await super().arun(*args, tool_call_id=tool_call_id, **kwargs)

    @contextmanager
    def _handled(self) -> Generator[None]:
        """Raise errors as the one type that LangChain hands to `handle_tool_error`, if that is set."""
        try:
            yield
        except ChatSessionsError as error:
            if not self.handle_tool_error:
                raise
            raise ToolException(str(error)) from error


def _answer(message: AIMessage) -> tuple[str, list[Document]]:
    return str(message.text), source_documents(message)


def _message(question: str) -> HumanMessage:
    return HumanMessage(question, id=_call_id.get())
