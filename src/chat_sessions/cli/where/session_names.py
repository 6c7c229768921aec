"""How a session is named on the command line: by its id, by the beginning of its id, or as the last one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from chat_sessions.cli.errors import UnknownName
from chat_sessions.cli.show.terminal import Terminal
from chat_sessions.cli.show.text import one_line
from chat_sessions.cli.where.choice import Where
from chat_sessions.cli.where.folders import data_folder

if TYPE_CHECKING:
    from chat_sessions.server.store.records import SessionRecord

__all__ = ["LAST", "complete_session", "full_id", "stored_sessions"]

LAST = "last"
# A name that is longer is an id, and not looked for: that would cost a request.
_LONGEST_BEGINNING = 20
_SEARCHED = 1000
# Whoever pressed TAB waits so many seconds for a hosted service, and is offered so many sessions.
_PATIENCE = 2.0
_OFFERED = 100


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


def complete_session(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """List the sessions that begin so, with their titles, for the shell's TAB key.

    They are those of the service that the options before the cursor, the environment and the config file mean. What
    fails offers nothing, nor does a hosted service that takes long: a shell has no place for an error.
    """
    found: list[tuple[str, str | None]] = []

    def look() -> None:
        with suppress(Exception):
            found.extend(_hosted(where))

    with suppress(Exception):
        where = _where(ctx)
        if not where.is_openhands and where.is_local:
            found.extend(_local())
        else:
            # The look-up of an address has no deadline of its own.
            looking = threading.Thread(target=look, daemon=True)
            looking.start()
            looking.join(_PATIENCE)
    if found:
        found.append((LAST, "the newest session"))
    return [(session_id, one_line(title or "", 60)) for session_id, title in found if session_id.startswith(incomplete)]


def _where(ctx: typer.Context) -> Where:
    given = ctx.params
    return Where(
        api_key=given.get("api_key"),
        base_url=given.get("base_url"),
        region=given.get("region"),
        local=given.get("local"),
        backend=given.get("backend"),
        timeout=_PATIENCE,
        indexes=given.get("index") or (),
    ).configured()


def _local() -> list[tuple[str, str | None]]:
    store = data_folder() / "sessions.db"
    records = stored_sessions(store) if store.exists() else []
    return [(record.session_id, record.generated_title) for record in records]


def _hosted(where: Where) -> list[tuple[str, str | None]]:
    # It uses this module.
    from chat_sessions.cli.where.opening import open_service

    with open_service(where, Terminal(quiet=True), documents=False) as service:
        summaries = islice(service.client.list(page_size=_OFFERED), _OFFERED)
        return [(summary.session_id, summary.generated_title) for summary in summaries]
