"""The demonstration: one session, asked through LlamaIndex and then through LangChain, without a key."""

from __future__ import annotations

import importlib
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from chat_sessions.cli.errors import UnknownName
from chat_sessions.cli.show.answer import AnswerPrinter, show_cost, show_outcome, show_sources
from chat_sessions.cli.show.terminal import Terminal, one_line
from chat_sessions.cli.where.service import Service, Where, open_service
from chat_sessions.core.errors import ConfigurationError
from chat_sessions.core.events import Event, TextDelta, ThinkingDelta, ToolCall, ToolResult
from chat_sessions.core.models import Usage
from chat_sessions.core.sources import Source

__all__ = ["run_demo"]

_QUESTIONS = ("What was the operating margin in the third quarter of 2025?", "And in the fourth quarter?")


def run_demo(folder: str | None, questions: Sequence[str], terminal: Terminal) -> None:
    """Ask the first question through LlamaIndex and the second, or the same, in the same session through LangChain.

    A framework that is not installed is passed over with a line that says so. Raises `ConfigurationError` where
    neither is, where there are no documents, and for a folder of the caller's own without a question.
    """
    path = Path(folder) if folder else _examples()
    if not path.exists():
        raise UnknownName(f"there is no folder or file {str(path)!r}")
    if folder and not questions:
        raise ConfigurationError(f"what is {folder} to be asked? Give --question TEXT, once or twice")
    if len(questions) > 2:
        raise ConfigurationError("the demo asks two questions: give --question twice at most")
    first, second = (questions[0], questions[-1]) if questions else _QUESTIONS
    terminal.line("One session, two frameworks, no key", "bold")
    terminal.line()
    with open_service(Where(local=True), terminal=terminal, indexes=[str(path)]) as service:
        terminal.note(f"It speaks the Chat API at {service.client.base_url}; nothing leaves this machine.")
        session_id: str | None = None
        for adapter, turn, question in (
            ("chat_sessions.llama_index", _through_llama_index, first),
            ("chat_sessions.langchain", _through_langchain, second),
        ):
            try:
                importlib.import_module(adapter)
            except ConfigurationError as error:
                terminal.warn(str(error))
            else:
                session_id = turn(service, session_id, question, terminal)
        if session_id is None:
            raise ConfigurationError("neither framework is installed: pip install 'chat-sessions[all]'")
        summary = service.client.get_summary(session_id)
        turns = len(service.client.session(session_id).turns())
    terminal.line()
    terminal.line("The session", "bold")
    terminal.line(f"  id     {session_id}")
    terminal.line(f"  title  {one_line(summary.generated_title or '(none)')}")
    terminal.line(f"  turns  {turns}")
    terminal.line()
    # In an environment that is not active, the command has to be typed as it was here.
    program = "chat-sessions" if shutil.which("chat-sessions") else sys.argv[0]
    terminal.line(f"Go on with it: {program} chat --local --session {session_id}")


def _examples() -> Path:
    """The documents of a checkout. Raises `ConfigurationError` where there is none."""
    path = Path(__file__).parents[4] / "examples" / "documents"
    if not path.is_dir():
        raise ConfigurationError(
            "the example documents come with the source code, not with the package; name a folder of your own: "
            "chat-sessions demo FOLDER --question TEXT"
        )
    return path


def _heading(number: int, framework: str, call: str, question: str, terminal: Terminal) -> None:
    terminal.line()
    terminal.line(f"{number}. {framework}: {call}", "bold")
    terminal.line(f"you> {question}")


def _through_llama_index(service: Service, session_id: str | None, question: str, terminal: Terminal) -> str | None:
    """One turn of a chat engine; its tool runs come through LlamaIndex's own callbacks."""
    from llama_index.core.callbacks import CallbackManager

    from chat_sessions.cli.show.callbacks import ToolRunHandler
    from chat_sessions.llama_index import SessionChatEngine

    _heading(1, "LlamaIndex", "SessionChatEngine.stream_chat", question, terminal)
    printer = AnswerPrinter(terminal)
    engine = SessionChatEngine(
        client=service.client,
        session_id=session_id,
        index_ids=service.index_ids,
        callback_manager=CallbackManager([ToolRunHandler(printer)]),
    )
    with service.turn(), engine.stream_chat(question) as response:
        for token in response.response_gen:
            printer.show(TextDelta(content=token))
    show_outcome(response.turn, session_id=engine.session_id, terminal=terminal)
    return engine.session_id


def _through_langchain(service: Service, session_id: str | None, question: str, terminal: Terminal) -> str | None:
    """One turn of a chat model; its tool runs and its reasoning are blocks of the message."""
    from langchain_core.messages import AIMessageChunk

    from chat_sessions.langchain import SessionChatModel

    _heading(2, "LangChain", "SessionChatModel.stream, the same session", question, terminal)
    printer = AnswerPrinter(terminal)
    model = SessionChatModel(client=service.client, session_id=session_id, index_ids=list(service.index_ids or ()))
    message = AIMessageChunk(content="")
    with service.turn():
        for chunk in model.stream(question):
            message += chunk
            for event in _events_in(chunk.content):
                printer.show(event)
    about = message.response_metadata
    terminal.end_line()
    show_sources([_source(fields) for fields in about.get("sources", ())], terminal)
    show_cost(Usage.model_validate(about["usage"]), session_id=about["session_id"], terminal=terminal)
    return str(about["session_id"])


def _events_in(content: str | list[str | dict[str, Any]]) -> list[Event]:
    """What a chunk's content says, as the events that it was made of."""
    if isinstance(content, str):
        return [TextDelta(content=content)] if content else []
    found: list[Event] = []
    for block in content:
        match block:
            case str():
                found.append(TextDelta(content=block))
            case {"type": "reasoning", "reasoning": str(thought)}:
                found.append(ThinkingDelta(content=thought))
            case {"type": "server_tool_call", "id": str(call_id), "name": str(name), "args": arguments}:
                found.append(ToolCall(call_id=call_id, name=name, arguments=arguments))
            case {"type": "server_tool_result", "tool_call_id": str(call_id), "extras": extras, "output": output}:
                found.append(ToolResult(call_id=call_id, name=extras["name"], result=output))
            case _:
                pass
    return found


def _source(fields: Mapping[str, Any]) -> Source:
    """Where a passage stands, as the message's metadata has it; the text is in the tool's result."""
    return Source(
        text="",
        score=fields.get("score"),
        file_name=fields.get("file_name"),
        file_id=fields.get("file_id"),
        page=fields.get("page"),
        page_end=fields.get("page_end"),
    )
