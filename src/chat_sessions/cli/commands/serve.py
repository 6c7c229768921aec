"""`chat-sessions serve`: serve folders as the Chat API until Ctrl-C."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from chat_sessions.cli import options
from chat_sessions.cli.errors import handle_errors
from chat_sessions.cli.show.logged import logged
from chat_sessions.cli.show.terminal import Terminal
from chat_sessions.cli.show.text import one_line
from chat_sessions.cli.where.agent import AgentOptions
from chat_sessions.cli.where.folders import data_folder, existing, index_id_of, shortest
from chat_sessions.cli.where.local import open_documents
from chat_sessions.cli.where.lock import StoreLock
from chat_sessions.cli.where.named_agent import named_agent
from chat_sessions.cli.where.page import page_over
from chat_sessions.core.errors import ConfigurationError

if TYPE_CHECKING:
    from chat_sessions.web.hosting import Listener

__all__ = ["serve"]

_INDEX_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,99}", re.ASCII)
_POSTGRESQL = re.compile(r"postgres(ql)?(\+\w+)?://")


@handle_errors
def serve(
    folder: Annotated[
        list[str], typer.Argument(metavar="[ID=]FOLDER", help="Each becomes an index; its id is made from its name.")
    ],
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="The address to listen on; any other than 127.0.0.1 requires a key.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="PORT", min=0, max=65535, help="The port; 0 picks a free one.")] = 8765,
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
            help="Where to keep sessions: a file, or postgresql://user@host/database; default a file in the user's "
            "data folder.",
        ),
    ] = None,
    workers: Annotated[
        int, typer.Option(metavar="N", min=1, help="How many processes to run; more than one requires PostgreSQL.")
    ] = 1,
    drain: Annotated[
        float,
        typer.Option(metavar="SECONDS", min=0.0, help="How long running turns may continue when the server stops."),
    ] = 10.0,
    llm: options.LocalLlm = None,
    llm_base_url: options.LlmBaseUrl = None,
    llm_key: options.LlmKey = None,
    agent: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE:OBJECT",
            help="An agent of your own: an object with `run`, an agent or workflow of LlamaIndex, or a compiled graph "
            "of LangGraph. Modules in the current folder are found.",
        ),
    ] = None,
    page: Annotated[
        bool | None,
        typer.Option(
            "--page/--no-page",
            help="Whether to serve a page for the sessions, which only this machine can open; default yes if the key "
            "is a new one and the extra `web` is installed.",
        ),
    ] = None,
    page_port: Annotated[
        int, typer.Option(metavar="PORT", min=0, max=65535, help="The port of the page; 0 picks a free one.")
    ] = 0,
) -> None:
    """Serve folders as the Chat API on this machine.

    Any client of the API can use it. Prints what a client needs as an environment file, and the address of the page as
    a comment in it. Ctrl-C stops the server.
    """
    from chat_sessions import server
    from chat_sessions.server.hosting.listener import is_loopback

    terminal = Terminal()
    if api_key is None and not is_loopback(host):
        raise ConfigurationError(
            f"other machines can reach {host}: choose the key that they must send with --api-key or "
            "CHAT_SESSIONS_SERVE_KEY"
        )
    paths = _index_paths(folder)
    file = None if store is not None and _POSTGRESQL.match(store) else _store_file(store)
    if workers > 1 and file is not None:
        raise ConfigurationError(
            f"--workers {workers}: several processes need a store on PostgreSQL, such as "
            "--store postgresql://user@host/database"
        )
    if agent is not None and llm is not None:
        raise ConfigurationError("--agent and --llm cannot be combined: an agent of your own has its own model")
    model = AgentOptions(llm, llm_base_url=llm_base_url, llm_key=llm_key)
    answering = model.local_agent if agent is None else named_agent(agent)
    looking = _page_listener(page, page_port, workers, has_own_key=api_key is not None)
    opened = open_documents(paths, terminal)
    with ExitStack() as running, ExitStack() as opening:
        lock = None if file is None else _lock_of(file, terminal)
        if lock is not None:
            opening.enter_context(lock.opening())
        running.enter_context(logged("chat_sessions.server", terminal))
        if looking is not None:
            running.enter_context(looking.socket)

        def listening(url: str, key: str) -> None:
            opening.close()
            if lock is not None:
                running.enter_context(lock.running())
            terminal.line(f"LLAMA_CLOUD_BASE_URL={url}", wrap=False)
            if api_key is None:
                terminal.line(f"LLAMA_CLOUD_API_KEY={key}", wrap=False)
            for index_id, index in opened.items():
                count = f"{index.count} document{'' if index.count == 1 else 's'}"
                # A line break in the path would end the comment.
                terminal.line(f"# index {index_id}: {count} in {one_line(str(paths[index_id]), 4096)}", wrap=False)
            if looking is not None:
                names = {index_id: shortest(path) for index_id, path in paths.items()}
                running.enter_context(page_over(url, key, looking, names))
                terminal.line(f"# page {looking.address}", wrap=False)
            by = f" by {workers} processes" if workers > 1 else ""
            terminal.note(f"Sessions are kept in {file or 'PostgreSQL'}{by}. Ctrl-C stops the server.")

        server.serve(
            indexes=opened,
            agent=answering,
            store=store if file is None else f"sqlite:///{file}",
            api_key=api_key,
            host=host,
            port=port,
            workers=workers,
            drain=drain,
            on_listening=listening,
        )
        terminal.note("Stopped")


def _page_listener(wanted: bool | None, port: int, workers: int, *, has_own_key: bool) -> Listener | None:
    """Open the port of the page; return None if there is no page. Raises `ConfigurationError`.

    The page's token opens every session, like the key. So by default it is printed only if the key is printed too.
    """
    if wanted is False or (wanted is None and (has_own_key or workers > 1)):
        return None
    if workers > 1:
        # The parent forks to replace a worker, which is unsafe while the page runs in a thread of it.
        raise ConfigurationError(
            f"--page cannot be combined with --workers {workers}; open the page with: chat-sessions ui --base-url URL"
        )
    try:
        from chat_sessions.web.hosting import Listener
    except ConfigurationError:
        if wanted is None:
            return None
        raise
    return Listener(port, option="--page-port")


def _index_paths(folders: Sequence[str]) -> dict[str, Path]:
    """Find the folders by index id. Raises `UnknownName` and `ConfigurationError`."""
    paths: dict[str, Path] = {}
    for given in folders:
        index_id, equals, name = given.partition("=")
        # The name of a folder may itself contain an equals sign.
        has_id = bool(equals) and not Path(given).exists()
        path = existing(Path(name if has_id else given))
        index_id = index_id if has_id else index_id_of(path)
        if not _INDEX_ID.fullmatch(index_id):
            raise ConfigurationError(f"{index_id!r} is not an index id: use letters, digits, '-', '_' and '.'")
        if paths.setdefault(index_id, path) != path:
            raise ConfigurationError(f"two folders have the index id {index_id!r}")
    return paths


def _store_file(given: str | None) -> Path:
    """Return the whole path of the file for sessions. Raises `ConfigurationError` if a store cannot be there."""
    name = (given or str(data_folder() / "server.db")).removeprefix("sqlite:///")
    scheme, is_url, _ = name.partition("://")
    if is_url:
        # The rest may contain a password.
        raise ConfigurationError(
            f"--store {scheme}://...: name a file, such as --store chat.db, or postgresql://user@host/database"
        )
    path = Path(name).absolute()
    if "?" in str(path):
        raise ConfigurationError(f"--store {given}: name a file whose path has no '?'")
    if not path.parent.is_dir():
        raise ConfigurationError(f"--store {given}: there is no folder {path.parent}")
    return path


def _lock_of(file: Path, terminal: Terminal) -> StoreLock:
    return StoreLock(
        file,
        on_wait=lambda: terminal.note(f"Waiting for {file}, which is in use"),
        remedy="name another file with --store",
        patience=2.0,
    )
