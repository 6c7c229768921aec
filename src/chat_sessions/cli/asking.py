"""Asks one question and shows the turn, or as much of it as came."""

from __future__ import annotations

from chat_sessions.cli.answers import AnswerPrinter, show_outcome
from chat_sessions.cli.reports import dump, event_line, turn_report
from chat_sessions.cli.service import Service
from chat_sessions.cli.terminal import Terminal
from chat_sessions.core.errors import ConfigurationError
from chat_sessions.core.turn import Turn
from chat_sessions.session import TurnStream

__all__ = ["ask", "ask_for_events", "ask_for_json", "check_question"]

_PROMPT_LIMIT = 1000


def check_question(question: str) -> str:
    """The question without white space around it. Raises `ConfigurationError` for one that cannot be asked."""
    question = question.strip()
    if not question:
        raise ConfigurationError("the question is empty")
    if len(question) > _PROMPT_LIMIT:
        raise ConfigurationError(
            f"the question is {len(question):,} characters long; the Chat API takes {_PROMPT_LIMIT:,} at most"
        )
    return question


def ask(service: Service, stream: TurnStream, terminal: Terminal) -> Turn:
    """The turn, shown as it happens, with its sources and its cost at the end.

    Raises what the stream raises, and `KeyboardInterrupt`, when the connection is closed and what came is shown.
    """
    printer = AnswerPrinter(terminal)
    try:
        with service.turn(), stream:
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
        with service.turn(), stream:
            turn = stream.result()
    except BaseException as error:
        report(str(error) or "interrupted")
        raise
    report(None)
    return turn


def ask_for_events(service: Service, stream: TurnStream, terminal: Terminal) -> Turn:
    """The turn's events as lines of JSON on stdout, each as it comes. Raises as `ask` does."""
    with service.turn(), stream:
        for event in stream:
            terminal.json(event_line(event))
    return stream.turn
