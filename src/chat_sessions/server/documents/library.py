"""The indexes of a server: opened once, refreshed before each use."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path

from chat_sessions.server.documents.indexes import Index, open_index

__all__ = ["IndexSource", "Library"]

IndexSource = str | PathLike[str] | Index
"""An index as the caller gives it: the path of a folder or a file, or an `Index`."""

_log = logging.getLogger(__name__)


class Library:
    """Indexes by id. Reading documents blocks, so it happens in worker threads."""

    def __init__(self, indexes: Mapping[str, Index]) -> None:
        self._indexes = dict(indexes)

    @classmethod
    async def open(cls, sources: Mapping[str, IndexSource]) -> Library:
        """Open every index. Raises what `open_index` raises, and leaves nothing open then."""
        indexes: dict[str, Index] = {}
        for index_id, source in sources.items():
            if isinstance(source, str | PathLike):
                indexes[index_id] = await asyncio.to_thread(open_index, index_id, Path(source))
            else:
                indexes[index_id] = source
        return cls(indexes)

    @property
    def indexes(self) -> Mapping[str, Index]:
        """The indexes by id, in the order given."""
        return self._indexes

    async def queryable(self, index_ids: Sequence[str]) -> tuple[list[Index], list[str]]:
        """Return the indexes that a turn can query, up to date, and the ids of those it cannot, without duplicates."""
        found: list[Index] = []
        skipped: list[str] = []
        for index_id in dict.fromkeys(index_ids):
            index = self._indexes.get(index_id)
            if index is None:
                skipped.append(index_id)
                continue
            try:
                await asyncio.to_thread(index.refresh)
            except Exception as error:  # noqa: BLE001 (a user's own index may raise anything)
                _log.warning("index %s cannot be queried: %s", index_id, error)
                skipped.append(index_id)
            else:
                found.append(index)
        return found, skipped

    async def attachment(self, source_id: str, name: str) -> bytes | None:
        """Return the bytes of an attachment, or None if no index has it."""
        for index in self._indexes.values():
            data = await asyncio.to_thread(index.attachment, source_id, name)
            if data is not None:
                return data
        return None

    async def attachments(self, source_id: str) -> list[str] | None:
        """Return the names of a source's attachments, or None if no index has the source."""
        for index in self._indexes.values():
            names = await asyncio.to_thread(index.attachments, source_id)
            if names is not None:
                return names
        return None
