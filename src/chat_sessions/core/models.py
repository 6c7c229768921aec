"""What a service says about its sessions: summaries, whole sessions, usage, attachments.

Field names are this package's own; the wire's names are read and written by alias.
Fields that a service adds later are kept on the object.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Literal, cast

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    SerializerFunctionWrapHandler,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_serializer,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

__all__ = [
    "ImageAttachment",
    "JobMetadata",
    "PresignedUrl",
    "SessionPage",
    "SessionSummary",
    "SparseModel",
    "TitledSummary",
    "Usage",
    "WireModel",
]


def _in_utc(value: datetime) -> datetime:
    """An aware datetime; the documented example has no zone, so a naive one is read as UTC."""
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value


def _if_readable(value: object, read: ValidatorFunctionWrapHandler) -> Any:
    """Drop what cannot be read of an optional part, instead of failing the whole session."""
    try:
        return read(value)
    except ValidationError as error:
        broken = {part for item in error.errors() for part in item["loc"]}
    if not isinstance(value, dict):
        return None
    given = cast("dict[str, object]", value)
    try:
        return read({name: field for name, field in given.items() if name not in broken})
    except ValidationError:
        return None


def _time_if_readable(value: object, read: ValidatorFunctionWrapHandler) -> Any:
    """Like `_if_readable`, but fall back to the Unix epoch, so that sessions can still be sorted."""
    try:
        return read(value)
    except (ValidationError, OverflowError):
        return _NO_TIME


_NO_TIME = datetime.fromtimestamp(0, UTC)
# What an empty field holds. Not 0, which is a value that the service reported.
_NOTHING: tuple[object, ...] = (None, (), [])
Timestamp = Annotated[datetime, AfterValidator(_in_utc)]


class WireModel(BaseModel):
    """A frozen value that keeps the fields it does not know."""

    model_config = ConfigDict(frozen=True, extra="allow", serialize_by_alias=True, validate_by_name=True)


class SparseModel(WireModel):
    """A value with fields that the Chat API lacks: those in `sparse` are written only if they are not empty."""

    sparse: ClassVar[frozenset[str]]

    @model_serializer(mode="wrap")
    def _as_the_api_has_it(self, write: SerializerFunctionWrapHandler) -> dict[str, object]:
        written: dict[str, object] = write(self)
        return {name: value for name, value in written.items() if name not in self.sparse or value not in _NOTHING}

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        # Otherwise the serializer would reduce the schema to that of any object.
        fields = {name: value for name, value in schema.items() if name != "serialization"}
        return handler(cast("CoreSchema", fields))


class Usage(SparseModel):
    """What one turn cost. A value that the service does not report is None, never 0.

    `duration_ms` is in milliseconds; `turns` counts the agent's own rounds within the turn. Of the input tokens,
    `cache_read_tokens` came from the model's cache and `cache_write_tokens` went into it; of the output tokens,
    `reasoning_tokens` are not in the answer. `cost` is in US dollars, as the service calculates it.
    """

    sparse = frozenset(("cache_read_tokens", "cache_write_tokens", "reasoning_tokens", "cost"))

    input_tokens: int | None = Field(
        default=None,
        validation_alias=AliasChoices("total_input_tokens", "input_tokens"),
        serialization_alias="total_input_tokens",
    )
    output_tokens: int | None = Field(
        default=None,
        validation_alias=AliasChoices("total_output_tokens", "output_tokens"),
        serialization_alias="total_output_tokens",
    )
    turns: int | None = 1
    duration_ms: float | None = 0.0
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None
    cost: float | None = None


class JobMetadata(Usage):
    """Usage and status of a session's last run."""

    is_error: bool = False
    error: str | None = None
    export_config_ids: list[str] | None = None


class ImageAttachment(WireModel):
    """A reference to a page screenshot; `attachment_url` of a client turns it into a link."""

    attachment_name: str
    source_id: str


class PresignedUrl(WireModel):
    """A link that works without a key until `expires_at`."""

    url: str
    expires_at: Timestamp
    form_fields: dict[str, str] | None = None


class SessionSummary(WireModel):
    """A session without its events (`GET /api/v1/chat/{session_id}/summary`).

    `last_updated_at` is 1970-01-01 if the service sends no time that can be read.
    """

    session_id: str
    last_updated_at: Annotated[Timestamp, WrapValidator(_time_if_readable)] = _NO_TIME
    generated_title: Annotated[str | None, WrapValidator(_if_readable)] = None
    index_ids: Annotated[list[str] | None, WrapValidator(_if_readable)] = None
    job_metadata: Annotated[JobMetadata | None, WrapValidator(_if_readable)] = None
    shared_access: Annotated[str | None, WrapValidator(_if_readable)] = None

    @property
    def tags(self) -> dict[str, str]:
        """The session's tags; empty if the service has none."""
        found = (self.model_extra or {}).get("tags")
        pairs = cast("dict[str, object]", found).items() if isinstance(found, dict) else ()
        return {name: value for name, value in pairs if isinstance(value, str)}


class TitledSummary(SessionSummary):
    """A summary that says how its title was made.

    `title_origin` is "requested" if the service made a title from the message given, and "automatic" if it has no such
    route: `generated_title` is then the title that the service chose, or None if there is none yet. "existing": the
    session had it before, and the service does not say whether someone chose it.
    """

    title_origin: Literal["requested", "automatic", "existing"] = Field(exclude=True)


class SessionPage(WireModel):
    """One page of summaries; `next_page_token` is None or empty on the last."""

    items: list[SessionSummary]
    next_page_token: str | None = None
