"""What all routes and templates use."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, cast

from fastapi import Depends, Request
from fastapi.responses import HTMLResponse

from chat_sessions.core.errors import ConfigurationError
from chat_sessions.core.turn import Turn
from chat_sessions.session.backend import AsyncBackend
from chat_sessions.web.live.feed import Pace
from chat_sessions.web.live.sessions import LiveSessions
from chat_sessions.web.render.pages import render
from chat_sessions.web.render.remedies import remedy_for, status_for

__all__ = ["Context", "PageContext", "problem_page"]


@dataclass(frozen=True)
class PageContext:
    """The service, and what the page knows about it. See `create_app` for the fields."""

    backend: AsyncBackend
    name: str
    live: LiveSessions
    pace: Callable[[], Pace]
    indexes: Mapping[str, str] = field(default_factory=dict[str, str])
    interrupt: Callable[[str], Awaitable[object]] | None = None
    turn_views: Mapping[str, Callable[[Turn], object]] = field(default_factory=dict[str, "Callable[[Turn], object]"])
    index_name: Callable[[str], str] = str
    elsewhere: Callable[[Sequence[str]], str | None] | None = None
    rename: Callable[[str, str], Awaitable[object]] | None = None

    @property
    def takes_indexes(self) -> bool:
        """Whether the service has indexes at all."""
        return self.backend.index_ids != ()

    @property
    def chosen(self) -> tuple[str, ...]:
        """The indexes of a new session, unless others are chosen."""
        return self.backend.index_ids or tuple(self.indexes)[:10]

    def name_of(self, index_id: str) -> str:
        """Return the name to show for an index."""
        return self.indexes.get(index_id) or self.index_name(index_id)

    def is_elsewhere(self, index_ids: Sequence[str] | None) -> str | None:
        """Say how to continue a session of these indexes, if none of them can be asked here."""
        return self.elsewhere(index_ids) if self.elsewhere and index_ids else None

    def page(self, template: str, status: int = 200, **values: object) -> HTMLResponse:
        """Return a page."""
        return HTMLResponse(render(template, page=self, **values), status)


def _context_of(request: Request) -> PageContext:
    return cast("PageContext", request.app.state.page)


Context = Annotated[PageContext, Depends(_context_of)]


def problem_page(
    page: PageContext,
    error: Exception,
    *,
    status: int | None = None,
    remedy: str | None = None,
    was_reading: bool = False,
) -> HTMLResponse:
    """Return a page that shows an error and its remedy; `was_reading` if nothing was to be sent."""
    status = status or status_for(error)
    heading = {404: "Not found", 400: "This cannot be done", 405: "This cannot be done"}.get(
        status, "The service did not answer as it should"
    )
    if remedy is None:
        is_wrong = isinstance(error, ConfigurationError)
        remedy = "Go back and change it." if is_wrong else remedy_for(error, was_reading=was_reading)
    return page.page("problem.html", status, heading=heading, error=str(error), remedy=remedy)
