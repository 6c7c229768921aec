"""The bodies and queries of the API, as the service's documents describe them."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, RootModel, StrictBool, WithJsonSchema

from chat_sessions.core.events import Stop, Text, TextDelta, Thinking, ThinkingDelta, ToolCall, ToolResult, UserInput

__all__ = [
    "ATTACHMENT_PAGE",
    "SESSION_PAGE",
    "AttachmentInfo",
    "AttachmentLink",
    "AttachmentPage",
    "AttachmentQuery",
    "CreateSession",
    "Health",
    "IndexInfo",
    "IndexList",
    "LeftOut",
    "PageQuery",
    "Problem",
    "ScopeQuery",
    "SendMessage",
    "SessionBody",
    "SessionEvent",
    "SessionPageBody",
    "SessionSummaryBody",
    "SetTitle",
    "SourceQuery",
    "page_token",
]

SESSION_PAGE = 50
ATTACHMENT_PAGE = 20
_LARGEST_PAGE = 1000
_NULLS = ("", "null")
# A position in hexadecimal, up to SQLite's largest integer. Everything that matches is a token, so the OpenAPI
# document can describe tokens completely.
_POSITION = r"^[0-7][0-9a-f]{15}$"


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True)


def _or_null(**schema: Any) -> WithJsonSchema:
    return WithJsonSchema({"anyOf": [schema, {"enum": list(_NULLS)}]})


# HTTP libraries write null in a query as an empty value or as "null".
_Null = BeforeValidator(lambda value: None if value in _NULLS else value)
_OptionalId = Annotated[UUID | None, _Null, _or_null(type="string", format="uuid")]
_OptionalSize = Annotated[Annotated[int, Field(ge=1)] | None, _Null, _or_null(type="integer", minimum=1)]
_OptionalToken = Annotated[
    Annotated[str, Field(pattern=_POSITION)] | None, _Null, _or_null(type="string", pattern=_POSITION)
]


class ScopeQuery(_Body):
    """The project and organisation, checked like the service does. This server is a single project."""

    project_id: _OptionalId = None
    organization_id: _OptionalId = None


class PageQuery(ScopeQuery):
    """Which page of a list. A `page_size` over 1,000 counts as 1,000."""

    page_size: _OptionalSize = None
    page_token: _OptionalToken = None

    @property
    def position(self) -> int | None:
        """The position in the list after which the page begins, None for the first page."""
        return None if self.page_token is None else int(self.page_token, 16)

    def size(self, default: int) -> int:
        """Return how many items the page holds at most."""
        return min(self.page_size or default, _LARGEST_PAGE)


class SourceQuery(ScopeQuery):
    """The source of an attachment: a file's UUID or a directory file's id (`dfl-...`)."""

    source_id: str = Field(min_length=1)


class AttachmentQuery(SourceQuery, PageQuery):
    """The source of the attachments, and which page of them."""


class CreateSession(_Body):
    """A new session. With `index_ids` null it is unbound until its first message."""

    index_ids: list[str] | None = Field(default=None, max_length=10)
    shared_access: Literal["query", "read_only"] | None = None


class SendMessage(_Body):
    """One message from the user."""

    index_ids: list[str] = Field(min_length=1, max_length=10)
    prompt: str = Field(min_length=1, max_length=1000)
    require_all_indexes: StrictBool = False


class SetTitle(_Body):
    """The message to make a title from."""

    first_message: str


class JobMetadataBody(_Body):
    """Usage and status of a session's last run; `duration_ms` is in milliseconds."""

    total_input_tokens: int | None = None
    total_output_tokens: int | None = None
    turns: int | None = 1
    duration_ms: float | None = 0.0
    is_error: bool = False
    error: str | None = None
    export_config_ids: list[str] | None = None


class SessionSummaryBody(_Body):
    """A session without its events; can be made from a `SessionRecord`."""

    model_config = ConfigDict(from_attributes=True)

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
    """One event; `type` tells which."""


class SessionBody(SessionSummaryBody):
    """A session with its events, in the order in which they happened."""

    events: list[SessionEvent]


class SessionPageBody(_Body):
    """A page of sessions, the newest first."""

    items: list[SessionSummaryBody]
    next_page_token: str | None = None


class AttachmentInfo(_Body):
    """One attachment; `size` is in bytes."""

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


class LeftOut(_Body):
    """A file that could not be read, and why."""

    file_name: str
    reason: str


class IndexInfo(_Body):
    """An index of this server: how many documents it has, and which files could not be read."""

    index_id: str
    name: str
    documents: int
    left_out: list[LeftOut]
    notes: list[str]


class IndexList(_Body):
    """All indexes of this server, in the order given."""

    items: list[IndexInfo]


class Problem(_Body):
    """Why a request was refused."""

    detail: str


def page_token(position: int) -> str:
    """Return the token of the page that begins after a position."""
    return f"{position:016x}"
