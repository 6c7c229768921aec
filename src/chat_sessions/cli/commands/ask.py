"""Asks one question and shows the turn, or as much of it as came."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from chat_sessions.cli.show.answer import AnswerPrinter, show_outcome
from chat_sessions.cli.show.json import dump, event_line, turn_report
from chat_sessions.cli.show.terminal import Terminal
from chat_sessions.cli.where.openhands import tell_what_waits
from chat_sessions.cli.where.service import Service
from chat_sessions.core.errors import ConfigurationError, ConflictError, TurnFailed
from chat_sessions.core.turn import Turn
from chat_sessions.session import TurnStream

__all__ = ["ask", "ask_for_events", "ask_for_json", "check_question"]


def check_question(question: str, limit: int | None) -> str:
    """The question without white space around it. Raises `ConfigurationError` for one that cannot be asked."""
    question = question.strip()
    if not question:
        raise ConfigurationError("the question is empty")
    if limit is not None and len(question) > limit:
        raise ConfigurationError(
            f"the question is {len(question):,} characters long; the Chat API takes {limit:,} at most"
        )
    return question


def ask(service: Service, stream: TurnStream, terminal: Terminal) -> Turn:
    """The turn, shown as it happens, with its sources and its cost at the end.

    Raises what the stream raises, and `KeyboardInterrupt`, when the connection is closed and what came is shown.
    """
    printer = AnswerPrinter(terminal)
    with _answerable(service, stream, terminal):
        try:
            with _asking(service, stream):
                for event in stream:
                    printer.show(event)
        finally:
            terminal.end_line()
            if stream.turn.events:
                show_outcome(stream.turn, session_id=stream.session_id, terminal=terminal)
    return stream.turn


def ask_for_json(service: Service, stream: TurnStream, terminal: Terminal) -> Turn:
    """The turn as one JSON object on stdout, at its end. Raises as `ask` does; `error` then says why."""

    def report(error: str | None) -> None:
        report = turn_report(stream.turn, session_id=stream.session_id, service=service.name)
        terminal.json(dump(report | {"error": error}))

    try:
        with _answerable(service, stream, terminal), _asking(service, stream):
            turn = stream.result()
    except BaseException as error:
        report(str(error) or "interrupted")
        raise
    report(None)
    return turn


def ask_for_events(service: Service, stream: TurnStream, terminal: Terminal) -> Turn:
    """The turn's events as lines of JSON on stdout, each as it comes. Raises as `ask` does."""
    with _answerable(service, stream, terminal), _asking(service, stream):
        for event in stream:
            terminal.json(event_line(event))
    return stream.turn


@contextmanager
def _asking(service: Service, stream: TurnStream) -> Generator[None]:
    """The turn is running. Ctrl-C ends it at the service too, where that does not follow from leaving it."""
    is_sent = False
    try:
        with service.turn(), stream:
            is_sent = True
            yield
    except KeyboardInterrupt:
        # A question that waits for an earlier run to end is not to end that run.
        if is_sent and service.end_run is not None and stream.session_id is not None:
            service.end_run(stream.session_id)
        raise


@contextmanager
def _answerable(service: Service, stream: TurnStream, terminal: Terminal) -> Generator[None]:
    """Says how to answer an agent that waits for leave to act, where that is why the turn did not go on."""
    try:
        yield
    except (TurnFailed, ConflictError):
        if service.openhands is not None and stream.session_id is not None:
            tell_what_waits(service.openhands, stream.session_id, terminal, options=service.options)
        raise
