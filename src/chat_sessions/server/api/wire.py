"""The bodies of requests and answers, as the API's documents have them."""

from __future__ import annotations

import json
from typing import Annotated, Literal, TypeVar
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, RootModel, StrictBool, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request

from chat_sessions.core.events import (
    Stop,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ToolCall,
    ToolResult,
    UserInput,
)
from chat_sessions.server.store.store import SessionRecord

__all__ = [
    "ATTACHMENT_PAGE",
    "NULLS",
    "SESSION_PAGE",
    "AttachmentInfo",
    "AttachmentLink",
    "AttachmentPage",
    "AttachmentQuery",
    "CreateSession",
    "HTTPValidationError",
    "Health",
    "IndexInfo",
    "IndexList",
    "InvalidRequest",
    "PageQuery",
    "Problem",
    "ScopeQuery",
    "SendMessage",
    "SessionBody",
    "SessionPageBody",
    "SessionSummaryBody",
    "SetTitle",
    "SourceQuery",
    "body_of",
    "page_token",
    "query_of",
    "summary_of",
]

NULLS = ("", "null")
SESSION_PAGE = 50
ATTACHMENT_PAGE = 20
_LARGEST_PAGE = 1000
# A position in hexadecimal, up to the largest integer of SQLite. All that fits the pattern is
# a token, so that an OpenAPI document can say what is one.
_POSITION = r"^[0-7][0-9a-f]{15}$"


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True)


def _null_if_empty(value: object) -> object:
    """A query has no null: HTTP libraries write one as nothing, or as the word."""
    return None if value in NULLS else value


_OptionalId = Annotated[UUID | None, BeforeValidator(_null_if_empty)]


class ScopeQuery(_Body):
    """Accepted and checked as the service does; this server is one project of one organisation."""

    project_id: _OptionalId = None
    organization_id: _OptionalId = None


class PageQuery(ScopeQuery):
    """Which page of a list. A `page_size` over 1,000 gives 1,000 items."""

    page_size: Annotated[Annotated[int, Field(ge=1)] | None, BeforeValidator(_null_if_empty)] = None
    page_token: Annotated[Annotated[str, Field(pattern=_POSITION)] | None, BeforeValidator(_null_if_empty)] = None

    @property
    def position(self) -> int | None:
        """The position in the list after which the page begins, None for its first page."""
        return None if self.page_token is None else int(self.page_token, 16)

    def size(self, default: int) -> int:
        """How many items the page holds at most."""
        return min(self.page_size or default, _LARGEST_PAGE)


class SourceQuery(ScopeQuery):
    """Whose attachment: a file's UUID or a directory file's id (`dfl-...`)."""

    source_id: str = Field(min_length=1)


class AttachmentQuery(SourceQuery, PageQuery):
    """Whose attachments, and which page of them."""


class CreateSession(_Body):
    """A new session. `index_ids` null: unbound until its first message."""

    index_ids: Annotated[list[str], Field(max_length=10)] | None = None
    shared_access: Literal["query", "read_only"] | None = None


class SendMessage(_Body):
    """One message of the user's."""

    index_ids: list[str] = Field(min_length=1, max_length=10)
    prompt: str = Field(min_length=1, max_length=1000)
    require_all_indexes: StrictBool = False


class SetTitle(_Body):
    """The message to make a title from."""

    first_message: str


class JobMetadataBody(_Body):
    """Usage and status of a session's last run; `duration_ms` in milliseconds."""

    total_input_tokens: int | None = None
    total_output_tokens: int | None = None
    turns: int | None = 1
    duration_ms: float | None = 0.0
    is_error: bool = False
    error: str | None = None
    export_config_ids: list[str] | None = None


class SessionSummaryBody(_Body):
    """A session without its events."""

    session_id: str = Field(examples=["ses-abc123"])
    last_updated_at: str = Field(description="UTC, without a zone", examples=["2026-04-22T12:34:41.342245"])
    generated_title: str | None
    index_ids: list[str] | None
    job_metadata: JobMetadataBody | None
    shared_access: Literal["query", "read_only"] | None


class SessionEvent(
    RootModel[
        Annotated[
            UserInput | ThinkingDelta | Thinking | TextDelta | Text | ToolCall | ToolResult | Stop,
            Field(discriminator="type"),
        ]
    ]
):
    """One event, told apart by its `type`."""


class SessionBody(SessionSummaryBody):
    """A session with its events, in the order in which they happened."""

    events: list[SessionEvent]


class SessionPageBody(_Body):
    """A page of sessions, the newest first."""

    items: list[SessionSummaryBody]
    next_page_token: str | None = None


class AttachmentInfo(_Body):
    """One attachment; `size` in bytes."""

    name: str
    size: int
    last_modified: str | None = None


class AttachmentLink(_Body):
    """A link that works without a key until `expires_at`."""

    url: str
    expires_at: str = Field(json_schema_extra={"format": "date-time"})
    form_fields: dict[str, str] | None = None


class AttachmentPage(_Body):
    """A page of a source's attachments."""

    items: list[AttachmentInfo]
    next_page_token: str | None = None


class Health(_Body):
    """The server is up."""

    status: Literal["ok"] = "ok"


class IndexInfo(_Body):
    """An index of this server."""

    index_id: str
    name: str


class IndexList(_Body):
    """All indexes of this server, in the order in which they were given."""

    items: list[IndexInfo]


class ValidationProblem(_Body):
    """One thing that is wrong with a request, and where."""

    loc: list[str | int]
    msg: str
    type: str
    input: JsonValue = None


class HTTPValidationError(_Body):
    """Everything that is wrong with a request."""

    detail: list[ValidationProblem]


class Problem(_Body):
    """Why a request was refused."""

    detail: str


class InvalidRequest(Exception):
    """The request is refused with 422; `problems` is the body's `detail`."""

    def __init__(self, problems: list[dict[str, JsonValue]]) -> None:
        super().__init__(problems)
        self.problems = problems

    @classmethod
    def at(cls, *loc: str | int, msg: str, type: str, input: JsonValue) -> InvalidRequest:
        """A refusal with one problem."""
        return cls([{"type": type, "loc": list(loc), "msg": msg, "input": input}])


_Model = TypeVar("_Model", bound=BaseModel)


def query_of(request: Request, model: type[_Model]) -> _Model:
    """The request's query. Raises `InvalidRequest`."""
    try:
        return model.model_validate(dict(request.query_params))
    except ValidationError as error:
        raise _invalid(error, "query") from None


async def body_of(request: Request, model: type[_Model], *, limit: int, optional: bool = False) -> _Model:
    """The request's JSON body; an absent or null one is empty if `optional`.

    Raises `InvalidRequest`, and `HTTPException` 413 for a body over `limit` bytes.
    """
    too_large = HTTPException(413, f"the body is larger than {limit} bytes")
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limit:
        raise too_large
    received = bytearray()
    async for chunk in request.stream():
        received += chunk
        if len(received) > limit:
            raise too_large
    try:
        body = received.decode().strip()
    except UnicodeDecodeError:
        raise InvalidRequest.at("body", msg="The body is not UTF-8", type="json_invalid", input=None) from None
    if optional and body in ("", "null"):
        return model()
    if not body:
        raise InvalidRequest.at("body", msg="Field required", type="missing", input=None)
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise _invalid(error, "body") from None


def _invalid(error: ValidationError, where: str) -> InvalidRequest:
    # By way of JSON: what was sent may hold values that an answer cannot. NaN and the infinities,
    # which pydantic reads and writes and no JSON has, come back by name.
    problems = json.loads(error.json(include_url=False, include_context=False), parse_constant=str)
    return InvalidRequest([{**problem, "loc": [where, *problem["loc"]]} for problem in problems])


def page_token(position: int) -> str:
    """The token of the page that begins after a position."""
    return f"{position:016x}"


def summary_of(record: SessionRecord, *, default_shared_access: str | None) -> dict[str, JsonValue]:
    """The body of a session's summary."""
    return {
        "session_id": record.session_id,
        "last_updated_at": record.last_updated_at,
        "generated_title": record.generated_title,
        "index_ids": list[JsonValue](record.index_ids) if record.index_ids is not None else None,
        "job_metadata": record.job_metadata,
        "shared_access": record.shared_access or default_shared_access,
    }
