"""The agent server's requests as values, and its answers read. No I/O.

Endpoints: `/api/conversations` of the server's own OpenAPI document (`GET /openapi.json`).
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Literal, TypeAlias

import httpx
from pydantic import JsonValue, SecretStr, TypeAdapter, ValidationError

from chat_sessions.core.errors import APIStatusError, InternalServerError, ProtocolError
from chat_sessions.core.models import SessionSummary
from chat_sessions.http.calls import Call, check_page_size, path_segment, quoted, read_error
from chat_sessions.openhands.events.history import summary_of
from chat_sessions.openhands.events.json_values import JsonObject, as_list, as_object, as_text

__all__ = [
    "HINTS",
    "PAGE_SIZE",
    "Interruption",
    "agent_profile_call",
    "agent_profile_of",
    "agent_profiles_call",
    "ask_call",
    "confirmation_call",
    "conversation_path",
    "create_call",
    "delete_call",
    "events_call",
    "info_call",
    "interrupt_call",
    "is_absence",
    "is_route_gone",
    "is_route_missing",
    "list_call",
    "pause_call",
    "profile_id",
    "profile_in",
    "profile_name",
    "profile_of",
    "read_conversations",
    "read_events",
    "read_object",
    "read_summary",
    "refusal",
    "rename_call",
    "run_call",
    "send_call",
    "server_call",
    "switch_call",
    "title_call",
]

# How many events or conversations the server returns at once at most.
PAGE_SIZE = 100

Interruption: TypeAlias = Literal["interrupted", "paused"]
"""How a run was ended: at once, or after the current model call."""

_ROOT = "/api/conversations"
# How a server's answer ends when it cannot write its refusal as JSON.
_UNTOLD = "Error is not JSON serializable"
# How much of an error's reason is quoted, in characters.
_QUOTE_LIMIT = 300

# Advice for refusals that mean something particular on this server.
HINTS = {
    401: "the server's session key was refused: check api_key= (OPENHANDS_API_KEY)",
    404: "not found: check the id, and that base_url is the address of an OpenHands Agent Server, without /api",
}

_object: TypeAdapter[JsonObject] = TypeAdapter(JsonObject)


def conversation_path(session_id: str, rest: str = "") -> str:
    """Return the path of a conversation, or of a part of it."""
    return f"{_ROOT}/{path_segment(session_id, 'session id')}{rest}"


def create_call(body: Mapping[str, JsonValue]) -> Call:
    """Create a conversation. The body holds its id; if that exists, the server returns the conversation as it is."""
    return Call("POST", _ROOT, may_repeat=True, body=body)


def list_call(page_size: int | None, page_id: str | None) -> Call:
    """One page of the server's conversations, the newest first."""
    check_page_size(page_size)
    params: dict[str, str | int] = {"limit": min(page_size or PAGE_SIZE, PAGE_SIZE)}
    if page_id is not None:
        params["page_id"] = page_id
    return Call("GET", f"{_ROOT}/search", may_repeat=True, params=params)


def info_call(session_id: str) -> Call:
    """The conversation without its events."""
    return Call("GET", conversation_path(session_id), may_repeat=True)


def events_call(session_id: str, page_id: str | None) -> Call:
    """One page of the conversation's events, from `page_id` on, that event included."""
    params: dict[str, str | int] = {"limit": PAGE_SIZE}
    if page_id is not None:
        params["page_id"] = page_id
    return Call("GET", conversation_path(session_id, "/events/search"), may_repeat=True, params=params)


def send_call(session_id: str, prompt: str, image_urls: Sequence[str] = ()) -> Call:
    """Send a message and run the agent. No id comes back, and none can be sent: a second post is a second message."""
    content: list[JsonValue] = [{"type": "text", "text": prompt}] if prompt.strip() or not image_urls else []
    if image_urls:
        content.append({"type": "image", "image_urls": list(image_urls)})
    body: dict[str, JsonValue] = {"role": "user", "content": content, "run": True}
    return Call("POST", conversation_path(session_id, "/events"), may_repeat=False, body=body)


def run_call(session_id: str) -> Call:
    """Let the agent continue. While it runs, this is refused with a 409."""
    return Call("POST", conversation_path(session_id, "/run"), may_repeat=False)


def interrupt_call(session_id: str) -> Call:
    """End the run at once, the model's call included. Since server 1.23."""
    return Call("POST", conversation_path(session_id, "/interrupt"), may_repeat=True)


def pause_call(session_id: str) -> Call:
    """End the run after the current model call."""
    return Call("POST", conversation_path(session_id, "/pause"), may_repeat=True)


def confirmation_call(session_id: str, *, accept: bool, reason: str) -> Call:
    """Allow or refuse the actions that wait."""
    body: dict[str, JsonValue] = {"accept": accept, "reason": reason}
    return Call("POST", conversation_path(session_id, "/events/respond_to_confirmation"), may_repeat=False, body=body)


def title_call(session_id: str, max_length: int, llm: Mapping[str, JsonValue] | None) -> Call:
    """Generate a title. The route was removed in server 1.19."""
    body: dict[str, JsonValue] = {"max_length": max_length}
    if llm is not None:
        body["llm"] = dict(llm)
    return Call("POST", conversation_path(session_id, "/generate_title"), may_repeat=True, body=body)


def ask_call(session_id: str, question: str) -> Call:
    """Ask the agent something that does not become part of the conversation."""
    return Call("POST", conversation_path(session_id, "/ask_agent"), may_repeat=True, body={"question": question})


def rename_call(session_id: str, title: str) -> Call:
    """Give the conversation this title."""
    return Call("PATCH", conversation_path(session_id), may_repeat=True, body={"title": title})


def delete_call(session_id: str) -> Call:
    """Delete the conversation; a run of it is ended first."""
    return Call("DELETE", conversation_path(session_id), may_repeat=True)


def server_call() -> Call:
    """The server's version and abilities."""
    return Call("GET", "/server_info", may_repeat=True)


def agent_profile_call(name: str) -> Call:
    """An agent profile of the server. Old servers (1.18) have none."""
    return Call("GET", f"/api/agent-profiles/{path_segment(name, 'name of the agent profile')}", may_repeat=True)


def profile_name(body: JsonObject) -> str | None:
    """The name in a create's body where a profile's id must be; None for an id, and without a profile."""
    given = body.get("agent_profile_id")
    if not isinstance(given, str):
        return None
    try:
        uuid.UUID(given)
    except ValueError:
        return given
    return None


def profile_id(call: Call, answer: JsonObject) -> str:
    """The id of the profile in an answer. Raises `ProtocolError` if it has none."""
    found = as_text(as_object(answer.get("profile")).get("id"))
    if not found:
        raise ProtocolError(f"{call} answered with an agent profile without an id")
    return found


def switch_call(session_id: str, profile: str) -> Call:
    """Give the conversation's agent the model of an LLM profile of the server."""
    return Call(
        "POST", conversation_path(session_id, "/switch_profile"), may_repeat=True, body={"profile_name": profile}
    )


def agent_profiles_call() -> Call:
    """The agent profiles of the server."""
    return Call("GET", "/api/agent-profiles", may_repeat=True)


def agent_profile_of(info: JsonObject) -> str | None:
    """The id of the agent profile that a conversation began with, or None."""
    return as_text(as_object(info.get("launched_agent_profile")).get("agent_profile_id")) or None


def profile_in(answer: JsonObject, agent_profile_id: str) -> str | None:
    """The LLM profile of the agent profile with this id among those in an answer, or None."""
    for profile in map(as_object, as_list(answer.get("profiles"))):
        if profile.get("id") == agent_profile_id:
            return as_text(profile.get("llm_profile_ref")) or None
    return None


def profile_of(llm: JsonObject) -> str | None:
    """The LLM profile that a conversation's model comes from, which its `usage_id` names; None for no profile."""
    kind, _, name = as_text(llm.get("usage_id")).partition(":")
    return name if kind == "profile" and name else None


_NO_FILE = "there is no such file on the server: a path is relative to the agent's folder, or absolute"
_NO_EVENT = "there is no such event: the ids are those of events()"
_NO_CONVERSATION = "the server has no such conversation: check the id"
_NOTHING = "the server does not have what was named"


def is_route_gone(error: APIStatusError) -> bool:
    """Whether the server may not have this route at all: an unknown conversation looks the same."""
    return error.status_code in (404, 405)


def is_route_missing(error: APIStatusError) -> bool:
    """Whether the server lacks this route. An unknown conversation may get the same answer."""
    return is_route_gone(error) and error.body in ({"detail": "Not Found"}, {"detail": "Method Not Allowed"})


def is_absence(error: APIStatusError) -> bool:
    """Whether a delete may have found nothing to delete; 1.18.1 answers 400 then."""
    return error.status_code in (400, 404)


def refusal(
    call: Call, status_code: int, headers: httpx.Headers, content: bytes, *, secrets: Sequence[SecretStr] = ()
) -> APIStatusError:
    """Return the error for an answer that is not a success, with the exception that the server names for a 500.

    `secrets` are not repeated in it: the server sends back what it refuses of a body, a model's key included.
    """
    error = read_error(call, status_code, headers, content, secrets=secrets, hint=HINTS.get(status_code))
    detail = as_text(as_object(error.body).get("detail"))
    if status_code == 404 and detail and not is_route_missing(error):
        # It says what it does not have: the address is right.
        error = read_error(call, status_code, headers, content, secrets=secrets, hint=_missing(call, detail))
    if call.path.startswith("/api/file/") and isinstance(error, InternalServerError):
        hint = "the server could not read or write the file"
        error = read_error(call, status_code, headers, content, secrets=secrets, hint=hint)
    if said := as_text(as_object(error.body).get("exception")):
        # 1.18.1 fails on the error with which it refuses a request.
        advice = "; it refused the request but could not report why: check the arguments" if _UNTOLD in said else ""
        error.args = (f"{error.args[0]}: {said[:_QUOTE_LIMIT]}{advice}",)
        if isinstance(error, InternalServerError):
            # The same request would fail in the same way.
            error.may_pass = False
    return error


def _missing(call: Call, detail: str) -> str:
    """Return what is not there, by what the server says of it."""
    if call.path.startswith("/api/file/"):
        return _NO_FILE
    if "event_id" in detail:
        return _NO_EVENT
    return _NO_CONVERSATION if "conversation" in detail.lower() else _NOTHING


def read_object(call: Call, content: bytes, *, secrets: Sequence[SecretStr] = ()) -> JsonObject:
    """Return the answer's JSON object. Raises `ProtocolError` for anything else, without the `secrets`."""
    with suppress(ValidationError):
        return _object.validate_json(content)
    # No cause: the validation's own error repeats its input.
    raise ProtocolError(
        f"{call} answered with a body that is not a JSON object; is base_url an OpenHands Agent Server? It begins "
        + quoted(content, secrets)
    )


def read_summary(call: Call, info: JsonObject) -> SessionSummary:
    """Return a conversation as a summary. Raises `ProtocolError` for anything else."""
    try:
        return summary_of(info)
    except ValidationError as error:
        raise ProtocolError(
            f"{call} answered with an object that is not a conversation: {error.errors()[0]['loc']}"
        ) from error


def read_conversations(call: Call, page: JsonObject) -> tuple[Sequence[SessionSummary], str | None]:
    """Return the conversations of a page, and the id of the next page."""
    return [read_summary(call, as_object(item)) for item in as_list(page.get("items"))], _next_page(page)


def read_events(page: JsonObject) -> tuple[Sequence[JsonObject], str | None]:
    """Return the events of a page, and the id of the next page."""
    return [as_object(item) for item in as_list(page.get("items"))], _next_page(page)


def _next_page(page: JsonObject) -> str | None:
    return as_text(page.get("next_page_id")) or None
