"""How a session is named on the command line: by its id, the beginning of its id, or `last`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from chat_sessions.cli.errors import UnknownName
from chat_sessions.cli.show.text import one_line

if TYPE_CHECKING:
    from chat_sessions.server.store.records import SessionRecord
    from chat_sessions.server.store.store import Store

__all__ = ["LAST", "full_id", "read_store", "stored_sessions"]

_Found = TypeVar("_Found")

LAST = "last"
# A longer name is taken for a whole id, which saves a request.
_LONGEST_BEGINNING = 20
_SEARCHED = 1000


def full_id(name: str, ids: Iterable[str]) -> str:
    """Return the id that a name means, or the name itself if no id begins with it.

    `ids` has the newest session first, and is read only if the name may be the beginning of an id. Raises `UnknownName`
    for the beginning of several ids, and for `last` without a session.
    """
    if name == LAST:
        for session_id in ids:
            return session_id
        raise UnknownName("there is no session to continue yet")
    if len(name) > _LONGEST_BEGINNING:
        return name
    found = [session_id for session_id in islice(ids, _SEARCHED) if session_id.startswith(name)] if name else []
    if len(found) > 1 and name not in found:
        shown = ", ".join(one_line(session_id, 80) for session_id in found[:3])
        raise UnknownName(f"{len(found)} sessions begin with {one_line(name, 40)!r}: {shown}; type more of the id")
    return found[0] if len(found) == 1 else name


def stored_sessions(store: Path) -> list[SessionRecord]:
    """List the newest sessions of this machine, the newest first."""
    return read_store(store, lambda opened: opened.sessions(limit=_SEARCHED))


def read_store(file: Path, read: Callable[[Store], Awaitable[_Found]]) -> _Found:
    """Read from the store of local sessions without a server, which would need their documents to start."""
    from chat_sessions.server.store.database import opening
    from chat_sessions.server.store.store import Store

    async def run() -> _Found:
        url = f"sqlite:///{file}"
        store = await Store.open(url)
        try:
            with opening(url):
                return await read(store)
        finally:
            await store.close()

    return asyncio.run(run())
