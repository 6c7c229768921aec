"""The OpenAPI 3.1 document of the server, from the models that read and write its bodies."""

from __future__ import annotations

from typing import TypeAlias

from pydantic import BaseModel, JsonValue
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from chat_sessions.server.api.wire import (
    NULLS,
    AttachmentLink,
    AttachmentPage,
    AttachmentQuery,
    CreateSession,
    Health,
    HTTPValidationError,
    IndexList,
    PageQuery,
    Problem,
    ScopeQuery,
    SendMessage,
    SessionBody,
    SessionPageBody,
    SessionSummaryBody,
    SetTitle,
    SourceQuery,
)
from chat_sessions.server.turns.limits import Limits

__all__ = ["document"]

_Json: TypeAlias = dict[str, JsonValue]

_REFUSALS: dict[int, tuple[str, type[BaseModel]]] = {
    401: ("The key is missing or wrong", Problem),
    403: ("The link has expired or is not complete; the store has no room for another session", Problem),
    404: ("Not found", Problem),
    409: ("The session is answering another message", Problem),
    413: ("The body is too large", Problem),
    422: ("The request's content is refused", HTTPValidationError),
    429: ("Too much at once; `Retry-After` says in how many seconds to send it again", Problem),
    503: ("The server is shutting down", Problem),
}
_MODELS: tuple[tuple[type[BaseModel], JsonSchemaMode], ...] = (
    (CreateSession, "validation"),
    (SendMessage, "validation"),
    (SetTitle, "validation"),
    (AttachmentLink, "serialization"),
    (AttachmentPage, "serialization"),
    (HTTPValidationError, "serialization"),
    (Health, "serialization"),
    (IndexList, "serialization"),
    (Problem, "serialization"),
    (SessionBody, "serialization"),
    (SessionPageBody, "serialization"),
    (SessionSummaryBody, "serialization"),
)
# What a body other than JSON holds. For a stream it is one of its events.
_OTHER_BODIES: dict[str, JsonValue] = {
    "image/*": {"type": "string", "format": "binary"},
    "text/event-stream": {
        "type": "object",
        "required": ["data"],
        "properties": {
            "event": {"type": "string"},
            "id": {"type": "string"},
            "data": {
                "type": "string",
                "description": "One event of the turn as JSON, in one line; `stop` is the last",
                "contentMediaType": "application/json",
                "contentSchema": {"$ref": "#/components/schemas/SessionEvent"},
            },
        },
    },
}


def document(*, title_route: bool, limits: Limits | None = None) -> _Json:
    """The document as a JSON object; `title_route` says whether the title route is in it.

    What only a limit refuses is in it where there is that limit.
    """
    limits = limits or Limits()
    full = () if limits.sessions is None else (403,)
    busy = () if limits.running_turns is None else (429,)
    session: list[JsonValue] = [_path("session_id")]
    paths: dict[str, JsonValue] = {
        "/api/v1/chat": {
            "get": _operation("list_sessions", 200, SessionPageBody, query=PageQuery),
            "post": _operation(
                "create_session", 201, SessionSummaryBody, query=ScopeQuery, body=CreateSession, refusals=full
            ),
        },
        "/api/v1/chat/{session_id}": {
            "parameters": session,
            "get": _operation("retrieve_session", 200, SessionBody, query=ScopeQuery, refusals=(404,)),
            "delete": _operation("delete_session", 204, None, query=ScopeQuery, refusals=(404,)),
        },
        "/api/v1/chat/{session_id}/summary": {
            "parameters": session,
            "get": _operation("session_summary", 200, SessionSummaryBody, query=ScopeQuery, refusals=(404,)),
        },
        "/api/v1/chat/{session_id}/messages/stream": {
            "parameters": session,
            "post": _operation(
                "send_message",
                200,
                "text/event-stream",
                query=ScopeQuery,
                body=SendMessage,
                refusals=(404, 409, 503, *busy),
            ),
        },
        "/api/v1/indexes": {"get": _operation("list_indexes", 200, IndexList, query=ScopeQuery)},
        "/api/v1/beta/attachments": {
            "get": _operation("list_attachments", 200, AttachmentPage, query=AttachmentQuery, refusals=(404,)),
        },
        "/api/v1/beta/attachments/{attachment_name}": {
            "parameters": [_path("attachment_name")],
            "get": _operation("attachment_link", 200, AttachmentLink, query=SourceQuery, refusals=(404,)),
        },
        "/attachments/{source_id}/{attachment_name}": {
            "parameters": [_path("source_id"), _path("attachment_name"), _query("expires"), _query("signature")],
            "get": _operation("attachment", 200, "image/*", refusals=(403, 404), key=False),
        },
        "/health": {"get": _operation("health", 200, Health, key=False)},
    }
    if title_route:
        paths["/api/v1/chat/{session_id}/title"] = {
            "parameters": session,
            "post": _operation("set_title", 200, SessionSummaryBody, query=ScopeQuery, body=SetTitle, refusals=(404,)),
        }
    if limits.requests_per_second is not None:
        for path, operations in paths.items():
            if path != "/health" and isinstance(operations, dict):
                for method in operations.keys() & {"get", "post", "delete"}:
                    _declare(operations[method], 429)
    _, schemas = models_json_schema(_MODELS, ref_template="#/components/schemas/{model}")
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "chat-sessions local server",
            "version": "1",
            "description": "The LlamaCloud Chat API, over indexes on this machine.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas["$defs"],
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(
    name: str,
    status: int,
    answer: type[BaseModel] | str | None,
    *,
    query: type[BaseModel] | None = None,
    body: type[BaseModel] | None = None,
    refusals: tuple[int, ...] = (),
    key: bool = True,
) -> _Json:
    """One operation; `answer` is the model of its body, a media type other than JSON, or None for no body."""
    success: _Json = {"description": "Success"}
    if isinstance(answer, str):
        success["content"] = {answer: {"schema": _OTHER_BODIES[answer]}}
    elif answer is not None:
        success["content"] = _json_content(answer)
    declared = {*refusals, *((401,) if key else ()), *((422,) if query else ()), *((413,) if body else ())}
    operation: _Json = {"operationId": name, "responses": {str(status): success}}
    for refusal in sorted(declared):
        _declare(operation, refusal)
    if key:
        operation["security"] = [{"key": []}]
    if query is not None:
        operation["parameters"] = _query_parameters(query)
    if body is not None:
        required = any(field.is_required() for field in body.model_fields.values())
        schema: _Json = {"$ref": f"#/components/schemas/{body.__name__}"}
        # The body of a model without required fields may be left out, or be null.
        content: _Json = {"schema": schema if required else {"anyOf": [schema, {"type": "null"}]}}
        operation["requestBody"] = {"required": required, "content": {"application/json": content}}
    return operation


def _declare(operation: JsonValue, refusal: int) -> None:
    """Add a refusal to the answers of an operation."""
    description, model = _REFUSALS[refusal]
    response: _Json = {"description": description, "content": _json_content(model)}
    if refusal == 429:
        response["headers"] = {"Retry-After": {"description": "Seconds", "schema": {"type": "integer", "minimum": 1}}}
    if isinstance(operation, dict) and isinstance(responses := operation["responses"], dict):
        responses[str(refusal)] = response


def _json_content(model: type[BaseModel]) -> _Json:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}}}


def _query_parameters(query: type[BaseModel]) -> list[JsonValue]:
    properties = query.model_json_schema()["properties"]
    parameters: list[JsonValue] = []
    for name, field in query.model_fields.items():
        schema: _Json = properties[name]
        if "anyOf" in schema:
            value = next(variant for variant in properties[name]["anyOf"] if variant != {"type": "null"})
            schema = {"anyOf": [value, {"enum": list[JsonValue](NULLS)}]}
        parameters.append({"name": name, "in": "query", "required": field.is_required(), "schema": schema})
    return parameters


def _path(name: str) -> _Json:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}


def _query(name: str) -> _Json:
    return {"name": name, "in": "query", "required": True, "schema": {"type": "string"}}
