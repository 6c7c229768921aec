"""Where the service is and who asks: from arguments, else from the official SDK's environment names."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from typing import Literal, Self

import httpx
from pydantic import SecretStr

from chat_sessions.core.errors import ConfigurationError
from chat_sessions.http.secrets import Concealed, as_secret, concealed
from chat_sessions.session.deadlines import Timeouts

__all__ = ["REGIONS", "Region", "Settings"]

Region = Literal["us", "eu"]
REGIONS: Mapping[str, str] = {
    "us": "https://api.cloud.llamaindex.ai",
    "eu": "https://api.cloud.eu.llamaindex.ai",
}
_KEY_NAMES = ("LLAMA_CLOUD_API_KEY", "LLAMA_PARSE_API_KEY")
_MOST_INDEXES = 10
_LONGEST_PROMPT = 1000
_LARGEST_EVENT = 16 * 1024 * 1024
# RFC 9110, 5.1 and 5.5; httpx encodes a value as ASCII.
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e]*")
# Shorter words are no secrets, and blotting them out would spoil an error's text.
_SHORTEST_KEY = 4
_SHORTEST_HEADER_SECRET = 8


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything about a client but its connections. The key is in no repr and no pickle.

    `trust_env` as in httpx: whether proxies are taken from the environment.
    """

    base_url: str
    api_key: SecretStr | None = field(repr=False)
    project_id: str | None
    organization_id: str | None
    index_ids: tuple[str, ...] | None
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    timeouts: Timeouts
    max_retries: int
    max_event_bytes: int
    max_prompt_chars: int | None
    trust_env: bool = True

    @classmethod
    def resolve(
        cls,
        *,
        api_key: str | SecretStr | None,
        base_url: str | None,
        region: Region | None,
        project_id: str | None,
        organization_id: str | None,
        index_ids: Sequence[str] | None,
        headers: Mapping[str, str] | None,
        timeouts: Timeouts | None,
        max_retries: int,
        max_event_bytes: int,
        max_prompt_chars: int | None,
        trust_env: bool = True,
    ) -> Self:
        """The settings that these arguments and the environment make. Raises `ConfigurationError`."""
        # A traceback may show local variables.
        api_key, headers = as_secret(api_key), concealed(headers)
        key = api_key or _key_from_environment()
        if key is None:
            raise ConfigurationError(
                "no API key: pass api_key=, or set LLAMA_CLOUD_API_KEY (or LLAMA_PARSE_API_KEY). Without an account, "
                "chat_sessions.LocalServer serves the same API over your own files"
            )
        if not _can_be_sent(key):
            raise ConfigurationError("the API key holds white space or characters that no key has; copy it again")
        cls.check_indexes(index_ids)
        if max_retries < 0:
            raise ConfigurationError(f"max_retries must be 0 or more; got {max_retries}")
        if max_event_bytes <= 0:
            raise ConfigurationError(f"max_event_bytes must be more than 0; got {max_event_bytes}")
        return cls(
            base_url=_base_url(base_url, region),
            api_key=key,
            project_id=project_id or os.environ.get("LLAMA_CLOUD_PROJECT_ID") or None,
            organization_id=organization_id or os.environ.get("LLAMA_CLOUD_ORGANIZATION_ID") or None,
            index_ids=None if index_ids is None else tuple(index_ids),
            headers=_headers(headers),
            timeouts=timeouts or Timeouts(),
            max_retries=max_retries,
            max_event_bytes=max_event_bytes,
            max_prompt_chars=max_prompt_chars,
            trust_env=trust_env,
        )

    def __getstate__(self) -> dict[str, object]:
        # The key and the headers, which may hold another, stay in this process.
        names = ("base_url", "project_id", "organization_id", "index_ids", "timeouts", "max_retries")
        return {name: getattr(self, name) for name in (*names, "max_event_bytes", "max_prompt_chars", "trust_env")}

    def __setstate__(self, state: dict[str, object]) -> None:
        state |= {"api_key": _key_from_environment(), "headers": _headers(None)}
        for name, value in state.items():
            object.__setattr__(self, name, value)

    @property
    def scope(self) -> dict[str, str]:
        """The query parameters that go with each request: project and organisation, where they are set."""
        values = {"project_id": self.project_id, "organization_id": self.organization_id}
        return {name: value for name, value in values.items() if value is not None}

    def request_headers(self) -> dict[str, str]:
        """The headers that go with each request, the key included; their `repr` shows their names alone."""
        if self.api_key is None:
            raise ConfigurationError("no API key: a client that was pickled takes it from LLAMA_CLOUD_API_KEY again")
        return Concealed(
            {
                "User-Agent": _user_agent(),
                "Accept": "application/json",
                **dict(self.headers),
                "Authorization": f"Bearer {self.api_key.get_secret_value()}",
            }
        )

    @property
    def secrets(self) -> tuple[SecretStr, ...]:
        """What no error may repeat: the key, and the words of the headers, which may hold another."""
        words = [word for _, value in self.headers for word in value.split() if len(word) >= _SHORTEST_HEADER_SECRET]
        found = [SecretStr(word) for word in sorted(words, key=len, reverse=True)]
        if self.api_key is not None and len(self.api_key) >= _SHORTEST_KEY:
            found.insert(0, self.api_key)
        return tuple(found)

    def check_prompt(self, prompt: object) -> None:
        """Raise `ConfigurationError` for a prompt that the service would refuse."""
        if not isinstance(prompt, str):
            raise ConfigurationError(f"the prompt must be a string; got {type(prompt).__name__}")
        if not prompt.strip():
            raise ConfigurationError("the prompt is empty")
        if self.max_prompt_chars is not None and len(prompt) > self.max_prompt_chars:
            raise ConfigurationError(
                f"the prompt is {len(prompt):,} characters long; the service takes {self.max_prompt_chars:,} "
                "(max_prompt_chars= moves this check)"
            )
        try:
            prompt.encode()
        except UnicodeEncodeError as error:
            raise ConfigurationError("the prompt holds half of a surrogate pair, which no JSON can carry") from error

    @staticmethod
    def check_indexes(index_ids: Sequence[str] | None) -> None:
        """Raise `ConfigurationError` for indexes that the service would refuse."""
        if index_ids is None:
            return
        if isinstance(index_ids, str):
            raise ConfigurationError(f"index_ids must be a list of ids; got the string {index_ids!r}")
        if not index_ids or not all(index_ids):
            raise ConfigurationError("index_ids is empty, or holds an empty id; pass None to use the session's own")
        if len(index_ids) > _MOST_INDEXES:
            raise ConfigurationError(f"a session takes {_MOST_INDEXES} indexes at most; got {len(index_ids)}")

    @staticmethod
    def check_id(session_id: str) -> str:
        """The session id, if it can stand in a path. Raises `ConfigurationError`."""
        if not session_id or session_id in (".", "..") or not session_id.isprintable():
            raise ConfigurationError(f"{session_id!r} is no session id")
        return session_id

    @staticmethod
    def check_attachment(name: str) -> None:
        """Raise `ConfigurationError` for an attachment's name that cannot stand in a path."""
        if not name or name in (".", "..") or not name.isprintable():
            raise ConfigurationError(f"{name!r} is no attachment name")


@cache
def _user_agent() -> str:
    return f"chat-sessions/{version('chat-sessions')}"


def _key_from_environment() -> SecretStr | None:
    return next((SecretStr(value) for name in _KEY_NAMES if (value := os.environ.get(name, "").strip())), None)


def _can_be_sent(key: SecretStr) -> bool:
    value = key.get_secret_value()
    return value.isascii() and value.isprintable() and " " not in value


def _headers(given: Mapping[str, str] | None) -> tuple[tuple[str, str], ...]:
    """The user's headers, white space around the values left out. The error names a header, never its value."""
    named = Concealed({**_headers_from_environment(), **(given or {})})
    for name in named:
        if not _is_header_name(name):
            raise ConfigurationError(f"headers: {name!r} is no header name")
        if not _is_header_value(named[name]):
            raise ConfigurationError(
                f"headers[{name!r}] cannot be sent: a value is a string of one line, of printable ASCII characters"
            )
    return tuple((name, value.strip()) for name, value in named.items())


def _is_header_name(name: object) -> bool:
    return isinstance(name, str) and _HEADER_NAME.fullmatch(name) is not None


def _is_header_value(value: object) -> bool:
    return isinstance(value, str) and _HEADER_VALUE.fullmatch(value.strip()) is not None


def _headers_from_environment() -> dict[str, str]:
    """`LLAMA_CLOUD_CUSTOM_HEADERS`: a line "Name: value" each, as the official SDK reads it."""
    headers: dict[str, str] = {}
    for line in os.environ.get("LLAMA_CLOUD_CUSTOM_HEADERS", "").splitlines():
        name, colon, value = line.partition(":")
        if colon and name.strip():
            headers[name.strip()] = value.strip()
    return headers


def _base_url(given: str | None, region: Region | None) -> str:
    if region is not None and region not in REGIONS:
        raise ConfigurationError(f"region must be one of {', '.join(REGIONS)}; got {region!r}")
    if given is not None and region is not None:
        raise ConfigurationError("pass base_url or region, not both")
    value = given or (REGIONS[region] if region else os.environ.get("LLAMA_CLOUD_BASE_URL")) or REGIONS["us"]
    value = value.strip()
    # The documented example for the EU region has no scheme.
    value = value if "://" in value else f"https://{value}"
    if "@" in value.partition("://")[2].partition("/")[0]:
        # First of all: the errors below quote the address.
        raise ConfigurationError("base_url must hold no user, query or fragment")
    try:
        url = httpx.URL(value)
    except (httpx.InvalidURL, ValueError) as error:
        raise ConfigurationError(f"base_url is no address: {value!r} ({error})") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise ConfigurationError(f"base_url must be an http or https address; got {value!r}")
    if url.query or url.fragment:
        raise ConfigurationError("base_url must hold no user, query or fragment")
    return value.rstrip("/").removesuffix("/api/v1")
