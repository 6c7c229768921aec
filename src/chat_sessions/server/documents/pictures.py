"""Pictures of pages: drawn one at a time for each index, in a process of their own, with a deadline."""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from chat_sessions.server.documents.files import FileGone
from chat_sessions.server.documents.indexes import Drawing
from chat_sessions.server.documents.readers import Reader

__all__ = ["Pictures", "TooManyPictures"]

_KEPT = 32
_MOST_WAITING = 32
# A process that drew is kept for so many seconds: whoever looks at one page soon looks at the next.
_IDLE_SECONDS = 2.0


class TooManyPictures(Exception):
    """More pages of an index are to be drawn than may wait."""

    def __init__(self) -> None:
        super().__init__("too many page images are being drawn; ask again in a few seconds")


class Pictures:
    """The pictures of one index, for one event loop. The same page is drawn once, however many ask for it."""

    def __init__(self) -> None:
        self._drawn: OrderedDict[tuple[object, int], bytes | None] = OrderedDict()
        self._under_way: dict[tuple[object, int], asyncio.Task[bytes | None]] = {}
        self._wanted: dict[tuple[object, int], int] = {}
        self._turn = asyncio.Lock()
        self._reader: Reader | None = None
        self._idle: asyncio.TimerHandle | None = None

    async def draw(self, drawing: Drawing) -> bytes | None:
        """Return a page as a JPEG, or None if it cannot be drawn. Raises `TooManyPictures`.

        A drawing that no caller waits for any more is abandoned.
        """
        key = (drawing.stamp, drawing.number)
        if key in self._drawn:
            self._drawn.move_to_end(key)
            return self._drawn[key]
        if key not in self._under_way:
            if len(self._under_way) >= _MOST_WAITING:
                raise TooManyPictures
            self._under_way[key] = asyncio.create_task(self._draw(key, drawing))
        task = self._under_way[key]
        self._wanted[key] = self._wanted.get(key, 0) + 1
        try:
            return await asyncio.shield(task)
        finally:
            self._wanted[key] -= 1
            if not self._wanted[key]:
                del self._wanted[key]
                task.cancel()
                if self._under_way.get(key) is task:
                    del self._under_way[key]

    async def close(self) -> None:
        """Give up what is being drawn."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._end()

    async def _draw(self, key: tuple[object, int], drawing: Drawing) -> bytes | None:
        async with self._turn:
            if self._idle is not None:
                self._idle.cancel()
            reader = self._reader = self._reader or Reader()
            try:
                picture = await asyncio.to_thread(lambda: reader.draw(drawing.data(), drawing.number, drawing.side))
            except FileGone:
                return None
            except asyncio.CancelledError:
                self._end()
                raise
            finally:
                self._idle = asyncio.get_running_loop().call_later(_IDLE_SECONDS, self._end)
        # What could not be drawn is not tried again until the file changes.
        self._drawn[key] = picture
        if len(self._drawn) > _KEPT:
            self._drawn.popitem(last=False)
        return picture

    def _end(self) -> None:
        reader, self._reader = self._reader, None
        if self._idle is not None:
            self._idle.cancel()
        if reader is not None:
            reader.close()
