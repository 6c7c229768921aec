"""What was read of files, kept by their content in SQLite: a file is read once, whoever asks."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
import sqlite3
import tempfile
import threading
import time
import weakref
import zlib
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from chat_sessions.core.errors import ConfigurationError
from chat_sessions.server.documents.files import DocumentFile, FileGone
from chat_sessions.server.documents.readers import Passage, Reading, Sheet

__all__ = ["MEMORY", "IndexStore", "Kept", "NotKept", "default_folder", "in_memory", "open_store"]

MEMORY = ":memory:"
"""In place of a folder: nothing is kept."""

_log = logging.getLogger(__name__)
# Increase this when the tables or a ranking's terms change; `_version` detects a change to `reading/` by itself.
_FORMAT = 5
_READ_BY = ("liteparse", "kreuzberg", "charset-normalizer", "markdown-it-py", "PyStemmer", "anyascii", "bm25s")
_TABLES = """
CREATE TABLE IF NOT EXISTS documents (
  id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, language TEXT NOT NULL, passages INTEGER NOT NULL,
  notes TEXT NOT NULL, failure TEXT, read_at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS passages (
  document INTEGER NOT NULL, chunk INTEGER NOT NULL, page INTEGER, section TEXT NOT NULL, text TEXT NOT NULL,
  terms BLOB NOT NULL, boxes TEXT NOT NULL, PRIMARY KEY (document, chunk)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sheets (
  document INTEGER NOT NULL, number INTEGER NOT NULL, width REAL NOT NULL, height REAL NOT NULL, text TEXT NOT NULL,
  PRIMARY KEY (document, number)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS files (
  root TEXT NOT NULL, name TEXT NOT NULL, size INTEGER NOT NULL, modified_ns INTEGER NOT NULL,
  changed_ns INTEGER NOT NULL, document INTEGER NOT NULL, PRIMARY KEY (root, name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS roots (
  root TEXT PRIMARY KEY, ranking TEXT NOT NULL DEFAULT '', used_at REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS files_document ON files (document);
"""
_MANY = 500
_UNUSED_SECONDS = 90 * 86400.0


class NotKept(ConfigurationError):
    """The folder for indexes cannot be used: it is not writable, its disk is full, or a file in it is damaged."""

    def __init__(self, folder: Path | None, reason: Exception) -> None:
        super().__init__(f"indexes cannot be kept in {folder or 'memory'}: {reason}; name another folder")
        self.folder = folder
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Kept:
    """A document as it is kept. `passages` is their number; `failure` is why there are none."""

    id: int
    language: str
    passages: int
    notes: tuple[str, ...]
    failure: str | None


def default_folder() -> Path:
    """Return where indexes are kept: `CHAT_SESSIONS_CACHE`, else the user's cache folder."""
    given = os.environ.get("CHAT_SESSIONS_CACHE")
    return Path(given) if given else user_cache_path("chat-sessions", appauthor=False)


def open_store(folder: str | os.PathLike[str] | None) -> IndexStore:
    """Open the store in a folder, which is made if it is missing; None means the default one.

    Raises `ConfigurationError` for a folder that was named and cannot be used. A default one that cannot be used is
    logged, and nothing is kept.
    """
    if folder is not None and os.fspath(folder) == MEMORY:
        return IndexStore(None)
    path = default_folder() if folder is None else Path(folder)
    try:
        _make(path, is_default=folder is None)
        return IndexStore(path, is_default=folder is None)
    except NotKept as error:
        if folder is not None:
            raise
        return in_memory(error)


def _make(folder: Path, *, is_default: bool) -> None:
    try:
        if not folder.is_absolute() and is_default:
            raise OSError("there is no home folder")
        # It quotes the user's documents: only the user may read it.
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise NotKept(folder, error) from error


def in_memory(error: NotKept) -> IndexStore:
    """Return a store that keeps nothing, in place of the default one, and log why."""
    _log.warning(
        "indexes cannot be kept in %s (%s): documents are read again at each start", error.folder, error.reason
    )
    return IndexStore(None)


class IndexStore:
    """Readings by the content of their files, and where files were last seen. Safe to use from several threads.

    Several processes may use one folder; a fork may continue with its parent's. `is_default` if the folder was not
    named: what cannot be kept in it is read again. Each method raises `NotKept` if the folder cannot be used.
    """

    def __init__(self, folder: Path | None, *, is_default: bool = False) -> None:
        self.folder = folder
        self.is_default = is_default
        self._version = _version()
        self._lock = threading.RLock()
        self._opened: sqlite3.Connection | None = None
        self._process = os.getpid()
        with self._connection() as opened:
            self._prepare(opened)

    def __repr__(self) -> str:
        return f"IndexStore({str(self.folder or MEMORY)!r})"

    def key(self, data: bytes, name: str) -> str:
        """Return the key of a file's content. The ending of its name tells texts apart that look alike."""
        ending = Path(name).suffix.lower().encode("utf-8", "replace")
        return hashlib.blake2b(
            data, person=hashlib.blake2b(ending, digest_size=16).digest(), digest_size=20
        ).hexdigest()

    def find(self, key: str) -> Kept | None:
        """Return the document with this key, or None if it has not been read."""
        with self._connection() as opened:
            row = opened.execute(f"SELECT {_KEPT} FROM documents WHERE key = ?", (key,)).fetchone()  # noqa: S608
        return _kept(row) if row else None

    def keep(self, key: str, reading: Reading) -> Kept:
        """Keep what was read."""
        with self._connection() as opened, opened:
            row = opened.execute(
                "INSERT INTO documents (key, language, passages, notes, failure, read_at) VALUES (?, ?, ?, ?, ?, ?)"
                " ON CONFLICT (key) DO NOTHING RETURNING id",
                (
                    key,
                    reading.language,
                    len(reading.passages),
                    json.dumps(reading.notes),
                    reading.failure,
                    time.time(),
                ),
            ).fetchone()
            if row is not None:
                opened.executemany(
                    "INSERT INTO passages VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (
                        (
                            row[0],
                            chunk,
                            one.page,
                            _storable(one.section),
                            _storable(one.text),
                            _packed(one.terms),
                            json.dumps(one.boxes),
                        )
                        for chunk, one in enumerate(reading.passages)
                    ),
                )
                opened.executemany(
                    "INSERT INTO sheets VALUES (?, ?, ?, ?, ?)",
                    (
                        (row[0], sheet.number, sheet.width, sheet.height, _storable(sheet.text))
                        for sheet in reading.sheets
                    ),
                )
        kept = self.find(key)
        if kept is None:
            raise FileGone("another process has emptied the store")
        return kept

    def seen(self, root: str) -> dict[str, tuple[tuple[int, int, int], Kept]]:
        """Return the files of a folder as they were last seen, by name: `DocumentFile.state` and document."""
        with self._connection() as opened:
            rows = opened.execute(
                f"SELECT name, size, modified_ns, changed_ns, {_KEPT}"  # noqa: S608
                " FROM files JOIN documents ON documents.id = document WHERE root = ?",
                (root,),
            ).fetchall()
        return {name: ((size, modified, changed), _kept(row)) for name, size, modified, changed, *row in rows}

    def see(self, root: str, files: Iterable[tuple[DocumentFile, Kept]], gone: Iterable[str] = ()) -> None:
        """Note the documents of files, as they are now, and forget the files that have gone."""
        with self._connection() as opened, opened:
            opened.executemany("DELETE FROM files WHERE root = ? AND name = ?", ((root, name) for name in gone))
            opened.executemany(
                "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?)",
                ((root, file.name, *file.state, kept.id) for file, kept in files),
            )
            opened.execute(
                "INSERT INTO roots (root, used_at) VALUES (?, ?)"
                " ON CONFLICT (root) DO UPDATE SET used_at = excluded.used_at",
                (root, time.time()),
            )

    def passage(self, document: int, chunk: int) -> Passage:
        """Return a passage, without its terms."""
        with self._connection() as opened:
            row = opened.execute(
                "SELECT page, section, text, boxes FROM passages WHERE document = ? AND chunk = ?", (document, chunk)
            ).fetchone()
        page, section, text, boxes = row
        return Passage(page, section, text, "", json.loads(boxes) if page is not None else [])

    def terms(self, documents: Sequence[int]) -> Mapping[int, list[str]]:
        """Return the terms of all passages of documents, in order, each with spaces between them."""
        found: dict[int, list[str]] = {document: [] for document in documents}
        with self._connection() as opened:
            for at in range(0, len(documents), _MANY):
                some = documents[at : at + _MANY]
                marks = ",".join("?" * len(some))
                rows = opened.execute(
                    f"SELECT document, terms FROM passages WHERE document IN ({marks}) ORDER BY document, chunk",  # noqa: S608
                    tuple(some),
                )
                for document, packed in rows:
                    found[document].append(zlib.decompress(packed).decode())
        return found

    def sheet(self, document: int, number: int) -> Sheet | None:
        """Return a page of a document, or None if it has no page with this number."""
        with self._connection() as opened:
            row = opened.execute(
                "SELECT number, text, width, height FROM sheets WHERE document = ? AND number = ?", (document, number)
            ).fetchone()
        return Sheet(*row) if row else None

    def drawable(self, document: int) -> list[int]:
        """Return the numbers of the pages of a document that can be drawn."""
        with self._connection() as opened:
            rows = opened.execute(
                "SELECT number FROM sheets WHERE document = ? AND width > 0 ORDER BY number", (document,)
            ).fetchall()
        return [number for (number,) in rows]

    def ranking(self, root: str) -> Path | None:
        """Return the folder with the ranking that was last kept for a folder, if it is still there."""
        with self._connection() as opened:
            row = opened.execute("SELECT ranking FROM roots WHERE root = ?", (root,)).fetchone()
        path = self.folder / row[0] if row and row[0] and self.folder else None
        return path if path and path.is_dir() else None

    def keep_ranking(self, root: str, save: Callable[[Path], None]) -> None:
        """Let `save` write a ranking into a new folder, and remove the one before."""
        if self.folder is None:
            return
        before = self.ranking(root)
        place = None
        try:
            place = Path(tempfile.mkdtemp(prefix="ranking-", dir=self.folder))
            save(place)
        except OSError as error:
            if place is not None:
                shutil.rmtree(place, ignore_errors=True)
            raise NotKept(self.folder, error) from error
        with self._connection() as opened, opened:
            opened.execute("UPDATE roots SET ranking = ? WHERE root = ?", (place.name, root))
        if before is not None:
            shutil.rmtree(before, ignore_errors=True)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._opened is not None:
                self._finalizer.detach()
                _close(self._opened, self._process)
            self._opened = None

    def __del__(self) -> None:
        # When the interpreter ends, finalizers are no longer called.
        with contextlib.suppress(Exception):
            self.close()

    @contextlib.contextmanager
    def _connection(self) -> Generator[sqlite3.Connection]:
        with self._lock:
            if self._opened is not None and self._process != os.getpid() and self.folder is not None:
                self.close()
            if self._opened is None:
                self._opened = self._connected()
            try:
                yield self._opened
            except sqlite3.Error as error:
                raise NotKept(self.folder, error) from error

    def _connected(self) -> sqlite3.Connection:
        place = MEMORY if self.folder is None else self.folder / f"index-{self._version.hex()[:12]}.db"
        opened = None
        try:
            opened = sqlite3.connect(place, timeout=30.0, check_same_thread=False)
            opened.execute("PRAGMA journal_mode = WAL")
            # What was read can be read again: no reason to wait for the disk.
            opened.execute("PRAGMA synchronous = OFF")
        except sqlite3.Error as error:
            if opened is not None:
                opened.close()
            raise NotKept(self.folder, error) from error
        self._process = os.getpid()
        # When both are garbage, Python may collect the connection first and warn that it was not closed.
        self._finalizer = weakref.finalize(self, _close, opened, self._process)
        self._finalizer.atexit = False
        return opened

    def _prepare(self, opened: sqlite3.Connection) -> None:
        for statement in filter(str.strip, _TABLES.split(";")):
            opened.execute(statement)
        since = time.time() - _UNUSED_SECONDS
        with opened:
            unused = opened.execute("SELECT root, ranking FROM roots WHERE used_at < ?", (since,)).fetchall()
            for root, ranking in unused:
                opened.execute("DELETE FROM files WHERE root = ?", (root,))
                opened.execute("DELETE FROM roots WHERE root = ?", (root,))
                if ranking and self.folder:
                    shutil.rmtree(self.folder / ranking, ignore_errors=True)
            old = opened.execute(
                "SELECT id FROM documents WHERE read_at < ? AND NOT EXISTS"
                " (SELECT 1 FROM files WHERE document = documents.id)",
                (since,),
            ).fetchall()
            for table, column in (("passages", "document"), ("sheets", "document"), ("documents", "id")):
                opened.executemany(f"DELETE FROM {table} WHERE {column} = ?", old)  # noqa: S608
            used = {ranking for (ranking,) in opened.execute("SELECT ranking FROM roots")}
        self._remove_left_over(since, used)

    def _remove_left_over(self, since: float, used: set[str]) -> None:
        """Remove leftovers unused since then: those of other versions, which recreate theirs, and of dead processes."""
        if self.folder is None:
            return
        mine = f"index-{self._version.hex()[:12]}.db"
        for path in (*self.folder.glob("index-*.db*"), *self.folder.glob("ranking-*")):
            with contextlib.suppress(OSError):
                if path.name.startswith(mine) or path.name in used or path.stat().st_mtime >= since:
                    continue
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink()


_KEPT = "documents.id, language, passages, notes, failure"
_left: list[sqlite3.Connection] = []


def _close(opened: sqlite3.Connection, process: int) -> None:
    if process == os.getpid():
        opened.close()
    else:
        # SQLite's connections do not survive a fork; the parent's is left to the parent.
        _left.append(opened)


def _kept(row: Sequence[Any]) -> Kept:
    number, language, passages, notes, failure = row
    return Kept(number, language, passages, tuple(json.loads(notes)), failure)


def _version() -> bytes:
    from chat_sessions.server.documents.ocr import ocr_languages

    parts = [str(_FORMAT), *(f"{name} {version(name)}" for name in _READ_BY), *ocr_languages()]
    # The code that cuts and stems text is its own version: a number would not be increased at every change.
    parts += [path.read_text("utf-8") for path in sorted(Path(__file__).parent.glob("reading/**/*.py"))]
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=32).digest()


def _storable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _packed(terms: str) -> bytes:
    return zlib.compress(terms.encode("utf-8", "replace"), 1)
