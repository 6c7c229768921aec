"""Pictures of pages: drawn one at a time for each index, in a process of their own, with a deadline."""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from contextlib import suppress

from chat_sessions.server.documents import readers
from chat_sessions.server.documents.files import FileGone
from chat_sessions.server.documents.indexes import Drawing

__all__ = ["Pictures", "TooManyPictures"]

_KEPT = 32
_MOST_WAITING = 32
# A process that drew is kept for so many seconds: whoever looks at one page soon looks at the next.
_IDLE_SECONDS = 2.0
_LONGEST_LINE = 1024 * 1024


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
        self._process: asyncio.subprocess.Process | None = None
        self._idle: asyncio.TimerHandle | None = None

    async def draw(self, drawing: Drawing) -> bytes | None:
        """Return a page as a JPEG, or None if it cannot be drawn. Raises `TooManyPictures`.

        A drawing that nobody waits for any more is given up.
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
        await self._end()

    async def _draw(self, key: tuple[object, int], drawing: Drawing) -> bytes | None:
        async with self._turn:
            if self._idle is not None:
                self._idle.cancel()
            picture: bytes | None = None
            try:
                data = await asyncio.to_thread(drawing.data)
                async with asyncio.timeout(readers.DRAWING_SECONDS):
                    picture = await self._drawn_by_process(drawing, data)
            except FileGone:
                return None
            except (TimeoutError, OSError, ValueError, EOFError):
                # What could not be drawn in time is not tried again until the file changes.
                await self._end()
            except asyncio.CancelledError:
                await self._end()
                raise
            self._idle = asyncio.get_running_loop().call_later(_IDLE_SECONDS, self._kill)
        self._drawn[key] = picture
        if len(self._drawn) > _KEPT:
            self._drawn.popitem(last=False)
        return picture

    async def _drawn_by_process(self, drawing: Drawing, data: bytes) -> bytes | None:
        process = self._process
        if process is None or process.returncode is not None:
            await self._end()
            pipe, nowhere = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
            process = self._process = await asyncio.create_subprocess_exec(
                *readers.command(), stdin=pipe, stdout=pipe, stderr=nowhere, limit=_LONGEST_LINE
            )
        assert process.stdin is not None and process.stdout is not None  # noqa: S101, PT018 (they are pipes)
        request = {"task": "draw", "page": drawing.number, "side": drawing.side, "size": len(data)}
        process.stdin.write(json.dumps(request).encode() + b"\n")
        process.stdin.write(data)
        await process.stdin.drain()
        answer = json.loads(await process.stdout.readline())
        return await process.stdout.readexactly(answer["size"]) or None

    def _kill(self) -> None:
        process = self._process
        if process is not None and process.returncode is None and not self._turn.locked():
            with suppress(ProcessLookupError):
                process.kill()

    async def _end(self) -> None:
        process, self._process = self._process, None
        if self._idle is not None:
            self._idle.cancel()
        if process is None:
            return
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
        await process.wait()
        if process.stdin is not None:
            process.stdin.close()
