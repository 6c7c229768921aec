"""The endpoints of sessions: list, create, retrieve, summarise, retitle and delete them."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import Annotated

from fastapi import HTTPException, Query, Response

from chat_sessions.server.api.context import Context, Opened
from chat_sessions.server.api.wire import (
    SESSION_PAGE,
    CreateSession,
    PageQuery,
    ScopeQuery,
    SessionPageBody,
    SessionSummaryBody,
    SetTitle,
    page_token,
)
from chat_sessions.server.store.records import SessionRecord
from chat_sessions.server.turns.segments import hidden_in_history

__all__ = ["create_session", "delete_session", "list_sessions", "retrieve_session", "session_summary", "set_title"]

_Scope = Annotated[ScopeQuery, Query()]


async def list_sessions(chat: Opened, query: Annotated[PageQuery, Query()]) -> SessionPageBody:
    """Return a page of sessions."""
    size = query.size(SESSION_PAGE)
    records = await chat.store.sessions(limit=size + 1, before=query.position)
    return SessionPageBody(
        items=[_summary(chat, record) for record in records[:size]],
        next_page_token=page_token(records[size - 1].number) if len(records) > size else None,
    )


async def create_session(chat: Opened, _scope: _Scope, body: CreateSession | None = None) -> SessionSummaryBody:
    """Create a session, optionally bound to indexes."""
    body = body or CreateSession()
    most = chat.limits.sessions
    async with nullcontext() if most is None else chat.creating:
        if most is not None and await chat.store.count_sessions() >= most:
            # Not 429 or 409: clients retry those, and time alone makes no room.
            raise HTTPException(403, f"this server's limit of {most:,} sessions is reached; delete one you do not need")
        record = await chat.store.create_session(index_ids=body.index_ids, shared_access=body.shared_access)
    return _summary(chat, record)


async def retrieve_session(session_id: str, chat: Opened, _scope: _Scope) -> Response:
    """Return a session with its events."""
    record = await chat.store.session(session_id)
    events = await chat.store.events(
        session_id,
        without=hidden_in_history(chat.behaviour),
        running=chat.behaviour.history_timing == "live",
    )
    # Stored events are JSON already, and go out as they were streamed.
    summary = _summary(chat, record).model_dump_json()
    body = f'{summary[:-1]},"events":[{",".join(event.body for event in events)}]}}'
    return Response(body, media_type="application/json")


async def delete_session(session_id: str, chat: Opened, _scope: _Scope) -> None:
    """Delete a session, and end the turn that it is answering."""
    await chat.turns.delete(session_id)


async def session_summary(session_id: str, chat: Opened, _scope: _Scope) -> SessionSummaryBody:
    """Return a session without its events."""
    return _summary(chat, await chat.store.session(session_id))


async def set_title(session_id: str, chat: Opened, _scope: _Scope, body: SetTitle) -> SessionSummaryBody:
    """Make a session's title from its first message."""
    return _summary(chat, await chat.turns.titles.set(session_id, body.first_message))


def _summary(chat: Context, record: SessionRecord) -> SessionSummaryBody:
    shared_access = record.shared_access or chat.behaviour.default_shared_access
    return SessionSummaryBody.model_validate(replace(record, shared_access=shared_access))
