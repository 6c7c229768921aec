"""The commands and their options."""

from __future__ import annotations

import logging
import sys
import warnings
from importlib.metadata import version
from typing import Annotated, NoReturn

import typer

from chat_sessions.cli import sessions_app
from chat_sessions.cli.commands import ask as asking
from chat_sessions.cli.errors import HELP, ExitCode, handle_errors
from chat_sessions.cli.options import (
    Agent,
    ApiKey,
    AsJson,
    BackendOption,
    BaseUrl,
    Confirm,
    Conversation,
    Indexes,
    Llm,
    Local,
    Quiet,
    RegionOption,
    RequireAll,
    SessionId,
    Timeout,
    Tool,
    Workspace,
)
from chat_sessions.cli.show.terminal import Terminal
from chat_sessions.cli.where.openhands import AgentOptions
from chat_sessions.cli.where.service import Where, open_service
from chat_sessions.core.errors import ConfigurationError

__all__ = ["app", "run"]

app = typer.Typer(
    name="chat-sessions",
    help="Chat with your documents in sessions of the LlamaCloud Chat API, or of the same API on this machine.\n\n"
    "With LLAMA_CLOUD_API_KEY set, or --api-key, the questions go to LlamaCloud; without, to a local server over your "
    "own files, which needs no key and no network. With --backend openhands the sessions are the conversations of an "
    "OpenHands Agent Server.",
    epilog="\b\n" + HELP,
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(sessions_app.app, name="sessions")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"chat-sessions {version('chat-sessions')}")
        raise typer.Exit


@app.callback()
def program(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options of the program itself."""


@app.command()
@handle_errors
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
    from chat_sessions.cli.commands.demo import run_demo

    run_demo(folder, question or (), Terminal(merged=True))


@app.command()
@handle_errors
def ask(
    question: Annotated[
        str,
        typer.Argument(metavar="QUESTION", help="The question; - reads it from stdin."),
    ],
    index: Indexes = None,
    session: SessionId = None,
    as_json: AsJson = False,
    json_events: Annotated[
        bool, typer.Option("--json-events", help="Print the events of the turn as lines of JSON, as they come.")
    ] = False,
    quiet: Quiet = False,
    require_all: RequireAll = False,
    timeout: Timeout = None,
    api_key: ApiKey = None,
    base_url: BaseUrl = None,
    region: RegionOption = None,
    local: Local = None,
    backend: BackendOption = None,
    llm: Llm = None,
    agent: Agent = None,
    tool: Tool = None,
    workspace: Workspace = None,
    conversation: Conversation = None,
    confirm: Confirm = False,
) -> None:
    """Ask one question.

    The answer streams to stdout, and its sources follow; how it came about goes to stderr.
    """
    if as_json and json_events:
        raise ConfigurationError("--json and --json-events exclude each other")
    terminal = Terminal(quiet=quiet or as_json or json_events)
    options = AgentOptions(llm, agent, tool or (), workspace, conversation, confirm)
    where = Where(api_key, base_url, region, local, timeout, backend, options)
    where.check(index or (), session, require_all=require_all)
    question = asking.check_question(sys.stdin.read() if question == "-" else question, where.prompt_limit)
    with open_service(where, terminal=terminal, indexes=index or (), session_id=session) as service:
        stream = service.session(session).stream(question, require_all_indexes=require_all)
        if json_events:
            asking.ask_for_events(service, stream, terminal)
        elif as_json:
            asking.ask_for_json(service, stream, terminal)
        else:
            asking.ask(service, stream, terminal)


@app.command()
@handle_errors
def chat(
    index: Indexes = None,
    session: SessionId = None,
    quiet: Quiet = False,
    timeout: Timeout = None,
    api_key: ApiKey = None,
    base_url: BaseUrl = None,
    region: RegionOption = None,
    local: Local = None,
    backend: BackendOption = None,
    llm: Llm = None,
    agent: Agent = None,
    tool: Tool = None,
    workspace: Workspace = None,
    conversation: Conversation = None,
    confirm: Confirm = False,
) -> ExitCode:
    """Ask question after question in one session.

    Ctrl-C ends the running turn, Ctrl-D or /quit the chat. Where an OpenHands agent waits for leave to act, you
    are asked.
    """
    from chat_sessions.cli.commands.chat import chat as converse

    terminal = Terminal(quiet=quiet)
    options = AgentOptions(llm, agent, tool or (), workspace, conversation, confirm)
    where = Where(api_key, base_url, region, local, timeout, backend, options)
    with open_service(where, terminal=terminal, indexes=index or (), session_id=session) as service:
        return converse(service, service.session(session), terminal)


@app.command()
@handle_errors
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
        str | None,
        typer.Option(
            metavar="FILE|URL",
            envvar="CHAT_SESSIONS_STORE",
            show_envvar=True,
            help="Where sessions are kept, a file or postgresql://user@host/database; default a file of this user.",
        ),
    ] = None,
    workers: Annotated[
        int, typer.Option(metavar="N", min=1, help="How many processes serve; more than one need PostgreSQL.")
    ] = 1,
    drain: Annotated[
        float,
        typer.Option(metavar="SECONDS", min=0.0, help="How long running turns may go on when the server is to end."),
    ] = 10.0,
) -> None:
    """Serve folders as the Chat API on this machine.

    Any client of the API can use it. What a client needs is printed as an environment file. Ctrl-C ends it.
    """
    from chat_sessions.cli.commands.serve import serve_folders

    serve_folders(
        folder,
        Terminal(),
        host=host,
        port=port,
        api_key=api_key,
        store=store,
        workers=workers,
        drain=drain,
    )


@app.command()
@handle_errors
def doctor(
    index: Indexes = None,
    as_json: AsJson = False,
    api_key: ApiKey = None,
    base_url: BaseUrl = None,
    region: RegionOption = None,
    local: Local = None,
    backend: BackendOption = None,
    llm: Llm = None,
    agent: Agent = None,
    tool: Tool = None,
    workspace: Workspace = None,
    conversation: Conversation = None,
) -> ExitCode:
    """Find out what keeps answers from streaming.

    Looks at the key, the address, the time to the first event, and whether events arrive one by one or are held
    back on the way; says what to do about what is not well.
    """
    from chat_sessions.cli.commands.doctor import doctor as examine

    terminal = Terminal(quiet=True)
    options = AgentOptions(llm, agent, tool or (), workspace, conversation)
    where = Where(api_key, base_url, region, local, backend=backend, agent=options)
    return examine(where, index or (), terminal, as_json=as_json)


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
