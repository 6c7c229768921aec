"""Session names for the shell's TAB key."""

from __future__ import annotations

import threading
from contextlib import suppress
from itertools import islice
from typing import Any

import typer

from chat_sessions.cli.show.terminal import Terminal
from chat_sessions.cli.show.text import one_line
from chat_sessions.cli.where.choice import Where
from chat_sessions.cli.where.folders import data_folder
from chat_sessions.cli.where.opening import open_service
from chat_sessions.cli.where.session_names import LAST, stored_sessions

__all__ = ["complete_session"]

# How many seconds TAB waits for a hosted service, and how many of its sessions it offers.
_PATIENCE = 2.0
_OFFERED = 100


def complete_session(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """List the sessions whose ids begin with this, each with its title.

    They are those of the service that the options before the cursor, the environment and the config file select. An
    error or a slow service offers nothing: a shell has no place for an error message.
    """
    found: list[tuple[str, str | None]] = []

    def look() -> None:
        with suppress(Exception):
            found.extend(_hosted(where))

    with suppress(Exception):
        given: dict[str, Any] = {
            name: ctx.params.get(name) for name in ("api_key", "base_url", "region", "local", "backend")
        }
        where = Where(**given, timeout=_PATIENCE, indexes=ctx.params.get("index") or ()).configured()
        if not where.is_openhands and where.is_local:
            found.extend(_local())
        else:
            # A DNS look-up has no deadline of its own.
            looking = threading.Thread(target=look, daemon=True)
            looking.start()
            looking.join(_PATIENCE)
    if found:
        found.append((LAST, "the newest session"))
    return [(session_id, one_line(title or "", 60)) for session_id, title in found if session_id.startswith(incomplete)]


def _local() -> list[tuple[str, str | None]]:
    store = data_folder() / "sessions.db"
    records = stored_sessions(store) if store.exists() else []
    return [(record.session_id, record.generated_title) for record in records]


def _hosted(where: Where) -> list[tuple[str, str | None]]:
    with open_service(where, Terminal(quiet=True), documents=False) as service:
        summaries = islice(service.client.list(page_size=_OFFERED), _OFFERED)
        return [(summary.session_id, summary.generated_title) for summary in summaries]
