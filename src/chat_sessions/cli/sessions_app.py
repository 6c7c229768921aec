"""The commands of `chat-sessions sessions`."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Annotated

import typer

from chat_sessions.cli.commands import sessions as keeping
from chat_sessions.cli.errors import handle_errors
from chat_sessions.cli.options import ApiKey, AsJson, BackendOption, BaseUrl, Llm, Local, RegionOption, SessionArgument
from chat_sessions.cli.show.terminal import Terminal
from chat_sessions.cli.where.openhands import AgentOptions
from chat_sessions.cli.where.service import Service, Where, open_service
from chat_sessions.core.errors import ConfigurationError

__all__ = ["app"]

app = typer.Typer(help="List, show, title, interrupt and delete sessions.", no_args_is_help=True, rich_markup_mode=None)


@app.command("list")
@handle_errors
def list_(
    limit: Annotated[
        int, typer.Option("--limit", "-n", metavar="N", min=1, help="How many at most, the newest first.")
    ] = 20,
    as_json: AsJson = False,
    api_key: ApiKey = None,
    base_url: BaseUrl = None,
    region: RegionOption = None,
    local: Local = None,
    backend: BackendOption = None,
) -> None:
    """List sessions, the newest first.

    In a pipe each is a line of id, time in UTC, title and indexes, with tabs between.
    """
    with _sessions_of(Where(api_key, base_url, region, local, backend=backend), quiet=as_json) as (service, terminal):
        keeping.list_sessions(service, terminal, limit=limit, as_json=as_json)


@app.command()
@handle_errors
def show(
    session: SessionArgument,
    as_json: AsJson = False,
    api_key: ApiKey = None,
    base_url: BaseUrl = None,
    region: RegionOption = None,
    local: Local = None,
    backend: BackendOption = None,
) -> None:
    """Show a session: every question, tool run, answer and source."""
    with _sessions_of(Where(api_key, base_url, region, local, backend=backend), quiet=as_json) as (service, terminal):
        keeping.show_session(service, session, terminal, as_json=as_json)


@app.command()
@handle_errors
def title(
    session: SessionArgument,
    message: Annotated[
        str | None,
        typer.Option("--message", "-m", metavar="TEXT", help="What to make it from; default the first question."),
    ] = None,
    max_length: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, max=200, help="OpenHands: how many characters it may have; default 50."),
    ] = None,
    llm: Llm = None,
    api_key: ApiKey = None,
    base_url: BaseUrl = None,
    region: RegionOption = None,
    local: Local = None,
    backend: BackendOption = None,
) -> None:
    """Have a title made for a session, and print it."""
    where = Where(api_key, base_url, region, local, backend=backend, agent=AgentOptions(llm))
    if max_length is not None and not where.is_openhands:
        raise ConfigurationError("--max-length is for OpenHands: add --backend openhands")
    if message is not None and where.is_openhands:
        raise ConfigurationError("OpenHands makes titles from the conversation itself: leave --message out")
    with _sessions_of(where) as (service, terminal):
        keeping.title_session(service, session, terminal, message=message, max_length=max_length)


@app.command()
@handle_errors
def delete(
    session: Annotated[list[str], typer.Argument(metavar="SESSION", help="The ids of the sessions.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask whether it is meant.")] = False,
    api_key: ApiKey = None,
    base_url: BaseUrl = None,
    region: RegionOption = None,
    local: Local = None,
    backend: BackendOption = None,
) -> None:
    """Delete sessions, which cannot be undone."""
    with _sessions_of(Where(api_key, base_url, region, local, backend=backend)) as (service, terminal):
        keeping.delete_sessions(service, session, terminal, sure=yes)


@app.command()
@handle_errors
def interrupt(
    session: SessionArgument,
    api_key: ApiKey = None,
    base_url: BaseUrl = None,
    backend: BackendOption = None,
) -> None:
    """OpenHands: end the run of a session.

    Actions that wait to be allowed are refused.
    """
    with _sessions_of(Where(api_key, base_url, backend=backend)) as (service, terminal):
        keeping.interrupt_session(service, session, terminal)


@app.command()
@handle_errors
def confirm(
    session: SessionArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Allow them, without a question.")] = False,
    refuse: Annotated[
        str | None, typer.Option(metavar="REASON", help="Refuse them, without a question; the agent is told why.")
    ] = None,
    api_key: ApiKey = None,
    base_url: BaseUrl = None,
    backend: BackendOption = None,
) -> None:
    """OpenHands: allow or refuse the actions that a session's agent waits to take.

    Its run then goes on.
    """
    if yes and refuse is not None:
        raise ConfigurationError("--yes and --refuse exclude each other")
    with _sessions_of(Where(api_key, base_url, backend=backend)) as (service, terminal):
        keeping.confirm_actions(service, session, terminal, answer=True if yes else refuse)


@contextmanager
def _sessions_of(where: Where, *, quiet: bool = False) -> Generator[tuple[Service, Terminal]]:
    terminal = Terminal(quiet=quiet)
    with open_service(where, terminal=terminal, documents=False) as service:
        yield service, terminal
