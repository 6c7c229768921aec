"""Reads the files that are not known yet, several at a time, each by a process of its own."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

from chat_sessions.server.documents.files import DocumentFile, FileGone, contents
from chat_sessions.server.documents.keeping import IndexStore, Kept
from chat_sessions.server.documents.readers import Reader, Stopped

__all__ = ["Intake", "Progress"]

Progress = Callable[[int, int, str], None]
"""Called with the number of files read, that of all to read, and the name of the one read last."""

_MOST_READERS = 4
# A reader takes a tenth of a second to start.
_FILES_PER_READER = 8


class Intake:
    """Reads files into a store. `stop` may be called from any thread; what was read until then is kept."""

    def __init__(self, store: IndexStore) -> None:
        self._store = store
        self._mine = threading.local()
        self._readers: list[Reader] = []
        self._stopped = False

    def read(
        self, files: Sequence[DocumentFile], root: Path, on_progress: Progress | None = None
    ) -> tuple[dict[str, Kept], dict[str, str]]:
        """Return the documents of files by name, and why others could not be opened.

        Raises `Stopped`. An interrupt ends the readers at once, too.
        """
        kept: dict[str, Kept] = {}
        gone: dict[str, str] = {}
        names: dict[Future[Kept], str] = {}
        waiting: set[Future[Kept]] = set()
        rest = iter(files)
        count = min(_MOST_READERS, os.cpu_count() or 1, 1 + len(files) // _FILES_PER_READER)
        try:
            with ThreadPoolExecutor(count, thread_name_prefix="chat-sessions-reading") as pool:
                try:
                    while True:
                        # A few ahead, and not all: an interrupt should not wait for them.
                        for file in itertools.islice(rest, 2 * count - len(waiting)):
                            future = pool.submit(self._read, file, root)
                            names[future] = file.name
                            waiting.add(future)
                        if not waiting:
                            return kept, gone
                        done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                        for future in done:
                            name = names.pop(future)
                            try:
                                kept[name] = future.result()
                            except FileGone as error:
                                gone[name] = str(error)
                            if on_progress is not None:
                                on_progress(len(kept) + len(gone), len(files), name)
                except BaseException:
                    self.stop()
                    raise
        finally:
            self._close()
            self._stopped = False

    def stop(self) -> None:
        """End a reading that is under way."""
        self._stopped = True
        self._close()

    def _read(self, file: DocumentFile, root: Path) -> Kept:
        if self._stopped:
            raise Stopped
        data = contents(file, root)
        key = self._store.key(data, file.name)
        known = self._store.find(key)
        if known is not None:
            return known
        reader: Reader | None = getattr(self._mine, "reader", None)
        if reader is None:
            reader = self._mine.reader = Reader()
            self._readers.append(reader)
        return self._store.keep(key, reader.read(data, file.name))

    def _close(self) -> None:
        for reader in self._readers:
            reader.close()
