"""Looks at the sessions of a service, and tidies them: list, show, title, delete."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from chat_sessions.cli.errors import UnknownName
from chat_sessions.cli.show.answer import AnswerPrinter, show_outcome
from chat_sessions.cli.show.json import dump, summary_report, turn_report
from chat_sessions.cli.show.terminal import Terminal, clean, one_line
from chat_sessions.cli.where.folders import Folders, data_folder
from chat_sessions.cli.where.openhands import ask_for_leave, waiting_runs
from chat_sessions.cli.where.service import Service
from chat_sessions.core.errors import ConfigurationError, NotFoundError
from chat_sessions.core.models import SessionSummary
from chat_sessions.core.turn import Turn, TurnFold, replay

if TYPE_CHECKING:
    from chat_sessions.openhands import OpenHandsChat

__all__ = [
    "confirm_actions",
    "delete_sessions",
    "interrupt_session",
    "list_sessions",
    "show_session",
    "title_session",
]


def list_sessions(service: Service, terminal: Terminal, *, limit: int, as_json: bool) -> None:
    """The newest sessions, at most `limit`; in a pipe as lines of id, time (UTC), title and indexes."""
    found = list(itertools.islice(service.client.list(page_size=min(limit, 100)), limit))
    if as_json:
        terminal.json(dump([summary_report(summary) for summary in found]))
        return
    if not found:
        terminal.note("There are no sessions yet.")
        return
    index_name: Callable[[str], str] = Folders(data_folder()).name_of if service.is_local else str
    if not terminal.is_terminal:
        for summary in found:
            terminal.line("\t".join(_columns(summary, index_name)))
        return
    for summary in found:
        session_id, _, title, indexes = _columns(summary, index_name)
        terminal.line(f"{session_id}  {summary.last_updated_at.astimezone():%Y-%m-%d %H:%M}", "bold")
        terminal.line(f"  {title or '(no title)'}")
        about = indexes or str((summary.model_extra or {}).get("execution_status") or "")
        if about:
            terminal.line(f"  {one_line(about)}", "dim")


def show_session(service: Service, session_id: str, terminal: Terminal, *, as_json: bool) -> None:
    """A session with its turns, oldest first. Raises `UnknownName`."""
    with _looking_up(service, session_id):
        session = service.client.retrieve(session_id)
    turns = replay(session.events)
    if as_json:
        reports = [turn_report(turn, session_id=session_id, service=service.name) for turn in turns]
        terminal.json(dump({**_without_events(session), "turns": reports}))
        return
    terminal.line(one_line(session.generated_title or "(no title)"), "bold")
    terminal.line(f"{session_id}, last updated {session.last_updated_at.astimezone():%Y-%m-%d %H:%M}", "dim")
    for turn in turns:
        _show_turn(turn, terminal)
    if not turns:
        terminal.line("Nothing has been asked yet.")


_ORIGINS = {
    "generated": "made by the server from the conversation",
    "automatic": "the one that the server made by itself",
    "asked": "the agent was asked for it",
}


def title_session(
    service: Service, session_id: str, terminal: Terminal, *, message: str | None, max_length: int | None = None
) -> None:
    """Have a title made from `message`, or from the session's first question, and print it.

    An OpenHands server makes it from the conversation, of at most `max_length` characters. Raises `UnknownName`,
    and `ConfigurationError` for a session without a question.
    """
    if service.openhands is not None:
        with _looking_up(service, session_id):
            made = service.openhands.generate_title(session_id, max_length=max_length or 50)
        terminal.note(f"The title is {_ORIGINS[made.origin]}.")
        terminal.line(one_line(made.title) if made.title else "(no title)")
        return
    session = service.client.session(session_id)
    with _looking_up(service, session_id):
        if message is None and not session.turns():
            raise ConfigurationError(
                "nothing has been asked in this session yet; give --message TEXT to make a title from"
            )
        titled = session.set_title(message)
    if titled.title_origin == "automatic":
        terminal.warn("this service makes titles by itself alone; this is the one that the session has")
    terminal.line(one_line(titled.generated_title) if titled.generated_title else "(no title)")


def delete_sessions(service: Service, session_ids: Sequence[str], terminal: Terminal, *, sure: bool) -> None:
    """Delete sessions, after a question where nobody said `sure`. Raises `UnknownName` for the first unknown one.

    All are looked up before the first is deleted.
    """
    summaries: list[SessionSummary] = []
    for session_id in dict.fromkeys(session_ids):
        with _looking_up(service, session_id):
            summaries.append(service.client.get_summary(session_id))
    if not sure:
        if not terminal.is_interactive:
            raise ConfigurationError("deleting cannot be undone: say --yes where nobody can be asked")
        for summary in summaries:
            terminal.line(f"{summary.session_id}  {one_line(summary.generated_title or '(no title)')}")
        if not terminal.confirm(f"Delete {'this session' if len(summaries) == 1 else 'these sessions'}?"):
            terminal.note("Nothing was deleted.")
            return
    for summary in summaries:
        service.client.delete(summary.session_id)
        terminal.note(f"Deleted {summary.session_id}")


def interrupt_session(service: Service, session_id: str, terminal: Terminal) -> None:
    """End the run of an OpenHands session. Raises `UnknownName`."""
    client = _openhands(service)
    with _looking_up(service, session_id):
        how = client.interrupt(session_id)
    terminal.note("Interrupted" if how == "interrupted" else "Interrupted, when the model's last answer had come")


def confirm_actions(service: Service, session_id: str, terminal: Terminal, *, answer: bool | str | None) -> None:
    """Allow (True) or refuse (a reason) what an OpenHands session's agent waits to do; None asks who is there.

    Raises `UnknownName`, and `ConfigurationError` where nothing waits, or nobody can be asked.
    """
    client = _openhands(service)
    with _looking_up(service, session_id):
        waiting = waiting_runs(client, session_id)
    if not waiting:
        raise ConfigurationError(f"the agent of session {session_id} does not wait to be allowed anything")
    if answer is None:
        if not terminal.is_interactive:
            raise ConfigurationError("nobody can be asked here: say --yes, or --refuse REASON")
        answer = ask_for_leave([(run.name, run.arguments) for run in waiting], terminal)
    client.respond_to_confirmation(
        session_id, accept=answer is True, reason=answer if isinstance(answer, str) and answer else None
    )
    command = f"chat-sessions sessions show {session_id}{service.options}"
    terminal.note(f"{'Allowed' if answer is True else 'Refused'}. The agent goes on; `{command}` has what it says.")


def _openhands(service: Service) -> OpenHandsChat:
    if service.openhands is None:
        raise ConfigurationError("this is about OpenHands agents: add --backend openhands")
    return service.openhands


@contextmanager
def _looking_up(service: Service, session_id: str) -> Generator[None]:
    """Turns the service's 404 into an error that names the session: several may have been asked for."""
    try:
        yield
    except NotFoundError:
        place = "on this machine" if service.is_local else f"at {service.name}"
        raise UnknownName(
            f"there is no session {one_line(session_id, 80)!r} {place}; `chat-sessions sessions list"
            f"{service.options}` shows those that are"
        ) from None


def _columns(summary: SessionSummary, index_name: Callable[[str], str]) -> tuple[str, str, str, str]:
    indexes = ", ".join(one_line(index_name(index_id), 120) for index_id in summary.index_ids or ())
    updated = summary.last_updated_at.strftime("%Y-%m-%dT%H:%M:%SZ")
    return one_line(summary.session_id), updated, one_line(summary.generated_title or ""), indexes


def _without_events(session: SessionSummary) -> dict[str, object]:
    report = summary_report(session)
    report.pop("events", None)
    return report


def _show_turn(turn: Turn, terminal: Terminal) -> None:
    terminal.line()
    terminal.line(f"you> {clean(turn.prompt or '(not in the history)')}", "bold")
    printer = AnswerPrinter(terminal)
    fold = TurnFold(turn.prompt)
    for event in turn.events:
        for shown in fold.add(event):
            printer.show(shown)
    show_outcome(turn, session_id=None, terminal=terminal)
    if turn.error:
        terminal.line(f"This turn failed: {one_line(turn.error)}", "red")
    elif not turn.is_complete:
        terminal.line("This turn has no end yet.", "yellow")
