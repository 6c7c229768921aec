"""The title of a session, made from its first message."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable

from chat_sessions.server.store.database import StoreFailed
from chat_sessions.server.store.records import SessionRecord, UnknownSession
from chat_sessions.server.store.store import Store

__all__ = ["Titles", "title_of"]

_log = logging.getLogger(__name__)

_LONGEST = 60
_SENTENCE_END = re.compile(r"(?<=[.!?\u3002\uff01\uff1f])\s")


def title_of(message: str) -> str:
    """Return the first sentence of a message in at most 60 characters, cut between words; never empty."""
    words = "".join(character if character.isprintable() else " " for character in message).split()
    sentence = _SENTENCE_END.split(" ".join(words), maxsplit=1)[0].rstrip(" .")
    if not sentence:
        return "New chat"
    if len(sentence) > _LONGEST:
        head = sentence[: _LONGEST - 1]
        # A single long word, or a script without spaces, has no gap to cut at.
        cut = head.rfind(" ") if sentence[_LONGEST - 1] != " " else len(head)
        sentence = (head[:cut] if cut > _LONGEST // 2 else head).rstrip(" ,;:.") + "…"
    return sentence[0].upper() + sentence[1:]


class Titles:
    """Titles sessions: by the agent's `title_for` if it has one, else by the first sentence."""

    def __init__(self, store: Store, agent: object, *, automatic: bool) -> None:
        self._store = store
        self._automatic = automatic
        self._give: Callable[[str], Awaitable[str | None]] | None = getattr(agent, "title_for", None)
        self._giving: set[asyncio.Task[None]] = set()

    def first(self, message: str) -> str | None:
        """Return the title that a session gets from its first message; None if titles are not automatic."""
        return title_of(message) if self._automatic else None

    async def set(self, session_id: str, message: str) -> SessionRecord:
        """Set a session's title by its first message, and return the session. Raises `UnknownSession`."""
        await self._store.session(session_id)
        return await self._store.set_title(session_id, await self._title(message))

    def answered(self, session_id: str, message: str) -> None:
        """Have the agent title a session, now that its first message has been answered."""
        if self._automatic and self._give is not None:
            # After the answer, since a small machine has one model for both.
            task = asyncio.create_task(self._replace(session_id, message))
            self._giving.add(task)
            task.add_done_callback(self._giving.discard)

    async def close(self) -> None:
        """Cancel the titles that are being made."""
        giving = list(self._giving)
        for task in giving:
            task.cancel()
        if giving:
            await asyncio.wait(giving)

    async def _replace(self, session_id: str, message: str) -> None:
        title = await self._title(message)
        try:
            # Another title may have been set meanwhile.
            if (await self._store.session(session_id)).generated_title == title_of(message):
                await self._store.set_title(session_id, title)
        except (UnknownSession, StoreFailed) as error:
            _log.info("session %s keeps its title: %s", session_id, error)

    async def _title(self, message: str) -> str:
        return title_of(await self._give(message) or message if self._give is not None else message)
