"""A server in this process, over the user's own folders; its sessions are kept in a file."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from chat_sessions.cli.errors import UnknownName
from chat_sessions.cli.show.terminal import Terminal
from chat_sessions.cli.show.text import one_line
from chat_sessions.cli.where.choice import Where
from chat_sessions.cli.where.config_file import config_path
from chat_sessions.cli.where.folders import Folders, data_folder, shortest
from chat_sessions.cli.where.lock import StoreLock
from chat_sessions.cli.where.service import Service, unknown_session
from chat_sessions.cli.where.session_names import full_id, read_store, stored_sessions
from chat_sessions.core.errors import ConfigurationError

if TYPE_CHECKING:
    from chat_sessions.server import Index

__all__ = ["open_documents", "open_local"]

# A server needs an index, even for commands that only look at sessions.
_SAMPLE = {"idx-sample": Path(__file__).with_name("sample.md")}
# From this many files on, progress is also printed without a terminal: a line for each tenth.
_MANY = 100


@contextmanager
def open_local(where: Where, terminal: Terminal, *, documents: bool) -> Generator[Service]:
    """Start the server; with `documents`, over the folders that were named and those of the session.

    Raises `ConfigurationError`, `UnknownName`, and what `open_documents` raises.
    """
    from chat_sessions.local import LocalServer
    from chat_sessions.server import Behaviour

    store = data_folder() / "sessions.db"
    options = " --local" if where.key_name or where.config.names_a_service else ""
    if documents:
        agent = where.agent.local_agent
        named, paths = _folders(where, store, options)
        name = one_line("Local server over " + ", ".join(shortest(path) for path in paths.values()), 4096)
        name += " (not LlamaCloud)" if where.key_name else ""
    else:
        agent, named, paths = None, (), _SAMPLE
        name = f"Local sessions in {shortest(store)}"
    terminal.note(name)
    opened = open_documents(paths, terminal if documents else Terminal(quiet=True, silent=True))
    lock = StoreLock(
        store,
        on_wait=lambda: terminal.note("Waiting for another chat-sessions to finish its turn"),
        remedy="name another folder for the sessions in CHAT_SESSIONS_DATA",
    )
    # A turn ended with Ctrl-C must not block the next one.
    behaviour = Behaviour(on_disconnect="cancel", concurrent_turns="queue")
    server = LocalServer(indexes=opened, agent=agent, store=f"sqlite:///{store}", behaviour=behaviour)
    with lock.opening():
        server.start()
    with server, server.client(timeouts=where.timeouts) as client:
        yield Service(
            client,
            name,
            options,
            is_local=True,
            index_ids=named or None,
            index_name=Folders(store.parent).shown,
            lock=lock.running,
            warnings=tuple(warning for index in opened.values() for warning in index.warnings),
        )


def open_documents(paths: Mapping[str, Path], terminal: Terminal) -> dict[str, Index]:
    """Read the documents, with a warning for each file that is left out. Raises what `open_index` raises."""
    from chat_sessions.server import open_index

    opened: dict[str, Index] = {}
    for index_id, path in paths.items():
        with terminal.working(f"Reading {shortest(path)}") as show:
            progress = _Progress(f"Reading {shortest(path)}", terminal, show)
            opened[index_id] = open_index(index_id, path, on_progress=progress)
        for warning in opened[index_id].warnings:
            terminal.warn_of_document(warning)
    return opened


@dataclass(frozen=True)
class _Progress:
    """Shows how many files have been read: on a terminal in place, elsewhere now and then as a line."""

    text: str
    terminal: Terminal
    show: Callable[[str], None]

    def __call__(self, done: int, total: int, _name: str) -> None:
        text = f"{self.text}: {done:,} of {total:,} files, {100 * done // total} %"
        self.show(text)
        if total >= _MANY and done % (total // 10) == 0 and not self.terminal.is_interactive:
            self.terminal.note(text)


def _folders(where: Where, store: Path, options: str) -> tuple[tuple[str, ...], dict[str, Path]]:
    """Find the index ids that were named, and the folders to serve: theirs and those of the session."""
    folders = Folders(store.parent)
    try:
        paths = folders.resolve(where.indexes)
    except UnknownName as error:
        if where.indexes and tuple(where.indexes) == where.config.index:
            raise UnknownName(f"{error} (index in {config_path()})") from None
        raise
    named = tuple(paths)
    if where.session_id is not None:
        ids = (record.session_id for record in stored_sessions(store))
        for index_id in _session_indexes(store, full_id(where.session_id, ids), options):
            paths.setdefault(index_id, folders.path_of(index_id))
    if not paths:
        raise ConfigurationError("nothing to ask: name a folder or a file with --index, such as --index docs/")
    folders.remember(paths)
    return named, paths


def _session_indexes(store: Path, session_id: str, options: str) -> list[str]:
    from chat_sessions.server.store.records import UnknownSession

    try:
        return read_store(store, lambda opened: opened.session(session_id)).index_ids or []
    except UnknownSession:
        raise unknown_session(session_id, "on this machine", options) from None
