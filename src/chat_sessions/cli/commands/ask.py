"""`chat-sessions ask`: ask one question, and show the turn or as much of it as arrived."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import replace
from typing import Annotated

import typer

from chat_sessions.cli import options
from chat_sessions.cli.errors import handle_errors
from chat_sessions.cli.show.answer import AnswerPrinter, show_outcome
from chat_sessions.cli.show.json import dump, turn_report
from chat_sessions.cli.show.terminal import Terminal
from chat_sessions.cli.show.text import one_line
from chat_sessions.cli.where.choice import Where
from chat_sessions.cli.where.openhands import waiting_runs
from chat_sessions.cli.where.opening import open_service
from chat_sessions.cli.where.service import Service
from chat_sessions.cli.where.session_names import LAST
from chat_sessions.core.errors import (
    ChatSessionsError,
    ConfigurationError,
    ConflictError,
    TurnFailed,
    UnprocessableEntityError,
)
from chat_sessions.core.events import TextDelta, ThinkingDelta, dump_event
from chat_sessions.core.turn import Turn
from chat_sessions.session import TurnStream

__all__ = ["answerable", "ask", "check_question", "session_name", "show_turn"]


@handle_errors
@options.takes("timeout", *options.SERVICE, *options.AGENT)
def ask(
    where: Where,
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="The question; - reads it from stdin.")],
    index: options.Indexes = None,
    session: options.SessionId = None,
    continue_: options.Continue = False,
    as_json: options.AsJson = False,
    json_events: Annotated[
        bool, typer.Option("--json-events", help="Print each event of the turn as a line of JSON when it comes.")
    ] = False,
    quiet: options.Quiet = False,
    plain: options.Plain = False,
    require_all: Annotated[
        bool, typer.Option("--require-all", help="Fail if an index cannot be queried, instead of leaving it out.")
    ] = False,
) -> None:
    """Ask one question.

    The answer streams to stdout, followed by its sources; everything about it goes to stderr.
    """
    session = session_name(session, newest=continue_)
    if as_json and json_events:
        raise ConfigurationError("--json and --json-events cannot be combined")
    terminal = Terminal(quiet=quiet or as_json or json_events, silent=quiet, plain=plain)
    where = replace(where, indexes=index or (), session_id=session).configured()
    where.check(require_all=require_all)
    question = check_question(sys.stdin.read() if question == "-" else question, where.prompt_limit)
    with open_service(where, terminal) as service:
        stream = service.session(session).stream(question, require_all_indexes=require_all)
        with answerable(service, stream, terminal):
            if as_json:
                _show_json(service, stream, terminal)
            elif json_events:
                with service.turn(stream):
                    for event in stream:
                        terminal.json(dump(dump_event(event), indent=None))
            else:
                show_turn(service, stream, terminal)


def session_name(session: str | None, *, newest: bool) -> str | None:
    """Return the name of the session to continue. Raises `ConfigurationError` for both `--session` and `--continue`."""
    if session is not None and newest:
        raise ConfigurationError("--session and --continue cannot be combined")
    return LAST if newest else session


def check_question(question: str, limit: int | None) -> str:
    """Return the question, stripped. Raises `ConfigurationError` if it is empty or too long."""
    question = question.strip()
    if not question:
        raise ConfigurationError("the question is empty")
    if limit is not None and len(question) > limit:
        raise ConfigurationError(
            f"the question is {len(question):,} characters long; the Chat API takes {limit:,} at most"
        )
    return question


def show_turn(service: Service, stream: TurnStream, terminal: Terminal) -> Turn:
    """Show a turn as it happens, then its sources and cost, even if it ends early. Raises what the stream raises."""
    printer = AnswerPrinter(terminal)
    waits = True
    try:
        with ExitStack() as sent:
            with terminal.working("Waiting for the service"):
                sent.enter_context(service.turn(stream))
            events = iter(stream)
            while True:
                # Not within a line, which the spinner would overwrite.
                with terminal.working("Waiting for the service") if waits else nullcontext():
                    event = next(events, None)
                if event is None:
                    break
                printer.show(event)
                waits = not isinstance(event, TextDelta | ThinkingDelta)
    finally:
        terminal.end_line()
        if stream.turn.events:
            show_outcome(stream.turn, session_id=stream.session_id, terminal=terminal)
    return stream.turn


@contextmanager
def answerable(service: Service, stream: TurnStream, terminal: Terminal) -> Generator[None]:
    """Explain what to do about a failed turn: answer an agent that waits for permission, or name other indexes."""
    try:
        yield
    except UnprocessableEntityError:
        reason: str | None = None
        with suppress(ChatSessionsError):
            reason = service.other_indexes(stream.session_id)
        if reason is not None:
            raise ConfigurationError(reason) from None
        raise
    except (TurnFailed, ConflictError):
        if stream.turn.skipped_index_ids and (found := service.offered()):
            terminal.warn(f"the service has these indexes: {', '.join(one_line(index_id, 120) for index_id in found)}")
        if service.openhands is not None and stream.session_id is not None:
            with suppress(ChatSessionsError):
                if waiting_runs(service.openhands.retrieve(stream.session_id)):
                    command = f"chat-sessions sessions confirm {stream.session_id}{service.options}"
                    terminal.warn(f"the agent waits for permission; answer it with: {command}")
        raise


def _show_json(service: Service, stream: TurnStream, terminal: Terminal) -> None:
    """Print the turn as one JSON object when it ends; `error` says why it failed."""
    error: str | None = None
    try:
        with service.turn(stream):
            stream.result()
    except BaseException as failure:
        error = str(failure) or "interrupted"
        raise
    finally:
        report = turn_report(stream.turn, session_id=stream.session_id, service=service.name)
        terminal.json(dump(report | {"error": error, "warnings": service.warnings}))
