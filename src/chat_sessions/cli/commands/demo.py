"""`chat-sessions demo`: ask one session through LlamaIndex and then through LangChain, without a key."""

from __future__ import annotations

import importlib
import shlex
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import TypeAdapter

from chat_sessions.cli import options
from chat_sessions.cli.commands.ask import check_question
from chat_sessions.cli.errors import handle_errors
from chat_sessions.cli.show.answer import AnswerPrinter, show_cost, show_outcome
from chat_sessions.cli.show.sources import show_sources
from chat_sessions.cli.show.terminal import Terminal
from chat_sessions.cli.show.text import one_line, program
from chat_sessions.cli.where.agent import AgentOptions
from chat_sessions.cli.where.choice import Where
from chat_sessions.cli.where.folders import existing, shortest
from chat_sessions.cli.where.opening import open_service
from chat_sessions.cli.where.service import Service
from chat_sessions.core.errors import ConfigurationError
from chat_sessions.core.events import Event, TextDelta, ThinkingDelta, ToolCall, ToolResult
from chat_sessions.core.models import Usage
from chat_sessions.core.sources import Source

__all__ = ["demo"]

_QUESTIONS = ("What was the operating margin in Q3 2025?", "And in Q4?")
# In a wheel they are in the package, in a checkout in `examples`.
_EXAMPLES = (
    Path(__file__).parents[2] / "example_documents",
    Path(__file__).parents[4] / "examples" / "documents",
)


@handle_errors
def demo(
    folder: Annotated[
        str | None,
        typer.Argument(metavar="[FOLDER]", help="The folder to ask; default the example documents."),
    ] = None,
    question: Annotated[
        list[str] | None,
        typer.Option(
            "--question",
            "-q",
            metavar="TEXT",
            help="What to ask; give it twice to ask each framework its own question.",
        ),
    ] = None,
    llm: options.LocalLlm = None,
    llm_base_url: options.LlmBaseUrl = None,
    llm_key: options.LlmKey = None,
) -> None:
    """Ask one session through LlamaIndex and LangChain, without a key.

    A local server answers from the example documents of the package, or from a folder of yours.
    """
    path = existing(Path(folder)) if folder else _examples()
    questions = question or ([] if folder else _QUESTIONS)
    if not 1 <= len(questions) <= 2:
        raise ConfigurationError(f"give one or two questions for {path}: --question TEXT")
    where = Where(local=True, agent=AgentOptions(llm, llm_base_url=llm_base_url, llm_key=llm_key), indexes=[str(path)])
    questions = [check_question(asked, where.prompt_limit) for asked in questions]
    terminal = Terminal(merged=True)
    terminal.line("One session, two frameworks, no key", "bold")
    terminal.line()
    with open_service(where, terminal) as service:
        leaves = "only the passages found go to the model" if llm else "nothing leaves this machine"
        terminal.note(f"It speaks the Chat API at {service.client.base_url}; {leaves}.")
        session_id: str | None = None
        for adapter, turn, asked in (
            ("chat_sessions.llama_index", _through_llama_index, questions[0]),
            ("chat_sessions.langchain", _through_langchain, questions[-1]),
        ):
            try:
                importlib.import_module(adapter)
            except ConfigurationError as error:
                terminal.warn(str(error))
            else:
                session_id = turn(service, session_id, asked, terminal)
        if session_id is None:
            raise ConfigurationError("neither framework is installed: pip install 'chat-sessions[all]'")
        _show_session(service, session_id, path, terminal)


def _examples() -> Path:
    for folder in _EXAMPLES:
        if folder.is_dir():
            return folder
    raise ConfigurationError(
        "the example documents are missing from this installation; name a folder of your own: "
        "chat-sessions demo FOLDER --question TEXT"
    )


def _through_llama_index(service: Service, session_id: str | None, question: str, terminal: Terminal) -> str | None:
    """Ask a chat engine; its tool runs come through LlamaIndex's callbacks."""
    from llama_index.core.callbacks import CallbackManager

    from chat_sessions.cli.show.callbacks import ToolRunHandler
    from chat_sessions.llama_index import SessionChatEngine

    _show_heading("1. LlamaIndex: SessionChatEngine.stream_chat", question, terminal)
    printer = AnswerPrinter(terminal)
    engine = SessionChatEngine(
        client=service.client,
        session_id=session_id,
        index_ids=service.index_ids,
        callback_manager=CallbackManager([ToolRunHandler(printer)]),
    )
    with service.lock(), engine.stream_chat(question) as response:
        for token in response.response_gen:
            printer.show(TextDelta(content=token))
    show_outcome(response.turn, session_id=engine.session_id, terminal=terminal)
    return engine.session_id


def _through_langchain(service: Service, session_id: str | None, question: str, terminal: Terminal) -> str | None:
    """Ask a chat model; its tool runs and its thinking are content blocks of the message."""
    from langchain_core.messages import AIMessageChunk

    from chat_sessions.langchain import SessionChatModel

    _show_heading("2. LangChain: SessionChatModel.stream, the same session", question, terminal)
    printer = AnswerPrinter(terminal)
    model = SessionChatModel(client=service.client, session_id=session_id, index_ids=list(service.index_ids or ()))
    message = AIMessageChunk(content="")
    with service.lock():
        for chunk in model.stream(question):
            message += chunk
            for event in _events_in(chunk.content_blocks):
                printer.show(event)
    about = message.response_metadata
    terminal.end_line()
    # The passages' texts are in the tool results, not in the metadata.
    sources = [{**fields, "text": ""} for fields in about.get("sources", ())]
    show_sources(TypeAdapter(list[Source]).validate_python(sources), terminal)
    show_cost(Usage.model_validate(about["turn_usage"]), session_id=about["session_id"], terminal=terminal)
    return str(about["session_id"])


def _events_in(blocks: Iterable[Any]) -> Iterator[Event]:
    """Yield the events in a chunk's blocks."""
    for block in blocks:
        match block:
            case {"type": "text", "text": str(text)}:
                yield TextDelta(content=text)
            case {"type": "reasoning", "reasoning": str(thought)}:
                yield ThinkingDelta(content=thought)
            case {"type": "server_tool_call", "id": str(call_id), "name": str(name), "args": arguments}:
                yield ToolCall(call_id=call_id, name=name, arguments=arguments)
            case {"type": "server_tool_result", "tool_call_id": str(call_id), "extras": extras, "output": output}:
                yield ToolResult(call_id=call_id, name=extras["name"], result=output)
            case _:
                pass


def _show_heading(heading: str, question: str, terminal: Terminal) -> None:
    terminal.line()
    terminal.line(heading, "bold")
    terminal.line(f"you> {question}")


def _show_session(service: Service, session_id: str, path: Path, terminal: Terminal) -> None:
    summary = service.client.get_summary(session_id)
    terminal.line()
    terminal.line("The session", "bold")
    terminal.line(f"  id     {session_id}")
    terminal.line(f"  title  {one_line(summary.generated_title or '(none)')}")
    terminal.line(f"  turns  {len(service.client.session(session_id).turns())}")
    terminal.line()
    terminal.line(f"To continue it: {program()} chat --local --session {session_id}", wrap=False)
    with suppress(ConfigurationError):
        importlib.import_module("chat_sessions.web")
        _name_page(session_id, path, terminal)


def _name_page(session_id: str, path: Path, terminal: Terminal) -> None:
    """Say how to open the page. Serving it here would keep `make demo` from ending."""
    from chat_sessions.cli.where.page import PAGE_PORT
    from chat_sessions.web.hosting import Listener

    try:
        listener = Listener(PAGE_PORT)
    except ConfigurationError:
        # In use, perhaps by another page.
        listener = Listener()
    with listener.socket:
        port = listener.port
    folder = shlex.quote(shortest(path))
    terminal.line(f"To see it on a page: {program()} ui --local {folder} --port {port}", wrap=False)
    terminal.line("That opens it in your browser, with a token of its own; the session is then at")
    terminal.line(f"http://127.0.0.1:{port}/sessions/{session_id}", wrap=False)
