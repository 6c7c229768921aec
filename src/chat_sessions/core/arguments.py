"""Errors about arguments: suggest a name for an unknown one, and say what is wrong with a known one."""

from __future__ import annotations

import difflib
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import NoReturn, TypeVar, cast

from pydantic import ValidationError

from chat_sessions.core.errors import ConfigurationError

__all__ = ["checked_fields", "checked_indexes", "checked_items", "refuse_unknown"]

_Item = TypeVar("_Item")

# What other libraries call these.
_SYNONYMS = {
    "api_base": "base_url",
    "default_headers": "headers",
    "index": "index_ids",
    "indexes": "index_ids",
    "indices": "index_ids",
    "documents": "indexes",
    "folder": "indexes",
    "instructions": "system",
    "llm": "agent",
    "openai_api_base": "base_url",
    "openai_api_key": "api_key",
    "organization": "organization_id",
    "path": "indexes",
    "project": "project_id",
    "request_timeout": "timeout",
    "system_message": "system",
    "system_prompt": "system",
    "thread_id": "session_id",
    "token": "api_key",
    "url": "base_url",
}


def refuse_unknown(whose: str, name: str, known: Iterable[str], *, otherwise: str) -> NoReturn:
    """Raise `ConfigurationError` that names the nearest known argument, or says `otherwise` if none is near."""
    known = sorted(known)
    meant = _SYNONYMS.get(name)
    near = [meant] if meant in known else difflib.get_close_matches(name, known, n=1, cutoff=0.7)
    # Never the value: it may be a key.
    raise ConfigurationError(
        f"{whose} has no argument {name}; did you mean {near[0]}?" if near else f"{whose} {otherwise}"
    )


def checked_indexes(index_ids: Sequence[str] | None) -> tuple[str, ...] | None:
    """Return the ids as a tuple. Raises `ConfigurationError` for anything but a list of strings.

    That includes a string, whose letters would be ids.
    """
    if index_ids is None:
        return None
    if isinstance(index_ids, str):
        raise ConfigurationError(f"index_ids must be a list of ids; got the string {index_ids!r}")
    if not isinstance(index_ids, Sequence):  # pyright: ignore[reportUnnecessaryIsInstance] - people give others
        raise ConfigurationError(f"index_ids must be a list of ids, not a {type(index_ids).__name__}")
    for index_id in index_ids:
        if not isinstance(index_id, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigurationError(f"index_ids must hold strings; got {index_id!r}")
    return tuple(index_ids)


def checked_items(given: object, kind: type[_Item], problem: str) -> list[_Item]:
    """Return the items as a list. Raises `ConfigurationError(problem)` unless all of them are of this kind."""
    found = [*cast("Iterable[object]", given)] if isinstance(given, Iterable) else [None]
    if not all(isinstance(item, kind) for item in found):
        raise ConfigurationError(problem)
    return cast("list[_Item]", found)


@contextmanager
def checked_fields(whose: str) -> Generator[None]:
    """Turn pydantic's errors about a model's fields into a `ConfigurationError`."""
    try:
        yield
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        # Never the values: there may be a key among them. So the cause is left out, too.
        said = {".".join(map(str, one["loc"])): one["msg"].removeprefix("Value error, ") for one in found}
        raise ConfigurationError(f"{whose}: {'; '.join(f'{name}: {what}' for name, what in said.items())}") from None
