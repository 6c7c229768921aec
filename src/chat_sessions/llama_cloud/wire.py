"""The API's requests as values, and its answers as models or errors. No I/O.

Endpoints: `/api/v1/chat` and `/api/v1/beta/attachments` of the platform's OpenAPI document.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import JsonValue, SecretStr

from chat_sessions.core.errors import APIStatusError
from chat_sessions.core.models import ImageAttachment, SessionPage, SessionSummary, TitledSummary
from chat_sessions.http.calls import Call, check_page_size, path_segment, read_model
from chat_sessions.session.backend import TurnRequest

__all__ = [
    "attachment_call",
    "create_call",
    "delete_call",
    "is_route_gone",
    "list_call",
    "read_page",
    "retrieve_call",
    "summary_call",
    "title_call",
    "titled",
    "turn_call",
]


def _session_path(session_id: str, rest: str = "") -> str:
    return f"/api/v1/chat/{path_segment(session_id, 'session id')}{rest}"


def create_call(index_ids: Sequence[str] | None, shared_access: str | None) -> Call:
    """Create a session; indexes given here are locked once its first message has been sent."""
    body: dict[str, JsonValue] = {}
    if index_ids is not None:
        body["index_ids"] = list(index_ids)
    if shared_access is not None:
        body["shared_access"] = shared_access
    return Call("POST", "/api/v1/chat", may_repeat=False, body=body)


def list_call(page_size: int | None, page_token: str | None) -> Call:
    """One page of the project's sessions."""
    check_page_size(page_size)
    params: dict[str, str | int] = {}
    if page_size is not None:
        params["page_size"] = page_size
    if page_token is not None:
        params["page_token"] = page_token
    return Call("GET", "/api/v1/chat", may_repeat=True, params=params)


def read_page(call: Call, content: bytes, secrets: Sequence[SecretStr]) -> tuple[Sequence[SessionSummary], str | None]:
    """The sessions of a page, and the token of the next."""
    page = read_model(call, content, SessionPage, secrets=secrets)
    return page.items, page.next_page_token


def retrieve_call(session_id: str) -> Call:
    """The session with its events."""
    return Call("GET", _session_path(session_id), may_repeat=True)


def summary_call(session_id: str) -> Call:
    """The session without its events."""
    return Call("GET", _session_path(session_id, "/summary"), may_repeat=True)


def title_call(session_id: str, first_message: str) -> Call:
    """Generate a title. Published in May 2026 for a week; later API documents lack it."""
    return Call("POST", _session_path(session_id, "/title"), may_repeat=True, body={"first_message": first_message})


def delete_call(session_id: str) -> Call:
    """Delete the session."""
    return Call("DELETE", _session_path(session_id), may_repeat=True)


def turn_call(request: TurnRequest) -> Call:
    """Run one turn. The path keeps the history, so a second post is a second turn."""
    body: dict[str, JsonValue] = {"index_ids": list(request.index_ids), "prompt": request.prompt}
    if request.require_all_indexes:
        # Sent only when asked for: servers older than the field would refuse or ignore it.
        body["require_all_indexes"] = True
    return Call("POST", _session_path(request.session_id, "/messages/stream"), may_repeat=False, body=body)


def attachment_call(attachment: ImageAttachment) -> Call:
    """A link to a page screenshot. Names hold slashes; they go as `%2F`, as the official SDK sends them."""
    path = f"/api/v1/beta/attachments/{path_segment(attachment.attachment_name, 'attachment name')}"
    return Call("GET", path, may_repeat=True, params={"source_id": attachment.source_id})


def is_route_gone(error: APIStatusError) -> bool:
    """Whether the service may not have this route at all."""
    return error.status_code in (404, 405)


def titled(summary: SessionSummary, *, automatic: bool) -> TitledSummary:
    """Add `title_origin` to a summary."""
    return TitledSummary.model_validate(
        {**summary.model_dump(), "title_origin": "automatic" if automatic else "requested"}
    )
