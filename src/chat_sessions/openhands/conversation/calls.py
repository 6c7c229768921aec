"""Requests about a conversation that are not about a turn. No I/O."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from pydantic import JsonValue

from chat_sessions.core.errors import ConfigurationError
from chat_sessions.http.calls import Call, check_page_size
from chat_sessions.openhands.events.json_values import JsonObject
from chat_sessions.openhands.wire import PAGE_SIZE, conversation_path

__all__ = [
    "check_secrets",
    "check_tags",
    "command_call",
    "download_call",
    "fork_call",
    "listing_words",
    "llm_call",
    "names_in",
    "navigate_call",
    "next_page_call",
    "of_kind",
    "policy_call",
    "raw_events_call",
    "secrets_call",
    "tags_call",
    "upload_call",
]

# In the output of ls: three digits are a byte.
_ESCAPED = re.compile(rb"\\([0-3][0-7]{2}|.)")
_CONTROLS = {b"a": b"\a", b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}
_TAG = re.compile("[a-z0-9]+")
# How long a listing may take on the server, in seconds.
_COMMAND_TIMEOUT = 10


def check_tags(tags: Mapping[str, object]) -> None:
    """Raise `ConfigurationError` for tags that servers refuse, which 1.18.1 does with a 500."""
    for key, value in tags.items():
        if not _TAG.fullmatch(str(key)):
            raise ConfigurationError(f"a tag's key is lower-case letters and digits; got {key!r}")
        if not isinstance(value, str):
            raise ConfigurationError(f"the tag {key!r} must be a string; got {value!r}")


def check_secrets(secrets: Mapping[str, object]) -> None:
    """Raise `ConfigurationError` for a secret that servers refuse or, being empty, ignore. Quotes no value."""
    for name, value in secrets.items():
        if not (isinstance(value, str | Mapping) and value):
            raise ConfigurationError(
                f"the secret {name!r} must be a string that is not empty, or a source's settings; one cannot be removed"
            )


def policy_call(session_id: str, policy: Mapping[str, JsonValue]) -> Call:
    """Change which actions wait to be allowed."""
    return Call(
        "POST", conversation_path(session_id, "/confirmation_policy"), may_repeat=True, body={"policy": dict(policy)}
    )


def secrets_call(session_id: str, secrets: Mapping[str, JsonValue]) -> Call:
    """Add secrets of a conversation, or change them."""
    return Call("POST", conversation_path(session_id, "/secrets"), may_repeat=True, body={"secrets": dict(secrets)})


def tags_call(session_id: str, tags: Mapping[str, str]) -> Call:
    """Set the conversation's tags."""
    return Call("PATCH", conversation_path(session_id), may_repeat=True, body={"tags": dict(tags)})


def fork_call(
    session_id: str,
    fork_id: str,
    *,
    title: str | None,
    tags: Mapping[str, str] | None,
    from_event_id: str | None,
    keep_usage: bool,
) -> Call:
    """Copy a conversation. Not repeated: a second try would be refused with a 409."""
    body: dict[str, JsonValue] = {"id": fork_id, "reset_metrics": not keep_usage}
    if title is not None:
        body["title"] = title
    if tags is not None:
        body["tags"] = dict(tags)
    if from_event_id is not None:
        body["from_event_id"] = from_event_id
    return Call("POST", conversation_path(session_id, "/fork"), may_repeat=False, body=body)


def llm_call(session_id: str, llm: Mapping[str, JsonValue]) -> Call:
    """Give the conversation's agent this model."""
    return Call("POST", conversation_path(session_id, "/switch_llm"), may_repeat=True, body={"llm": dict(llm)})


def navigate_call(session_id: str, event_id: str | None) -> Call:
    """Make an earlier event the conversation's last."""
    return Call("POST", conversation_path(session_id, "/navigate"), may_repeat=True, body={"event_id": event_id})


def raw_events_call(
    session_id: str,
    page_id: str | None,
    *,
    page_size: int | None,
    source: str | None,
    text: str | None,
    since: datetime | None,
    until: datetime | None,
    newest_first: bool,
) -> Call:
    """One page of the conversation's events."""
    check_page_size(page_size)
    given = {
        "page_id": page_id,
        "source": source,
        "body": text,
        "timestamp__gte": None if since is None else since.isoformat(),
        "timestamp__lt": None if until is None else until.isoformat(),
        "sort_order": "TIMESTAMP_DESC" if newest_first else None,
    }
    params: dict[str, str | int] = {"limit": min(page_size or PAGE_SIZE, PAGE_SIZE)}
    params |= {name: value for name, value in given.items() if value is not None}
    return Call("GET", conversation_path(session_id, "/events/search"), may_repeat=True, params=params)


def next_page_call(first: Call, page_id: str) -> Call:
    """The page of the same search that begins with this event."""
    return replace(first, params={**first.params, "page_id": page_id})


def of_kind(kind: str | None, page: tuple[Sequence[JsonObject], str | None]) -> tuple[Sequence[JsonObject], str | None]:
    """The events of this kind on a page, and the id of the next page."""
    events, next_page = page
    return [event for event in events if kind is None or event.get("kind") == kind], next_page


def upload_call(path: str, content: bytes) -> Call:
    """Write a file on the server's machine; its folders are made."""
    name = path.rpartition("/")[2]
    return Call("POST", "/api/file/upload", may_repeat=True, params={"path": path}, file=(name, content))


def download_call(path: str) -> Call:
    """Read a file of the server's machine."""
    return Call("GET", "/api/file/download", may_repeat=True, params={"path": path})


def listing_words(folder: str) -> Sequence[str]:
    """The command that lists a folder, one name per line, unprintable characters escaped. Fails for a file."""
    return ["ls", "-1Apb", "--", f"{folder}/"]


def names_in(listing: str) -> list[str]:
    """The names in the output of that command, sorted. Bytes that are not UTF-8 become U+FFFD."""
    lines = (line.encode() for line in listing.split("\n") if line)
    return sorted(_ESCAPED.sub(_unescaped, line).decode("utf-8", "replace") for line in lines)


def _unescaped(escaped: re.Match[bytes]) -> bytes:
    said: bytes = escaped[1]
    return bytes([int(said, 8)]) if len(said) == 3 else _CONTROLS.get(said, said)


def command_call(words: Sequence[str], folder: str | None) -> Call:
    """Run a command that changes nothing on the server's machine, in this folder or the server's own."""
    body: dict[str, JsonValue] = {"command": shlex.join(words), "timeout": _COMMAND_TIMEOUT}
    if folder is not None:
        body["cwd"] = folder
    return Call("POST", "/api/bash/execute_bash_command", may_repeat=True, body=body)
