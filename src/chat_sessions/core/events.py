"""The events of a turn, as the wire has them, and the one place that reads them.

Unknown fields are kept. An unknown `type` becomes an `UnknownEvent`, and so does a known type with a broken body, live
and stored, so that the rest of the turn can be read. So does a stored event that is not a JSON object. A live one, or
a stop that does not say whether the turn failed, is a `ProtocolError` that quotes it; the turn is then looked up.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Annotated, Any, Literal, TypeAlias, cast

from pydantic import BeforeValidator, Field, JsonValue, TypeAdapter, ValidationError, model_serializer

from chat_sessions.core.errors import ProtocolError
from chat_sessions.core.models import ImageAttachment, SessionSummary, SparseModel, Usage, WireModel

__all__ = [
    "Event",
    "EventReader",
    "Session",
    "Stop",
    "Text",
    "TextDelta",
    "Thinking",
    "ThinkingDelta",
    "ToolCall",
    "ToolResult",
    "UnknownEvent",
    "UserInput",
    "broken_event",
    "dump_event",
    "load_json",
    "load_session",
    "parse_event",
    "parse_event_json",
]

_QUOTE_LIMIT = 300


def _addresses(value: object) -> object:
    """Return a list of addresses; empty for anything else, as a service may use this field name for something else."""
    items = cast("list[object]", value) if isinstance(value, list | tuple) else []
    return tuple(items) if all(isinstance(item, str) for item in items) else ()


class _Pictured(SparseModel):
    """What may come with images: see `core.images`."""

    sparse = frozenset(("image_urls",))

    image_urls: Annotated[tuple[str, ...], BeforeValidator(_addresses)] = Field(default=(), repr=False)


class UserInput(_Pictured):
    """The user's message, as a history holds it."""

    type: Literal["user_input"] = "user_input"
    content: str


class ThinkingDelta(WireModel):
    """A piece of the agent's reasoning, for display."""

    type: Literal["thinking_delta"] = "thinking_delta"
    content: str


class Thinking(WireModel):
    """A whole segment of the agent's reasoning."""

    type: Literal["thinking"] = "thinking"
    content: str


class TextDelta(WireModel):
    """A piece of the answer, for display."""

    type: Literal["text_delta"] = "text_delta"
    content: str


class Text(WireModel):
    """A whole segment of the answer; canonical over the deltas before it."""

    type: Literal["text"] = "text"
    content: str


class ToolCall(WireModel):
    """The agent calls one of its tools, on the server."""

    type: Literal["tool_call"] = "tool_call"
    call_id: str
    name: str
    arguments: dict[str, JsonValue]


class ToolResult(_Pictured):
    """What a tool returned: any JSON, and images."""

    type: Literal["tool_result"] = "tool_result"
    call_id: str
    name: str
    result: JsonValue
    image_attachment: ImageAttachment | None = None


class Stop(WireModel):
    """The end of a turn, with what it cost."""

    type: Literal["stop"] = "stop"
    usage: Usage
    is_error: bool
    error: str | None = None
    skipped_index_ids: Annotated[list[str], BeforeValidator(lambda value: [] if value is None else value)] = Field(
        default_factory=list
    )


class UnknownEvent(WireModel):
    """An event of a type that this version does not know, or whose body it cannot read; `raw` is the whole body."""

    raw: dict[str, JsonValue]

    @property
    def type(self) -> str:
        """The type on the wire, or "unknown" if there is none."""
        value = self.raw.get("type")
        return value if isinstance(value, str) else "unknown"

    @property
    def is_broken(self) -> bool:
        """Whether this version knows the type, but cannot read the body."""
        return self.type in _KNOWN_TYPES

    @model_serializer
    def _serialize(self) -> dict[str, JsonValue]:
        return self.raw


KnownEvent: TypeAlias = UserInput | ThinkingDelta | Thinking | TextDelta | Text | ToolCall | ToolResult | Stop
Event: TypeAlias = KnownEvent | UnknownEvent

_known: TypeAdapter[KnownEvent] = TypeAdapter(Annotated[KnownEvent, Field(discriminator="type")])
# Called for every token: this skips a Python call of `TypeAdapter`.
_validate_json = cast("Callable[[str | bytes], KnownEvent]", _known.validator.validate_json)
_KNOWN_TYPES = frozenset(
    ("user_input", "thinking_delta", "thinking", "text_delta", "text", "tool_call", "tool_result", "stop")
)
# The schema gives `type` a default and does not require it, so a serialiser may drop it.
# These three have fields that no other event has; a bare `content` could be any of five.
_TYPE_BY_FIELDS = (
    ("tool_result", frozenset(("call_id", "name", "result"))),
    ("tool_call", frozenset(("call_id", "name", "arguments"))),
    ("stop", frozenset(("usage", "is_error"))),
)


def parse_event_json(data: str | bytes) -> Event:
    """Return the event in a JSON text, the content of a `data:` line. Invalid UTF-8 becomes U+FFFD.

    Raises `ProtocolError` for anything but a JSON object, and for a known type with a broken body.
    """
    try:
        return _validate_json(data)
    except ValidationError:
        pass
    data, body = _object_in(data)
    with suppress(RecursionError, ValidationError):
        return parse_event(body)
    raise ProtocolError(f"the service sent an event that is nested too deep: {_quote(data)}")


class _Halves:
    """Joins the halves of characters.

    A service that cuts its answer by UTF-16 units, as JavaScript does, can send the halves of a character in two
    deltas: JSON allows it, no Unicode string does. The first half waits for the next delta of its kind.
    """

    def __init__(self) -> None:
        self.waiting: dict[str, str] = {}

    def join(self, kind: str, content: str) -> str:
        """Return a delta's text, with the half kept before it prepended and a half at its end kept back."""
        content = self.waiting.pop(kind, "") + content
        if "\ud800" <= content[-1:] <= "\udbff":
            self.waiting[kind] = content[-1]
            content = content[:-1]
        return cast("str", _without_lone_surrogates(content))

    def end(self, final: object) -> None:
        """Forget the half kept from the deltas that a final of this type completes."""
        self.waiting.pop(f"{final}_delta", None)


class EventReader:
    """Reads the events of one stream. Unlike `parse_event_json`, it joins characters that two deltas split."""

    def __init__(self) -> None:
        self._halves = _Halves()

    def read(self, data: str | bytes) -> Event:
        """Return the event in a JSON text, as `parse_event_json` does."""
        if not self._halves.waiting:
            try:
                return _validate_json(data)
            except ValidationError:
                pass
        event = parse_event_json(data)
        if isinstance(event, Text | Thinking):
            self._halves.end(event.type)
        elif isinstance(event, TextDelta | ThinkingDelta):
            text = data.decode("utf-8", "replace") if isinstance(data, bytes) else data
            content: str = json.loads(text, parse_int=_integer)["content"]
            return event.model_copy(update={"content": self._halves.join(event.type, content)})
        return event


def load_session(data: bytes) -> Any:
    """Return a stored session as `load_json` does, with the text of its deltas as `EventReader` reads a live one.

    Raises `ValueError`, or `RecursionError` for JSON that is nested too deep.
    """
    if b"\\u" not in data:
        return load_json(data)
    value = json.loads(data, parse_int=_integer)
    events = cast("dict[str, object]", value).get("events") if isinstance(value, dict) else None
    halves = _Halves()
    for event in cast("list[object]", events) if isinstance(events, list) else []:
        if not isinstance(event, dict):
            continue
        fields = cast("dict[str, object]", event)
        kind, content = fields.get("type"), fields.get("content")
        if kind == "user_input":
            halves = _Halves()
        elif kind in ("text", "thinking"):
            halves.end(kind)
        elif kind in ("text_delta", "thinking_delta") and isinstance(content, str):
            fields["content"] = halves.join(kind, content)
    return _without_lone_surrogates(value)


def broken_event(data: str | bytes) -> UnknownEvent | None:
    """Return an event that `parse_event_json` refuses as an `UnknownEvent`, so that those after it can still be read.

    None for anything but a JSON object, and for a stop, without which nothing ends the turn.
    """
    with suppress(ProtocolError, RecursionError, ValidationError):
        event = UnknownEvent(raw=_object_in(data)[1])
        return None if event.type == "stop" else event
    return None


def _object_in(data: str | bytes) -> tuple[str, dict[str, JsonValue]]:
    """Return the text of an event and its JSON object. Raises `ProtocolError` for anything else."""
    text = data.decode("utf-8", "replace") if isinstance(data, bytes) else data
    try:
        body = load_json(text)
    except ValueError as error:
        raise ProtocolError(f"the service sent an event that is not JSON: {_quote(text)} ({error})") from error
    if not isinstance(body, dict):
        raise ProtocolError(f"the service sent an event that is not a JSON object: {_quote(text)}")
    return text, cast("dict[str, JsonValue]", body)


def load_json(data: str | bytes) -> Any:
    r"""Return the value in a JSON text, with U+FFFD for each lone surrogate (`"\ud83d"`), which JSON allows.

    Raises `ValueError` for invalid JSON, and for JSON that is nested too deep.
    """
    try:
        value = json.loads(data, parse_int=_integer)
        has_escapes = b"\\u" in data if isinstance(data, bytes) else "\\u" in data
        return _without_lone_surrogates(value) if has_escapes else value
    except RecursionError:
        raise ValueError("nested too deep") from None


def _integer(digits: str) -> int | str:
    """Return the number, or its digits if there are more than Python reads."""
    try:
        return int(digits)
    except ValueError:
        return digits


def parse_event(body: Mapping[str, JsonValue]) -> Event:
    """Return the event in a decoded JSON object. Raises `ProtocolError` for a known type with a broken body."""
    fields = dict(body)
    if fields.get("type") is None:
        fields["type"] = next((name for name, keys in _TYPE_BY_FIELDS if keys <= fields.keys()), None)
    if not isinstance(fields["type"], str) or fields["type"] not in _KNOWN_TYPES:
        return UnknownEvent(raw=dict(body))
    try:
        return _known.validate_python(fields)
    except ValidationError as error:
        with suppress(ValueError):
            return _known.validate_python(_mended(fields))
        problems = "; ".join(
            f"{'.'.join(str(part) for part in item['loc'][1:])}: {item['msg']}" for item in error.errors()
        )
    # No cause: pydantic's error quotes its input, and the input may repeat a key.
    raise ProtocolError(
        f"the service sent a {fields['type']} event with a broken body ({problems}): "
        + _quote(json.dumps(body, ensure_ascii=False))
    )


def _mended(fields: dict[str, Any]) -> dict[str, Any]:
    """Repair the fields of an event if what is broken does not change its meaning.

    Raises `ValueError` if there is nothing to mend.
    """
    if fields["type"] == "stop":
        # A cost or a failure in an unusual form must not lose the turn. An `error` also means that it failed.
        usage, error, is_error = fields.get("usage"), fields.get("error"), fields.get("is_error")
        given = cast("dict[str, Any]", usage) if isinstance(usage, dict) else {}
        return {
            **fields,
            "usage": {name: value for name, value in given.items() if _is_whole(value)},
            "is_error": bool(error) if is_error is None else is_error,
            "error": error if error is None or isinstance(error, str) else json.dumps(error, ensure_ascii=False),
            "skipped_index_ids": _names_in(fields.get("skipped_index_ids")),
        }
    if fields["type"] == "user_input":
        # It begins a turn, whatever it says.
        return {**fields, "content": _prompt_in(fields.get("content"))}
    if fields["type"] == "tool_call" and isinstance(fields.get("arguments"), str):
        # As the completion APIs send them.
        return {**fields, "arguments": load_json(fields["arguments"])}
    raise ValueError("nothing to mend")


def _prompt_in(content: object) -> str:
    """Return the text of a prompt given in content parts, as in the completion APIs; "" if there is none."""
    if isinstance(content, list):
        return "".join(map(_prompt_in, cast("list[object]", content)))
    if isinstance(content, dict):
        return _prompt_in(cast("dict[str, object]", content).get("text"))
    return content if isinstance(content, str) else ""


def _names_in(value: object) -> list[str]:
    """Return the names in a list, in the keys of an object, or in a string that is one."""
    items = list(cast("list[object]", value)) if isinstance(value, list | dict) else [value]
    return [item for item in items if isinstance(item, str)]


def _is_whole(value: object) -> bool:
    return value is None or isinstance(value, int) or (isinstance(value, float) and value.is_integer())


def dump_event(event: Event) -> dict[str, Any]:
    """Return the JSON object that `parse_event` reads back as this event."""
    return event.model_dump(mode="json")


def _quote(text: str) -> str:
    return repr(text if len(text) <= _QUOTE_LIMIT else text[:_QUOTE_LIMIT] + "…")


def _without_lone_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_without_lone_surrogates(item) for item in cast("list[Any]", value)]
    if isinstance(value, dict):
        return {
            _without_lone_surrogates(key): _without_lone_surrogates(item)
            for key, item in cast("dict[Any, Any]", value).items()
        }
    return value


def _parse_item(value: Any) -> Any:
    """Read an event of a stored session; one that cannot be read becomes an `UnknownEvent`."""
    if value is None or isinstance(value, str | int | float | list):
        return UnknownEvent(raw={"unreadable": cast("JsonValue", value)})
    if not isinstance(value, dict):
        return value
    body = cast("dict[str, JsonValue]", value)
    try:
        return parse_event(body)
    except (ProtocolError, RecursionError, ValidationError):
        pass
    try:
        return UnknownEvent(raw=body)
    except (RecursionError, ValidationError):
        return UnknownEvent(raw={"type": str(body.get("type")), "unreadable": "nested too deep"})


class Session(SessionSummary):
    """A session with its events, in the order in which they happened."""

    events: list[Annotated[Event, BeforeValidator(_parse_item)]]
