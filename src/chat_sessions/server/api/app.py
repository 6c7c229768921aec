"""The Chat API as an ASGI application."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from typing import TypeAlias

from pydantic import BaseModel, JsonValue, SecretStr
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route, Router

from chat_sessions.core.errors import ConfigurationError
from chat_sessions.server.api import attachments
from chat_sessions.server.api.attachments import LinkSigner
from chat_sessions.server.api.errors import REFUSALS
from chat_sessions.server.api.event_stream import EventStream
from chat_sessions.server.api.keys import BearerKey, can_be_sent
from chat_sessions.server.api.openapi import document
from chat_sessions.server.api.wire import (
    ATTACHMENT_PAGE,
    SESSION_PAGE,
    AttachmentQuery,
    CreateSession,
    Health,
    IndexInfo,
    IndexList,
    InvalidRequest,
    PageQuery,
    ScopeQuery,
    SendMessage,
    SetTitle,
    SourceQuery,
    body_of,
    page_token,
    query_of,
    summary_of,
)
from chat_sessions.server.documents.library import IndexSource, Library
from chat_sessions.server.store.store import SessionRecord, SourcesLocked, Store
from chat_sessions.server.turns.agent import Agent
from chat_sessions.server.turns.behaviour import Behaviour
from chat_sessions.server.turns.limits import Limits, RequestPace, RequestRate, TurnSlots
from chat_sessions.server.turns.segments import hidden_in_history
from chat_sessions.server.turns.titles import title_of
from chat_sessions.server.turns.turns import SessionBusy, ShuttingDown, Turns

__all__ = ["create_app"]

_Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]

_SHUTDOWN_MARGIN = 5.0


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
) -> Starlette:
    """The Chat API over the given indexes, for any ASGI server that runs the lifespan.

    `indexes` maps ids such as "idx-docs" to a folder, a file, or an `Index`; without `agent`
    the default one answers, which needs no model. `store` is a URL such as `sqlite:///chat.db`,
    None for a store that is removed at the end. `api_key` is the bearer key that every request
    must carry; one is made if it is None, and is `app.state.api_key`. `attachment_lifetime` is
    how long, in seconds, a link to a page image works. `limits` are what requests, turns and the
    store may take. `drain` is how long, in seconds, turns may run on when the server shuts down,
    before they are closed as errors.

    One process per SQLite file: the store closes, when it opens, the turns that it finds running.
    Several processes, on one machine or more, may serve one store on PostgreSQL; give them the same
    `api_key` then.

    Raises `ConfigurationError` for what cannot be served. The lifespan raises it for a store
    that cannot be opened, and what `open_index` raises for documents that cannot be read.
    """
    # A traceback may show local variables.
    api_key = SecretStr(api_key) if isinstance(api_key, str) else api_key
    if not isinstance(indexes, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance] - a folder alone is tempting
        raise ConfigurationError(
            f"indexes={indexes!r}: name an index for each folder or file, such as indexes={{'idx-docs': 'docs/'}}"
        )
    if not indexes:
        raise ConfigurationError("there is no index to serve; give at least one, such as indexes={'idx-docs': 'docs/'}")
    if api_key is not None and not can_be_sent(api_key):
        raise ConfigurationError("the api_key is empty, or has characters that no HTTP header can carry")
    if not attachment_lifetime > 0:
        raise ConfigurationError(f"attachment_lifetime={attachment_lifetime!r}: use a number above 0")
    if agent is None:
        from chat_sessions.server.agents.local_agent import LocalAgent

        agent = LocalAgent()
    api = _Api(
        indexes=indexes,
        agent=agent,
        store_url=store,
        api_key=api_key or SecretStr(f"llx-local-{secrets.token_urlsafe(24)}"),
        behaviour=behaviour or Behaviour(),
        attachment_lifetime=attachment_lifetime,
        limits=limits or Limits(),
        drain=drain,
    )
    return api.application()


@dataclass(frozen=True, slots=True)
class _Opened:
    """What exists from the start of the lifespan to its end."""

    store: Store
    library: Library
    turns: Turns
    signer: LinkSigner


class _Api:
    def __init__(
        self,
        *,
        indexes: Mapping[str, IndexSource],
        agent: Agent,
        store_url: str | None,
        api_key: SecretStr,
        behaviour: Behaviour,
        attachment_lifetime: float,
        limits: Limits,
        drain: float,
    ) -> None:
        self._indexes = indexes
        self._agent = agent
        self._store_url = store_url
        self._api_key = api_key
        self._behaviour = behaviour
        self._attachment_lifetime = attachment_lifetime
        self._limits = limits
        self._slots = TurnSlots(limits.running_turns)
        self._creating = asyncio.Lock()
        self._drain = drain
        self._document = document(title_route=behaviour.title_route == "present", limits=limits)
        self._opened: _Opened | None = None

    def application(self) -> Starlette:
        session = "/v1/chat/{session_id}"
        api = [
            _route("/v1/chat", GET=self.list_sessions, POST=self.create_session),
            _route(session, GET=self.retrieve_session, DELETE=self.delete_session),
            _route(f"{session}/summary", GET=self.session_summary),
            _route(f"{session}/title", POST=self.set_title),
            _route(f"{session}/messages/stream", POST=self.send_message),
            _route("/v1/indexes", GET=self.list_indexes),
            _route("/v1/beta/attachments", GET=self.list_attachments),
            # The path arrives decoded, so that this takes `a/b` and `a%2Fb` alike.
            _route("/v1/beta/attachments/{attachment_name:path}", GET=self.attachment_link),
        ]
        images = [_route("/{source_id}/{attachment_name:path}", GET=self.attachment)]
        # The guards sit where the routes are mounted: a prefix in front of the application, which is part of each
        # request's path, must not lead around them.
        paced: list[Middleware] = []
        if self._limits.requests_per_second is not None:
            paced.append(Middleware(RequestRate, pace=RequestPace(self._limits.requests_per_second)))
        app = Starlette(
            routes=[
                Mount("/api", _router(api), middleware=[*paced, Middleware(BearerKey, api_key=self._api_key)]),
                Mount("/attachments", _router(images), middleware=paced),
                _route("/openapi.json", GET=self.openapi),
                _route("/health", GET=self.health),
            ],
            lifespan=self.lifespan,
            exception_handlers=REFUSALS,
        )
        # A path with a slash at its end is another path here, as it is in the service.
        app.router.redirect_slashes = False
        app.state.api_key = self._api_key.get_secret_value()
        app.state.close_turns = self.close_turns
        return app

    @asynccontextmanager
    async def lifespan(self, _app: Starlette) -> AsyncGenerator[None]:
        store = await Store.open(self._store_url)
        try:
            library = await Library.open(self._indexes)
            turns = Turns(store, library, self._agent, self._behaviour, self._limits)
            await turns.open()
            secret = await store.secret("attachment_links")
            signer = LinkSigner(secret, lifetime=self._attachment_lifetime)
            self._opened = _Opened(store, library, turns, signer)
            try:
                yield
            finally:
                await turns.close(drain=self._drain)
        finally:
            self._opened = None
            await store.close()

    async def close_turns(self, drain: float | None = None) -> None:
        """Ends what runs, before the connections are closed: clients get their stop."""
        if self._opened is not None:
            await self._opened.turns.close(drain=self._drain if drain is None else drain)

    @property
    def _parts(self) -> _Opened:
        if self._opened is None:
            raise HTTPException(503, "the server is not open; run the application with its lifespan")
        return self._opened

    async def list_sessions(self, request: Request) -> Response:
        query = query_of(request, PageQuery)
        size = query.size(SESSION_PAGE)
        records = await self._parts.store.sessions(limit=size + 1, before=query.position)
        return JSONResponse(
            {
                "items": [self._summary(record) for record in records[:size]],
                "next_page_token": page_token(records[size - 1].number) if len(records) > size else None,
            }
        )

    async def create_session(self, request: Request) -> Response:
        query_of(request, ScopeQuery)
        body = await body_of(request, CreateSession, limit=self._limits.body_bytes, optional=True)
        # One after the other: two that find room for one must not both take it.
        async with self._creating if self._limits.sessions is not None else nullcontext():
            await self._check_room()
            record = await self._parts.store.create_session(index_ids=body.index_ids, shared_access=body.shared_access)
        return JSONResponse(self._summary(record), status_code=201)

    async def _check_room(self) -> None:
        """Raises `HTTPException` 403 if the store holds as many sessions as it may."""
        most = self._limits.sessions
        if most is not None and await self._parts.store.count_sessions() >= most:
            # Not 429 or 409: clients send those again, and time alone makes no room.
            raise HTTPException(
                403, f"this server's limit of sessions, {most:,}, is reached; delete one that is not needed"
            )

    async def retrieve_session(self, request: Request) -> Response:
        query_of(request, ScopeQuery)
        session_id = request.path_params["session_id"]
        record = await self._parts.store.session(session_id)
        events = await self._parts.store.events(
            session_id,
            without=hidden_in_history(self._behaviour),
            running=self._behaviour.history_timing == "live",
        )
        # The stored events are JSON already, and go out as they were streamed.
        summary = json.dumps(self._summary(record), ensure_ascii=False)
        body = f'{summary[:-1]}, "events": [{", ".join(event.body for event in events)}]}}'
        return Response(body, media_type="application/json")

    async def delete_session(self, request: Request) -> Response:
        query_of(request, ScopeQuery)
        await self._parts.turns.delete(request.path_params["session_id"])
        return Response(status_code=204)

    async def session_summary(self, request: Request) -> Response:
        query_of(request, ScopeQuery)
        return JSONResponse(self._summary(await self._parts.store.session(request.path_params["session_id"])))

    async def set_title(self, request: Request) -> Response:
        if self._behaviour.title_route == "gone":
            raise HTTPException(self._behaviour.title_status)
        query_of(request, ScopeQuery)
        body = await body_of(request, SetTitle, limit=self._limits.body_bytes)
        record = await self._parts.store.set_title(request.path_params["session_id"], title_of(body.first_message))
        return JSONResponse(self._summary(record))

    async def send_message(self, request: Request) -> Response:
        query_of(request, ScopeQuery)
        body = await body_of(request, SendMessage, limit=self._limits.body_bytes)
        session_id = request.path_params["session_id"]
        give_back = self._slots.take()
        turn = None
        try:
            turn = await self._parts.turns.start(
                session_id,
                body.prompt,
                index_ids=body.index_ids,
                require_all_indexes=body.require_all_indexes,
                is_gone=request.is_disconnected,
            )
        except SessionBusy:
            raise HTTPException(409, f"session {session_id} is answering another message; wait for its stop") from None
        except ShuttingDown:
            raise HTTPException(503, "the server is shutting down") from None
        except SourcesLocked as error:
            # 422 and not 409: it is the one error that the API declares for this route, it is the
            # request's content that is refused, and the official clients send a 409 six times.
            raise InvalidRequest.at(
                "body",
                "index_ids",
                msg=f"The sources of a session are locked after its first message; this one has {error.index_ids}",
                type="sources_locked",
                input=list(body.index_ids),
            ) from None
        finally:
            # Until the agent has ended, whether or not somebody reads it.
            if turn is not None and turn.answering is not None:
                turn.answering.add_done_callback(give_back)
            else:
                give_back(None)
        if turn is None:
            return Response(status_code=204)  # to nobody: the client left while its message was queued
        # On shutdown the turns are ended first, and a stream ends with its turn; the grace is
        # for a turn whose agent does not let itself be cancelled.
        return EventStream(turn, self._behaviour, grace=self._drain + 2 * _SHUTDOWN_MARGIN)

    async def list_indexes(self, request: Request) -> Response:
        query_of(request, ScopeQuery)
        items = [
            IndexInfo(index_id=index_id, name=index.name) for index_id, index in self._parts.library.indexes.items()
        ]
        return _json(IndexList(items=items))

    async def list_attachments(self, request: Request) -> Response:
        query = query_of(request, AttachmentQuery)
        found = await attachments.page(
            self._parts.library,
            query.source_id,
            first=query.position or 0,
            size=query.size(ATTACHMENT_PAGE),
        )
        return _json(found)

    async def attachment_link(self, request: Request) -> Response:
        query = query_of(request, SourceQuery)
        name = request.path_params["attachment_name"]
        form = "encoded" if b"%2f" in request.scope.get("raw_path", b"").lower() else "slash"
        if "/" in name and self._behaviour.attachment_slash not in ("both", form):
            raise HTTPException(404)
        base_url = str(request.base_url)
        return _json(
            await attachments.link(self._parts.library, self._parts.signer, query.source_id, name, base_url=base_url)
        )

    async def attachment(self, request: Request) -> Response:
        return await attachments.image(
            self._parts.library,
            self._parts.signer,
            request.path_params["source_id"],
            request.path_params["attachment_name"],
            expires=request.query_params.get("expires", ""),
            signature=request.query_params.get("signature", ""),
        )

    async def openapi(self, _request: Request) -> Response:
        return JSONResponse(self._document)

    async def health(self, _request: Request) -> Response:
        return _json(Health())

    def _summary(self, record: SessionRecord) -> dict[str, JsonValue]:
        return summary_of(record, default_shared_access=self._behaviour.default_shared_access)


def _route(path: str, **endpoints: _Endpoint) -> Route:
    """One route for all methods of a path: with one for each, a 405 would name the methods of the first alone."""
    if "GET" in endpoints:
        endpoints["HEAD"] = endpoints["GET"]

    async def endpoint(request: Request) -> Response:
        return await endpoints[request.method](request)

    return Route(path, endpoint, methods=list(endpoints))


def _router(routes: list[Route]) -> Router:
    return Router(routes, redirect_slashes=False)


def _json(body: BaseModel) -> Response:
    return Response(body.model_dump_json(), media_type="application/json")
