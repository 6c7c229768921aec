"""Keeps keys out of errors: out of what they quote, and out of the local variables that a traceback may show.

Tracebacks with local variables are what `rich`, `pytest --showlocals` and error trackers make. They show a
variable by its `repr`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar, cast

from pydantic import JsonValue, SecretStr

__all__ = ["Concealed", "as_secret", "concealed", "has_secret", "secrets_in", "text_without_secrets", "without_secrets"]

_STARS = "**********"
# Shorter words are not secrets, and masking them would make an error unreadable.
_SHORTEST_KEY = 4
_SHORTEST_WORD = 8
_SECRET_NAME = re.compile(r"key|token|secret|password|credential|auth|cookie|headers", re.IGNORECASE)

_Value = TypeVar("_Value")


class Concealed(dict[str, _Value]):
    """A dict whose `repr` shows its names alone, and so does `rich`, which shows a dict by what is in it."""

    def __repr__(self) -> str:
        return repr(dict.fromkeys(self, _STARS))

    def __rich_repr__(self) -> Iterator[tuple[str, str]]:
        return ((name, _STARS) for name in self)


def as_secret(key: str | SecretStr | None) -> SecretStr | None:
    """Wrap a key so that no `repr` shows it; return anything but a string as it is."""
    return SecretStr(key) if isinstance(key, str) else key


def concealed(settings: _Value) -> _Value:
    """Copy settings, or a list of them, so that a `repr` shows names only; return anything else as it is."""
    # Casts: a dict is as good as the mapping that it is made of, a list as the sequence.
    if isinstance(settings, Mapping):
        return cast("_Value", Concealed(cast("Mapping[str, object]", settings)))
    if isinstance(settings, list | tuple):
        return cast("_Value", [concealed(one) for one in cast("Sequence[object]", settings)])
    return settings


def secrets_in(settings: JsonValue, *, is_secret: bool = False) -> Iterator[SecretStr]:
    """Yield the words in settings under a name such as `api_key`, `headers` or `secrets`, the longest first."""
    words = set(_words(settings, is_secret=is_secret))
    yield from map(SecretStr, sorted(words, key=lambda word: (-len(word), word)))


def has_secret(settings: object) -> bool:
    """Whether anything in settings has a name such as `api_key`, `headers` or `secrets`."""
    if isinstance(settings, Mapping):
        named = cast("Mapping[object, object]", settings)
        return any(_SECRET_NAME.search(str(name)) is not None or has_secret(value) for name, value in named.items())
    return isinstance(settings, list | tuple) and any(map(has_secret, cast("Sequence[object]", settings)))


def _words(settings: JsonValue, *, is_secret: bool) -> Iterator[str]:
    if isinstance(settings, str):
        if is_secret:
            yield from (word for word in settings.split() if len(word) >= _SHORTEST_WORD)
    elif isinstance(settings, dict):
        for name, value in settings.items():
            yield from _words(value, is_secret=is_secret or _SECRET_NAME.search(name) is not None)
    elif isinstance(settings, list):
        for value in settings:
            yield from _words(value, is_secret=is_secret)


def without_secrets(data: bytes, secrets: Sequence[SecretStr]) -> bytes:
    """Replace each secret of four characters or more with `[secret]`, also in JSON, and in the `repr` of JSON."""
    for secret in secrets:
        value = secret.get_secret_value()
        if len(value) >= _SHORTEST_KEY:
            in_json = json.dumps(value)[1:-1]
            for form in (value, in_json, in_json.replace("\\", "\\\\")):
                data = data.replace(form.encode(), b"[secret]")
    return data


def text_without_secrets(text: str, secrets: Sequence[SecretStr]) -> str:
    """`without_secrets` for a text."""
    return without_secrets(text.encode("utf-8", "surrogatepass"), secrets).decode("utf-8", "surrogatepass")
