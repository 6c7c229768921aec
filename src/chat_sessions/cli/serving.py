"""Serves folders as the Chat API until Ctrl-C."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import ExitStack
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
    folders: Sequence[str], terminal: Terminal, *, host: str, port: int, api_key: str | None, store: str | None
) -> None:
    """Serve each folder as an index, under an id made of its name or given as `ID=FOLDER`.

    Prints on stdout what a client needs, in the form of an environment file: the address, the key if one was made
    here, and the index ids as comments.
    Raises `UnknownName` for a folder that does not exist, and what `serve` raises.
    """
    from chat_sessions.server import serve

    paths = _index_paths(folders)
    opened = open_documents(paths, terminal)
    file = _store_file(store)
    lock = StoreLock(
        file,
        on_wait=lambda: terminal.note(f"Waiting for {file}, which is in use"),
        remedy="name another file with --store",
        patience=2.0,
    )
    with ExitStack() as running, ExitStack() as opening:
        opening.enter_context(lock.opening())

        def listening(url: str, key: str) -> None:
            opening.close()
            running.enter_context(lock.running())
            terminal.line(f"LLAMA_CLOUD_BASE_URL={url}")
            if api_key is None:
                terminal.line(f"LLAMA_CLOUD_API_KEY={key}")
            for index_id, index in opened.items():
                count = len(index.documents)
                terminal.line(f"# index {index_id}: {count} document{'' if count == 1 else 's'} in {paths[index_id]}")
            terminal.note(f"Sessions are kept in {file}. Ctrl-C ends the server.")

        serve(indexes=opened, store=f"sqlite:///{file}", api_key=api_key, host=host, port=port, on_listening=listening)
        terminal.note("Stopped")


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
    path = Path((given or str(data_folder() / "server.db")).removeprefix("sqlite:///")).absolute()
    if "://" in str(given).removeprefix("sqlite:///") or "?" in str(path):
        raise ConfigurationError(f"--store {given}: name a file, such as --store chat.db")
    if not path.parent.is_dir():
        raise ConfigurationError(f"--store {given}: there is no folder {path.parent}")
    return path
