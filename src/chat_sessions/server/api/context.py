"""What the endpoints work with while the application is open."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, HTTPException, Request

from chat_sessions.server.api.links import LinkSigner
from chat_sessions.server.documents.library import Library
from chat_sessions.server.store.store import Store
from chat_sessions.server.turns.behaviour import Behaviour
from chat_sessions.server.turns.limits import Limits
from chat_sessions.server.turns.turns import Turns

__all__ = ["Context", "Opened"]


@dataclass(frozen=True, slots=True)
class Context:
    """The parts of an open application, from the start of its lifespan to the end."""

    store: Store
    library: Library
    turns: Turns
    signer: LinkSigner
    behaviour: Behaviour
    limits: Limits
    creating: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while a session is created, if their number is limited: two must not take the last free place."""


async def _opened(request: Request) -> Context:
    context: Context | None = request.app.state.context
    if context is None:
        raise HTTPException(503, "the server is not open; run the application with its lifespan")
    return context


Opened = Annotated[Context, Depends(_opened)]
"""A parameter of an endpoint: the open application. Refuses the request with 503 outside the lifespan."""
