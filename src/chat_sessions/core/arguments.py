"""What an argument that there is not was meant to be."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import NoReturn

from chat_sessions.core.errors import ConfigurationError

__all__ = ["refuse_unknown"]

# What people call these elsewhere.
_SYNONYMS = {
    "index": "index_ids",
    "indexes": "index_ids",
    "indices": "index_ids",
    "instructions": "system",
    "organization": "organization_id",
    "project": "project_id",
    "system_message": "system",
    "system_prompt": "system",
    "thread_id": "session_id",
    "token": "api_key",
    "url": "base_url",
}


def refuse_unknown(whose: str, name: str, known: Iterable[str], *, otherwise: str) -> NoReturn:
    """Raise `ConfigurationError` with the nearest argument that there is; without one it says `otherwise`."""
    known = sorted(known)
    meant = _SYNONYMS.get(name)
    near = [meant] if meant in known else difflib.get_close_matches(name, known, n=1, cutoff=0.7)
    # Never the value: it may be a key.
    raise ConfigurationError(
        f"{whose} has no argument {name}; did you mean {near[0]}?" if near else f"{whose} {otherwise}"
    )
