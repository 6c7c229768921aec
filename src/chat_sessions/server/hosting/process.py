"""The Chat API in the foreground, in one process or in several."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from os import PathLike

from pydantic import SecretStr

from chat_sessions.core.errors import ConfigurationError
from chat_sessions.server.api.app import create_app
from chat_sessions.server.arguments import require_indexes, require_key, require_kind, require_number
from chat_sessions.server.documents.library import IndexSource, Library
from chat_sessions.server.hosting.listener import LOOPBACK, is_loopback, listen, url_of
from chat_sessions.server.hosting.server import Server
from chat_sessions.server.hosting.workers import Workers, can_fork, when_readable
from chat_sessions.server.store.database import address_of
from chat_sessions.server.store.store import Store
from chat_sessions.server.turns.agent import Agent
from chat_sessions.server.turns.behaviour import Behaviour
from chat_sessions.server.turns.limits import Limits

__all__ = ["serve"]

# A worker that has not ended this many seconds after its drain is killed.
_END_MARGIN = 20.0


def serve(
    *,
    indexes: Mapping[str, IndexSource],
    agent: Agent | None = None,
    store: str | None = None,
    api_key: str | SecretStr | None = None,
    behaviour: Behaviour | None = None,
    host: str = LOOPBACK,
    port: int = 8765,
    attachment_lifetime: float = 3600.0,
    limits: Limits | None = None,
    index_store: str | PathLike[str] | None = None,
    drain: float = 10.0,
    workers: int = 1,
    on_listening: Callable[[str, str], None] | None = None,
) -> None:
    """Serve in the foreground until SIGINT or SIGTERM, then give running turns `drain` seconds to end.

    A second SIGINT ends it at once. `on_listening` is called with the base URL and the API key when the server
    listens. Call this in the main thread; it handles signals until it returns.

    `workers` is the number of processes that share a `store` on PostgreSQL. Documents are read once, before the
    processes are forked; each process then notices changes by itself. The agent is forked with them: it must hold no
    threads and no connections before its first turn. A worker that dies is replaced.

    Raises `ConfigurationError` for a port that is in use, an address that is not this machine's, a store that cannot
    be opened, several workers on a store that they cannot share, and an address beyond this machine without an
    `api_key` from the caller. Raises what unreadable documents raise.
    """
    # A traceback may show local variables.
    api_key = SecretStr(api_key) if isinstance(api_key, str) else api_key
    require_key(api_key)
    require_kind("host", host, str, what="the address or the name of this machine")
    require_indexes(indexes)
    require_number("workers", workers, above_zero=True, whole=True)
    _check_workers(workers, store)
    if not is_loopback(host) and api_key is None:
        raise ConfigurationError(
            f"{host} can be reached from other machines: give an api_key of your own, or serve on {LOOPBACK}"
        )
    listener = listen(host, port)
    with contextlib.closing(listener):
        app = create_app(
            # Read here, and not in each worker.
            indexes=asyncio.run(Library.open(indexes, index_store)).indexes if workers > 1 else indexes,
            agent=agent,
            store=store,
            api_key=api_key,
            behaviour=behaviour,
            attachment_lifetime=attachment_lifetime,
            limits=limits,
            index_store=index_store,
            drain=drain,
        )

        def listening() -> None:
            if on_listening is not None:
                on_listening(url_of(host, listener.getsockname()[1]), app.state.api_key)

        async def work(ready: Callable[[], None], lifeline: int) -> None:
            server = Server(app)
            with when_readable(lifeline, server.end):
                await server.run(listener, on_listening=ready)

        if workers == 1:
            asyncio.run(Server(app).run(listener, on_listening=listening))
            return
        asyncio.run(_try_store(store))
        Workers(
            workers,
            lambda ready, lifeline: asyncio.run(work(ready, lifeline)),
            listener=listener,
            patience=drain + _END_MARGIN,
        ).run(on_ready=listening)


def _check_workers(workers: int, store: str | None) -> None:
    if workers > 1 and not can_fork:
        raise ConfigurationError(
            f"workers={workers}: this system cannot fork processes; start several servers, each on a port of its own, "
            "with one store on PostgreSQL and one api_key"
        )
    if workers > 1 and (store is None or address_of(store).get_backend_name() != "postgresql"):
        raise ConfigurationError(
            f"workers={workers}: several processes need a store that they can share; give one on PostgreSQL, such as "
            "postgresql://user@host/database"
        )


async def _try_store(url: str | None) -> None:
    """Open the store once, so that the calling process reports what is wrong with it, and only once."""
    await (await Store.open(url)).close()
