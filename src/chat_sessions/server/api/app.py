"""The Chat API as an ASGI application."""

from __future__ import annotations

import secrets
import threading
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from functools import cache
from os import PathLike
from typing import Any

from fastapi import FastAPI
from pydantic import SecretStr
from starlette.types import ASGIApp

from chat_sessions.server.api.context import Context
from chat_sessions.server.api.errors import HANDLERS
from chat_sessions.server.api.keys import BearerKey
from chat_sessions.server.api.links import API, ATTACHMENTS, LinkSigner
from chat_sessions.server.api.prefixes import WholePath
from chat_sessions.server.api.rates import RequestPace, RequestRate
from chat_sessions.server.api.routes import api_routes, document, image_routes, open_routes
from chat_sessions.server.arguments import require_indexes, require_key, require_kind, require_number
from chat_sessions.server.documents.library import IndexSource, Library
from chat_sessions.server.store.database import opening
from chat_sessions.server.store.store import Store
from chat_sessions.server.turns.agent import Agent, check_agent
from chat_sessions.server.turns.behaviour import Behaviour
from chat_sessions.server.turns.limits import Limits
from chat_sessions.server.turns.turns import Turns

__all__ = ["create_app"]

# FastAPI and pydantic change shared field definitions while they build schemas, which is not thread-safe.
_schemas = threading.Lock()


def create_app(
    *,
    indexes: Mapping[str, IndexSource],
    agent: Agent | None = None,
    store: str | None = None,
    api_key: str | SecretStr | None = None,
    behaviour: Behaviour | None = None,
    attachment_lifetime: float = 3600.0,
    limits: Limits | None = None,
    drain: float = 10.0,
    index_store: str | PathLike[str] | None = None,
) -> FastAPI:
    """Make the Chat API over the given indexes, for any ASGI server that runs the lifespan.

    `indexes` maps ids such as "idx-docs" to a folder, a file, or an `Index`. What is read of files is kept in the
    folder `index_store`: None means the user's cache folder, ":memory:" nowhere. Without `agent`, the default one
    answers, which needs no model. `store` is a URL such as `sqlite:///chat.db`, or None for a store that is removed
    at the end. `api_key` is the bearer key that every request must carry; if it is None, one is made and is
    `app.state.api_key`. `attachment_lifetime` is how many seconds a link to a page image works. `limits` bound what
    requests, turns and the store may use. `drain` is how many seconds turns may continue when the server shuts down,
    before they end as errors.

    Run one process per SQLite file: on opening it, the store ends the turns that it finds running. Several
    processes, on one machine or more, may share a store on PostgreSQL; give them the same `api_key` then.

    Raises `ConfigurationError` for arguments that cannot be served. The lifespan raises it for a store that cannot
    be opened, and raises what `open_index` raises for documents that cannot be read.
    """
    # A traceback may show local variables.
    api_key = SecretStr(api_key) if isinstance(api_key, str) else api_key
    require_key(api_key)
    require_indexes(indexes)
    require_kind("behaviour", behaviour, Behaviour)
    require_kind("limits", limits, Limits)
    require_kind("store", store, str, what="a URL such as 'sqlite:///chat.db'")
    require_kind("index_store", index_store, str, PathLike, what="the path of a folder, or ':memory:'")
    require_number("attachment_lifetime", attachment_lifetime, above_zero=True)
    require_number("drain", drain, above_zero=False)
    if agent is not None:
        check_agent(agent)
    if agent is None:
        from chat_sessions.server.agents.local_agent import LocalAgent

        agent = LocalAgent()
    key = api_key or SecretStr(f"llx-local-{secrets.token_urlsafe(24)}")
    behaviour = behaviour or Behaviour()
    limits = limits or Limits()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        opened = await Store.open(store)
        try:
            with opening(store):
                secret = await opened.secret("attachment_links")
            library = await Library.open(indexes, index_store)
            turns = Turns(opened, library, agent, behaviour, limits)
            try:
                with opening(store):
                    await turns.open()
            except BaseException:
                await library.close()
                raise
            signer = LinkSigner(secret, lifetime=attachment_lifetime)
            app.state.context = Context(opened, library, turns, signer, behaviour, limits)
            try:
                yield
            finally:
                await turns.close(drain=drain)
                await library.close()
        finally:
            app.state.context = None
            await opened.close()

    async def close_turns(seconds: float = drain) -> None:
        # Before the connections are closed, so that clients get their stop.
        context: Context | None = app.state.context
        if context is not None:
            await context.turns.close(drain=seconds)

    app = FastAPI(
        lifespan=lifespan,
        exception_handlers=HANDLERS,
        # A path with a slash at its end is another path, as it is in the service.
        redirect_slashes=False,
        # FastAPI's pages of documentation load scripts from other hosts.
        docs_url=None,
        redoc_url=None,
        # An application that is traced should not show the spans of a local server in the same process.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    app.state.context = None
    app.state.limits = limits
    app.state.api_key = key.get_secret_value()
    app.state.lifespan = lifespan
    app.state.close_turns = close_turns
    app.add_middleware(WholePath)
    with _schemas:
        _add_routes(app, key, behaviour, limits)
    return app


def _add_routes(app: FastAPI, key: SecretStr, behaviour: Behaviour, limits: Limits) -> None:
    """Mount the routers, each behind its guards.

    Guards at the mount points see every request below them, even one without a matching route, and also if the
    application itself is mounted under a prefix.
    """
    pace = None if limits.requests_per_second is None else RequestPace(limits.requests_per_second)

    def paced(guarded: ASGIApp) -> ASGIApp:
        return guarded if pace is None else RequestRate(guarded, pace)

    api, images, others = api_routes(behaviour, limits), image_routes(limits), open_routes()
    app.mount(API, paced(BearerKey(api, key)))
    app.mount(ATTACHMENTS, paced(images))
    app.include_router(others)

    @cache
    def described() -> dict[str, Any]:
        with _schemas:
            return document({API: api, ATTACHMENTS: images, "": others})

    # FastAPI's own document leaves out what is mounted.
    app.openapi = described  # type: ignore[method-assign]
