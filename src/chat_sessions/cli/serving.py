"""Serves folders as the Chat API until Ctrl-C."""

from __future__ import annotations

import logging
import re
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from chat_sessions.cli.exits import UnknownName
from chat_sessions.cli.folders import data_folder, index_id_of
from chat_sessions.cli.service import open_documents
from chat_sessions.cli.store_lock import StoreLock
from chat_sessions.cli.terminal import Terminal
from chat_sessions.core.errors import ConfigurationError

__all__ = ["serve_folders"]

_INDEX_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,99}", re.ASCII)


def serve_folders(
    folders: Sequence[str],
    terminal: Terminal,
    *,
    host: str,
    port: int,
    api_key: str | None,
    store: str | None,
    workers: int = 1,
    drain: float = 10.0,
) -> None:
    """Serve each folder as an index, under an id made of its name or given as `ID=FOLDER`.

    Prints on stdout what a client needs, in the form of an environment file: the address, the key if one was made
    here, and the index ids as comments. What goes wrong later is told on stderr, a line each.
    Raises `UnknownName` for a folder that does not exist, and what `serve` raises.
    """
    from chat_sessions.server import serve

    paths = _index_paths(folders)
    is_database = store is not None and re.match(r"postgres(ql)?(\+\w+)?://", store) is not None
    file = None if is_database else _store_file(store)
    url = store if file is None else f"sqlite:///{file}"
    if workers > 1 and file is not None:
        raise ConfigurationError(
            f"--workers {workers}: several processes need a store on PostgreSQL, such as "
            "--store postgresql://user@host/database"
        )
    opened = open_documents(paths, terminal)
    with ExitStack() as running, ExitStack() as opening:
        lock = _lock_of(file, terminal)
        if lock is not None:
            opening.enter_context(lock.opening())
        running.enter_context(_telling(terminal))

        def listening(url: str, key: str) -> None:
            opening.close()
            if lock is not None:
                running.enter_context(lock.running())
            terminal.line(f"LLAMA_CLOUD_BASE_URL={url}")
            if api_key is None:
                terminal.line(f"LLAMA_CLOUD_API_KEY={key}")
            for index_id, index in opened.items():
                count = len(index.documents)
                terminal.line(f"# index {index_id}: {count} document{'' if count == 1 else 's'} in {paths[index_id]}")
            by = f" by {workers} processes" if workers > 1 else ""
            terminal.note(f"Sessions are kept in {file or 'PostgreSQL'}{by}. Ctrl-C ends the server.")

        serve(
            indexes=opened,
            store=url,
            api_key=api_key,
            host=host,
            port=port,
            workers=workers,
            drain=drain,
            on_listening=listening,
        )
        terminal.note("Stopped")


def _lock_of(file: Path | None, terminal: Terminal) -> StoreLock | None:
    """The lock of a file; PostgreSQL needs none."""
    if file is None:
        return None
    return StoreLock(
        file,
        on_wait=lambda: terminal.note(f"Waiting for {file}, which is in use"),
        remedy="name another file with --store",
        patience=2.0,
    )


class _Warnings(logging.Handler):
    """Tells the person at the terminal what the server logs, without tracebacks."""

    def __init__(self, terminal: Terminal) -> None:
        super().__init__(logging.WARNING)
        self._terminal = terminal

    def emit(self, record: logging.LogRecord) -> None:
        """Prints a line."""
        error = record.exc_info[1] if record.exc_info else None
        told = f": {type(error).__name__}: {error}" if error else ""
        self._terminal.warn(" ".join(f"{record.getMessage()}{told}".split()))


@contextmanager
def _telling(terminal: Terminal) -> Generator[None]:
    handler = _Warnings(terminal)
    logger = logging.getLogger("chat_sessions.server")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def _index_paths(folders: Sequence[str]) -> dict[str, Path]:
    """The folders by index id. Raises `UnknownName` and `ConfigurationError`."""
    paths: dict[str, Path] = {}
    for given in folders:
        index_id, equals, name = given.partition("=")
        # A folder's own name may hold an equals sign.
        path = Path(name) if equals and not Path(given).exists() else Path(given)
        if not path.exists():
            raise UnknownName(f"there is no folder or file {str(path)!r}")
        index_id = index_id if path != Path(given) else index_id_of(path)
        if not _INDEX_ID.fullmatch(index_id):
            raise ConfigurationError(f"{index_id!r} is no index id: use letters, digits, '-', '_' and '.'")
        if paths.setdefault(index_id, path.resolve()) != path.resolve():
            raise ConfigurationError(f"two folders have the index id {index_id!r}")
    return paths


def _store_file(given: str | None) -> Path:
    """The file of the sessions, as a whole path. Raises `ConfigurationError` for one that a URL cannot carry."""
    from chat_sessions.server.store.database import shown

    path = Path((given or str(data_folder() / "server.db")).removeprefix("sqlite:///")).absolute()
    if "://" in str(given).removeprefix("sqlite:///") or "?" in str(path):
        raise ConfigurationError(
            f"--store {shown(str(given))}: name a file, such as --store chat.db, or postgresql://user@host/database"
        )
    if not path.parent.is_dir():
        raise ConfigurationError(f"--store {given}: there is no folder {path.parent}")
    return path
