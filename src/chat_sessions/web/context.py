"""What every route is given."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
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
    """The service, and what the page knows of it. `indexes` are names by index id, of those that can be chosen;
    `turn_views` say what else sees of a turn."""

    backend: AsyncBackend
    name: str
    live: LiveSessions
    pace: Callable[[], Pace]
    indexes: Mapping[str, str] = field(default_factory=dict[str, str])
    interrupt: Callable[[str], Awaitable[object]] | None = None
    turn_views: Mapping[str, Callable[[Turn], object]] = field(default_factory=dict[str, "Callable[[Turn], object]"])

    @property
    def takes_indexes(self) -> bool:
        """Whether the service has indexes at all."""
        return self.backend.index_ids != ()

    @property
    def chosen(self) -> tuple[str, ...]:
        """The indexes of a new session, unless others are chosen."""
        return self.backend.index_ids or tuple(self.indexes)[:10]

    def index_name(self, index_id: str) -> str:
        """The index as people know it."""
        return self.indexes.get(index_id, index_id)

    def page(self, template: str, status: int = 200, **values: object) -> HTMLResponse:
        """Return a page."""
        return HTMLResponse(render(template, page=self, **values), status)


def _context_of(request: Request) -> PageContext:
    return cast("PageContext", request.app.state.page)


Context = Annotated[PageContext, Depends(_context_of)]


def problem_page(page: PageContext, error: Exception) -> HTMLResponse:
    """Return a page that shows an error, and what to do."""
    status = status_for(error)
    heading = {404: "Not found", 400: "This cannot be done"}.get(status, "The service did not answer as it should")
    remedy = remedy_for(error) if not isinstance(error, ConfigurationError) else "Go back and change it."
    return page.page("problem.html", status, heading=heading, error=str(error), remedy=remedy)
