"""The indexes of a server: opened once, and compared with the disk while turns begin."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from os import PathLike

from chat_sessions.server.documents.indexes import Drawing, Index, open_index
from chat_sessions.server.documents.keeping import IndexStore, open_store
from chat_sessions.server.documents.pictures import Pictures
from chat_sessions.server.documents.readers import Stopped

__all__ = ["IndexSource", "Library"]

IndexSource = str | PathLike[str] | Index
"""An index as the caller gives it: the path of a folder or a file, or an `Index`."""

# How many ids a message names.
_SHOWN = 10
_log = logging.getLogger(__name__)


class Library:
    """Indexes by id. Reading documents blocks, so it happens in worker threads, one for each index at a time."""

    def __init__(self, indexes: Mapping[str, Index], store: IndexStore | None = None) -> None:
        self._indexes = dict(indexes)
        # Where those that were opened here are kept.
        self._store = store
        self._pictures = {index_id: Pictures() for index_id in indexes}
        self._refreshing: dict[str, asyncio.Task[None]] = {}

    @classmethod
    async def open(cls, sources: Mapping[str, IndexSource], index_store: str | PathLike[str] | None = None) -> Library:
        """Open every index. Raises what `open_index` raises, and leaves nothing open then."""
        indexes: dict[str, Index] = {}
        store = None
        try:
            for index_id, source in sources.items():
                if isinstance(source, str | PathLike):
                    store = store or open_store(index_store)
                    indexes[index_id] = await asyncio.to_thread(open_index, index_id, source, index_store=store)
                else:
                    indexes[index_id] = source
        except BaseException:
            if store is not None:
                store.close()
            raise
        return cls(indexes, store)

    @property
    def indexes(self) -> Mapping[str, Index]:
        """The indexes by id, in the order given."""
        return self._indexes

    def queryable(self, index_ids: Sequence[str]) -> tuple[list[Index], list[str]]:
        """Return the indexes that a turn can query, and the ids of those it cannot, without duplicates."""
        found: list[Index] = []
        skipped: list[str] = []
        for index_id in dict.fromkeys(index_ids):
            index = self._indexes.get(index_id)
            try:
                if index is not None:
                    index.check()
            except Exception as error:  # noqa: BLE001 (a user's own index may raise anything)
                _log.warning("index %s cannot be queried: %s", index_id, error)
                index = None
            if index is None:
                skipped.append(index_id)
            else:
                found.append(index)
        return found, skipped

    def others(self, index_ids: Sequence[str]) -> str:
        """Return the ids of the other indexes in words, the first ten of them; empty if there are none."""
        others = [index_id for index_id in self._indexes if index_id not in index_ids]
        more = f" and {len(others) - _SHOWN} others" if len(others) > _SHOWN else ""
        return f"; this server has {', '.join(others[:_SHOWN])}{more}" if others else ""

    async def refresh(self, indexes: Sequence[Index]) -> None:
        """Have indexes compared with the disk. What several turns ask for at the same time is done once."""
        tasks: list[asyncio.Task[None]] = []
        for index in indexes:
            task = self._refreshing.get(index.index_id)
            if task is None:
                task = self._refreshing[index.index_id] = asyncio.create_task(self._refresh(index))
            tasks.append(task)
        if tasks:
            # A turn that ends early leaves the reading to the next.
            await asyncio.wait(tasks)

    async def attachment(self, source_id: str, name: str) -> bytes | None:
        """Return the bytes of an attachment, or None if no index has it. Raises `TooManyPictures`."""
        for index_id, index in self._indexes.items():
            drawing = index.drawing(source_id, name)
            if isinstance(drawing, Drawing):
                drawing = await self._pictures[index_id].draw(drawing)
            if drawing is not None:
                return drawing
        return None

    async def attachments(self, source_id: str) -> list[str] | None:
        """Return the names of a source's attachments, or None if no index has the source."""
        for index in self._indexes.values():
            names = index.attachments(source_id)
            if names is not None:
                return names
        return None

    async def close(self) -> None:
        """End what is being read and drawn, and close what keeps the indexes that were opened here."""
        for pictures in self._pictures.values():
            await pictures.close()
        if self._refreshing:
            for index_id in self._refreshing:
                self._indexes[index_id].stop_reading()
            await asyncio.wait(list(self._refreshing.values()))
        if self._store is not None:
            self._store.close()

    async def _refresh(self, index: Index) -> None:
        try:
            await asyncio.to_thread(index.refresh)
        except Stopped:
            _log.debug("the reading of index %s was stopped", index.index_id)
        except Exception as error:  # noqa: BLE001 (a user's own index may raise anything)
            _log.warning("index %s could not be compared with its folder: %s", index.index_id, error)
        finally:
            del self._refreshing[index.index_id]
