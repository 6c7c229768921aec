"""Checks of the arguments of a server, each with an error that names the argument and what it must be."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import cast

from pydantic import SecretStr

from chat_sessions.core.errors import ConfigurationError
from chat_sessions.server.api.keys import can_be_sent
from chat_sessions.server.documents.indexes import Index

__all__ = ["require_indexes", "require_key", "require_kind", "require_number"]


def require_key(api_key: object) -> None:
    """Raise `ConfigurationError` unless the key is None, or a secret that a request can carry."""
    # The caller has made a secret of every str: a traceback may show local variables.
    require_kind("api_key", api_key, SecretStr, what="a str or a SecretStr")
    if isinstance(api_key, SecretStr) and not can_be_sent(api_key):
        raise ConfigurationError("the api_key is empty, or has characters that no HTTP header can carry")


def require_indexes(indexes: object) -> None:
    """Raise `ConfigurationError` for anything but paths and indexes by their ids."""
    # Passing a folder alone is an easy mistake.
    if not isinstance(indexes, Mapping):
        raise ConfigurationError(
            f"indexes={indexes!r}: name an index for each folder or file, such as indexes={{'idx-docs': 'docs/'}}"
        )
    if not indexes:
        raise ConfigurationError("there is no index to serve; give at least one, such as indexes={'idx-docs': 'docs/'}")
    for index_id, source in cast("Mapping[object, object]", indexes).items():
        if not isinstance(index_id, str) or not index_id:
            raise ConfigurationError(f"the id of an index is a word such as 'idx-docs', not {index_id!r}")
        if not isinstance(source, str | PathLike | Index):
            raise ConfigurationError(
                f"indexes[{index_id!r}] is the path of a folder or a file, or an Index, not {_kind(source)}"
            )


def require_kind(name: str, given: object, *kinds: type, what: str = "") -> None:
    """Raise `ConfigurationError` unless an argument is None or of one of these kinds, which `what` describes."""
    if given is not None and not isinstance(given, kinds):
        raise ConfigurationError(f"{name} is {what or f'a {kinds[0].__name__}'}, not {_kind(given)}")


def require_number(name: str, given: object, *, above_zero: bool, whole: bool = False) -> None:
    """Raise `ConfigurationError` unless an argument is a number from 0 on, or above it, and maybe a `whole` one."""
    is_number = isinstance(given, int if whole else int | float) and not isinstance(given, bool)
    # Written so that a NaN is refused, too.
    if not (is_number and (given > 0 or (given == 0 and not above_zero))):  # type: ignore[operator]
        raise ConfigurationError(
            f"{name}={given!r}: use a {'whole ' if whole else ''}number {'above 0' if above_zero else 'from 0 on'}"
        )


def _kind(given: object) -> str:
    name = type(given).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"
