"""Read JSON of any shape: a value that is not as expected is empty, never an error.

The server's events are read as plain values and not by a schema: each of its releases adds
fields and kinds, and a client that refuses them would refuse its own history.
"""

from __future__ import annotations

from pydantic import JsonValue

__all__ = ["JsonObject", "as_list", "as_object", "as_text", "image_urls_in", "joined_text"]

JsonObject = dict[str, JsonValue]


def as_object(value: JsonValue) -> JsonObject:
    """The object, or an empty one."""
    return value if isinstance(value, dict) else {}


def as_list(value: JsonValue) -> list[JsonValue]:
    """The list, or an empty one."""
    return value if isinstance(value, list) else []


def as_text(value: JsonValue) -> str:
    """The string, or an empty one."""
    return value if isinstance(value, str) else ""


def joined_text(content: JsonValue, separator: str = "") -> str:
    """The text parts of a list of content parts; a plain string is its own text."""
    if isinstance(content, str):
        return content
    return separator.join(text for part in as_list(content) if (text := as_text(as_object(part).get("text"))))


def image_urls_in(content: JsonValue) -> tuple[str, ...]:
    """The addresses of the images in a list of content parts."""
    parts = (as_object(part) for part in as_list(content))
    return tuple(url for part in parts for item in as_list(part.get("image_urls")) if (url := as_text(item)))
