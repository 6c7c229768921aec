"""The commands and their options."""

from __future__ import annotations

import functools
import logging
import os
import sys
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Annotated, NoReturn, ParamSpec

import typer

from chat_sessions.cli import asking, keeping
from chat_sessions.cli.exits import HELP, ExitCode, exit_code
from chat_sessions.cli.service import Service, Where, open_service
from chat_sessions.cli.terminal import Terminal
from chat_sessions.core.errors import ChatSessionsError, ConfigurationError

__all__ = ["app", "run"]

_Parameters = ParamSpec("_Parameters")

app = typer.Typer(
    name="chat-sessions",
    help="Chat with your documents in sessions of the LlamaCloud Chat API, or of the same API on this machine.\n\n"
    "With LLAMA_CLOUD_API_KEY set, or --api-key, the questions go to LlamaCloud; without, to a local server over your "
    "own files, which needs no key and no network.",
    epilog="\b\n" + HELP,
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
sessions = typer.Typer(help="List, show, title and delete sessions.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(sessions, name="sessions")

ApiKey = Annotated[
    str | None,
    typer.Option(
        metavar="KEY",
        help="The API key. Other users may see it among the processes: prefer the variable LLAMA_CLOUD_API_KEY.",
    ),
]
BaseUrl = Annotated[
    str | None,
    typer.Option(metavar="URL", help="The service's address; default LLAMA_CLOUD_BASE_URL, else LlamaCloud."),
]
RegionOption = Annotated[str | None, typer.Option(metavar="us|eu", help="The region of LlamaCloud.")]
Local = Annotated[
    bool | None,
    typer.Option("--local/--cloud", help="The server on this machine, or the hosted service; default by the key."),
]
Indexes = Annotated[
    list[str] | None,
    typer.Option(
        "--index",
        "-i",
        metavar="ID|FOLDER",
        help="What to ask: an index id, or a folder or file for the local server. May be given up to ten times.",
    ),
]
SessionId = Annotated[
    str | None, typer.Option("--session", "-s", metavar="ID", help="The session to go on with; default a new one.")
]
SessionArgument = Annotated[str, typer.Argument(metavar="SESSION", help="The session's id.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print the answer and its sources, not how they came about.")
]
Timeout = Annotated[
    float,
    typer.Option(
        metavar="SECONDS",
        min=0.1,
        help="How long to wait for an event, and to look up a turn whose stream broke.",
    ),
]
RequireAll = Annotated[
    bool, typer.Option("--require-all", help="Fail if one of the indexes cannot be queried, instead of leaving it out.")
]


def _ending(command: Callable[_Parameters, ExitCode | None]) -> Callable[_Parameters, None]:
    """The command, ended with its exit code and without a traceback."""

    @functools.wraps(command)
    def ended(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> None:
        try:
            code = command(*args, **kwargs) or ExitCode.OK
            sys.stdout.flush()
        except typer.Exit:
            raise
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 (whatever happens, a person reads it)
            code = _tell(error)
        raise typer.Exit(code)

    return ended


def _tell(error: BaseException) -> ExitCode:
    """Say on stderr what ended the command; gives its code."""
    code = exit_code(error)
    if isinstance(error, BrokenPipeError):
        # Python flushes stdout once more when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return code
    terminal = Terminal()
    if isinstance(error, KeyboardInterrupt):
        terminal.note("Interrupted", "yellow")
    elif isinstance(error, ChatSessionsError):
        terminal.error(str(error))
    elif isinstance(error, OSError):
        terminal.error(f"{error.strerror or error}" + (f": {error.filename}" if error.filename else ""))
        code = ExitCode.USAGE
    elif os.environ.get("CHAT_SESSIONS_DEBUG"):
        raise error
    else:
        terminal.error(
            f"{type(error).__name__}: {error}. This is a fault of chat-sessions; CHAT_SESSIONS_DEBUG=1 shows where"
        )
    return code


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"chat-sessions {version('chat-sessions')}")
        raise typer.Exit


@app.callback()
def options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options of the program itself."""


@app.command()
@_ending
def demo(
    folder: Annotated[
        str | None,
        typer.Argument(metavar="[FOLDER]", help="The folder to ask; default the example documents of a checkout."),
    ] = None,
    question: Annotated[
        list[str] | None,
        typer.Option(
            "--question", "-q", metavar="TEXT", help="What to ask; may be given twice: once for each framework."
        ),
    ] = None,
) -> None:
    """Ask one session through LlamaIndex and LangChain, without a key.

    A local server answers, over the example documents of a checkout or a folder of yours.
    """
    from chat_sessions.cli.demo import run_demo

    run_demo(folder, question or (), Terminal(merged=True))


@app.command()
@_ending
def ask(
    question: Annotated[
        str,
        typer.Argument(metavar="QUESTION", help="The question, of at most 1,000 characters; - reads it from stdin."),
    ],
    index: Indexes = None,
    session: SessionId = None,
    as_json: AsJson = False,
    json_events: Annotated[
        bool, typer.Option("--json-events", help="Print the events of the turn as lines of JSON, as they come.")
    ] = False,
    quiet: Quiet = False,
    require_all: RequireAll = False,
    timeout: Timeout = 60.0,
    api_key: ApiKey = None,
    base_url: BaseUrl = None,
    region: RegionOption = None,
    local: Local = None,
) -> None:
    """Ask one question.

    The answer streams to stdout, and its sources follow; how it came about goes to stderr.
    """
    if as_json and json_events:
        raise ConfigurationError("--json and --json-events exclude each other")
    terminal = Terminal(quiet=quiet or as_json or json_events)
    question = asking.check_question(sys.stdin.read() if question == "-" else question)
    where = Where(api_key, base_url, region, local, timeout)
    with open_service(where, terminal=terminal, indexes=index or (), session_id=session) as service:
        stream = service.session(session).stream(question, require_all_indexes=require_all)
        if json_events:
            asking.ask_for_events(service, stream, terminal)
        elif as_json:
            asking.ask_for_json(service, stream, terminal)
        else:
            asking.ask(service, stream, terminal)


@app.command()
@_ending
def chat(
    index: Indexes = None,
    session: SessionId = None,
    quiet: Quiet = False,
    timeout: Timeout = 60.0,
    api_key: ApiKey = None,
    base_url: BaseUrl = None,
    region: RegionOption = None,
    local: Local = None,
) -> ExitCode:
    """Ask question after question in one session.

    Ctrl-C ends the running turn, Ctrl-D or /quit the chat.
    """
    from chat_sessions.cli.chatting import chat as converse

    terminal = Terminal(quiet=quiet)
    where = Where(api_key, base_url, region, local, timeout)
    with open_service(where, terminal=terminal, indexes=index or (), session_id=session) as service:
        return converse(service, service.session(session), terminal)


@sessions.command("list")
@_ending
def list_(
    limit: Annotated[
        int, typer.Option("--limit", "-n", metavar="N", min=1, help="How many at most, the newest first.")
    ] = 20,
    as_json: AsJson = False,
    api_key: ApiKey = None,
    base_url: BaseUrl = None,
    region: RegionOption = None,
    local: Local = None,
) -> None:
    """List sessions, the newest first.

    In a pipe each is a line of id, time in UTC, title and indexes, with tabs between.
    """
    with _sessions_of(Where(api_key, base_url, region, local), quiet=as_json) as (service, terminal):
        keeping.list_sessions(service, terminal, limit=limit, as_json=as_json)


@sessions.command()
@_ending
def show(
    session: SessionArgument,
    as_json: AsJson = False,
    api_key: ApiKey = None,
    base_url: BaseUrl = None,
    region: RegionOption = None,
    local: Local = None,
) -> None:
    """Show a session: every question, tool run, answer and source."""
    with _sessions_of(Where(api_key, base_url, region, local), quiet=as_json) as (service, terminal):
        keeping.show_session(service, session, terminal, as_json=as_json)


@sessions.command()
@_ending
def title(
    session: SessionArgument,
    message: Annotated[
        str | None,
        typer.Option("--message", "-m", metavar="TEXT", help="What to make it from; default the first question."),
    ] = None,
    api_key: ApiKey = None,
    base_url: BaseUrl = None,
    region: RegionOption = None,
    local: Local = None,
) -> None:
    """Have a title made for a session, and print it."""
    with _sessions_of(Where(api_key, base_url, region, local)) as (service, terminal):
        keeping.title_session(service, session, terminal, message=message)


@sessions.command()
@_ending
def delete(
    session: Annotated[list[str], typer.Argument(metavar="SESSION", help="The ids of the sessions.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask whether it is meant.")] = False,
    api_key: ApiKey = None,
    base_url: BaseUrl = None,
    region: RegionOption = None,
    local: Local = None,
) -> None:
    """Delete sessions, which cannot be undone."""
    with _sessions_of(Where(api_key, base_url, region, local)) as (service, terminal):
        keeping.delete_sessions(service, session, terminal, sure=yes)


@app.command()
@_ending
def serve(
    folder: Annotated[
        list[str], typer.Argument(metavar="[ID=]FOLDER", help="Each becomes an index; its id is made from its name.")
    ],
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="The address to listen on; beyond 127.0.0.1 a key must be given.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="PORT", help="The port; 0 takes a free one.")] = 8765,
    api_key: Annotated[
        str | None,
        typer.Option(
            metavar="KEY",
            envvar="CHAT_SESSIONS_SERVE_KEY",
            show_envvar=True,
            help="The key that clients must send; default a new one, which is printed.",
        ),
    ] = None,
    store: Annotated[
        str | None, typer.Option(metavar="FILE", help="Where sessions are kept; default a file of this user.")
    ] = None,
) -> None:
    """Serve folders as the Chat API on this machine.

    Any client of the API can use it. What a client needs is printed as an environment file. Ctrl-C ends it.
    """
    from chat_sessions.cli.serving import serve_folders

    serve_folders(folder, Terminal(), host=host, port=port, api_key=api_key, store=store)


@app.command()
@_ending
def doctor(
    index: Indexes = None,
    as_json: AsJson = False,
    api_key: ApiKey = None,
    base_url: BaseUrl = None,
    region: RegionOption = None,
    local: Local = None,
) -> ExitCode:
    """Find out what keeps answers from streaming.

    Looks at the key, the address, the time to the first event, and whether events arrive one by one or are held
    back on the way; says what to do about what is not well.
    """
    from chat_sessions.cli.doctor import doctor as examine

    terminal = Terminal(quiet=True)
    return examine(Where(api_key, base_url, region, local), index or (), terminal, as_json=as_json)


@contextmanager
def _sessions_of(where: Where, *, quiet: bool = False) -> Generator[tuple[Service, Terminal]]:
    terminal = Terminal(quiet=quiet)
    with open_service(where, terminal=terminal, documents=False) as service:
        yield service, terminal


def run() -> NoReturn:
    """Run the program on `sys.argv` and exit."""
    # What libraries log is for programs: Python would print it where nobody listens.
    logging.getLogger().addHandler(logging.NullHandler())
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    try:
        app(prog_name="chat-sessions")
    except KeyboardInterrupt:
        sys.exit(ExitCode.INTERRUPTED)
    sys.exit(ExitCode.OK)
