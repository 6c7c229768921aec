"""How a session is named on the command line: by its id, by the beginning of its id, or as the last one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from chat_sessions.cli.errors import UnknownName
from chat_sessions.cli.show.text import one_line
from chat_sessions.cli.where.folders import data_folder

if TYPE_CHECKING:
    from chat_sessions.server.store.records import SessionRecord

__all__ = ["LAST", "complete_session", "full_id", "stored_sessions"]

LAST = "last"
# A name that is longer is an id, and not looked for: that would cost a request.
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


def stored_sessions(store: Path, limit: int = _SEARCHED) -> list[SessionRecord]:
    """List the sessions of this machine without a server, the newest first."""
    from chat_sessions.server.store.store import Store

    async def read() -> list[SessionRecord]:
        opened = await Store.open(f"sqlite:///{store}")
        try:
            return await opened.sessions(limit=limit)
        finally:
            await opened.close()

    return asyncio.run(read())


def complete_session(incomplete: str) -> list[tuple[str, str]]:
    """List the sessions of this machine that begin so, with their titles, for the shell's TAB key."""
    # A shell has no place for an error.
    with suppress(Exception):
        store = data_folder() / "sessions.db"
        if store.exists():
            return [
                (record.session_id, one_line(record.generated_title or "", 60))
                for record in stored_sessions(store)
                if record.session_id.startswith(incomplete)
            ]
    return []
