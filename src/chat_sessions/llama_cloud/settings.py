"""The service's address and your credentials: from arguments, else from the official SDK's environment variables."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import NoneType
from typing import Literal, Self

import httpx
from pydantic import SecretStr

from chat_sessions.core.arguments import checked_indexes
from chat_sessions.core.errors import APIStatusError, ConfigurationError
from chat_sessions.http.calls import Call, read_error
from chat_sessions.http.connection.route import Route, route_of
from chat_sessions.http.secrets import Concealed, secrets_in
from chat_sessions.http.settings import (
    USER_AGENT,
    check_kind,
    check_limits,
    check_strings,
    checked_headers,
    checked_key,
    checked_prompt,
    checked_url,
)
from chat_sessions.session.deadlines import Timeouts

__all__ = ["MOST_INDEXES", "REGIONS", "Region", "Settings"]

Region = Literal["us", "eu"]
REGIONS: Mapping[str, str] = {
    "us": "https://api.cloud.llamaindex.ai",
    "eu": "https://api.cloud.eu.llamaindex.ai",
}
_KEY_NAMES = ("LLAMA_CLOUD_API_KEY", "LLAMA_PARSE_API_KEY")
# The most indexes that a session may have and a turn may query.
MOST_INDEXES = 10


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything about a client except its connections. The key appears in no repr and no pickle."""

    route: Route
    api_key: SecretStr | None = field(repr=False)
    project_id: str | None
    organization_id: str | None
    index_ids: tuple[str, ...] | None
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    timeouts: Timeouts
    max_retries: int
    max_event_bytes: int
    max_prompt_chars: int | None

    @classmethod
    def resolve(
        cls,
        *,
        api_key: SecretStr | None = None,
        base_url: str | None = None,
        region: Region | None = None,
        project_id: str | None = None,
        organization_id: str | None = None,
        index_ids: Sequence[str] | None = None,
        headers: Mapping[str, str] | None = None,
        verify: ssl.SSLContext | bool | str | os.PathLike[str] = True,
        proxy: str | None = None,
        trust_env: bool = True,
        http2: bool = False,
        timeouts: Timeouts | None = None,
        max_retries: int = 2,
        max_event_bytes: int = 16 * 1024 * 1024,
        max_prompt_chars: int | None = 1000,
    ) -> Self:
        """Return the settings that these arguments and the environment make. Raises `ConfigurationError`.

        Tracebacks may show the arguments, so pass secret ones concealed.
        """
        check_strings(api_key=api_key, base_url=base_url, project_id=project_id, organization_id=organization_id)
        check_limits(timeouts, max_retries, max_event_bytes)
        check_kind("max_prompt_chars", max_prompt_chars, (int, NoneType), "a whole number, or None")
        key = api_key or _key_from_environment()
        if key is None:
            raise ConfigurationError(
                "no API key: pass api_key=, or set LLAMA_CLOUD_API_KEY (or LLAMA_PARSE_API_KEY). Without an account, "
                "chat_sessions.LocalServer serves the same API over your own files"
            )
        cls.check_indexes(index_ids)
        return cls(
            route=route_of(_base_url(base_url, region), verify=verify, proxy=proxy, trust_env=trust_env, http2=http2),
            api_key=checked_key(key),
            project_id=project_id or os.environ.get("LLAMA_CLOUD_PROJECT_ID") or None,
            organization_id=organization_id or os.environ.get("LLAMA_CLOUD_ORGANIZATION_ID") or None,
            index_ids=None if index_ids is None else tuple(index_ids),
            headers=_headers(headers),
            timeouts=timeouts or Timeouts(),
            max_retries=max_retries,
            max_event_bytes=max_event_bytes,
            max_prompt_chars=max_prompt_chars,
        )

    def __getstate__(self) -> dict[str, object]:
        # The key and the headers, which may hold another, stay in this process.
        names = ("route", "project_id", "organization_id", "index_ids", "timeouts", "max_retries")
        return {name: getattr(self, name) for name in (*names, "max_event_bytes", "max_prompt_chars")}

    def __setstate__(self, state: dict[str, object]) -> None:
        state |= {"api_key": _key_from_environment(), "headers": _headers(None)}
        for name, value in state.items():
            object.__setattr__(self, name, value)

    @property
    def params(self) -> dict[str, str]:
        """The query parameters of every request: project and organisation, if they are set."""
        values = {"project_id": self.project_id, "organization_id": self.organization_id}
        return {name: value for name, value in values.items() if value is not None}

    def request_headers(self) -> dict[str, str]:
        """The headers that go with each request, the key included; their `repr` shows their names alone."""
        if self.api_key is None:
            raise ConfigurationError("no API key: a client that was pickled takes it from LLAMA_CLOUD_API_KEY again")
        return Concealed(
            {
                "User-Agent": USER_AGENT,
                "Accept": "application/json",
                **dict(self.headers),
                "Authorization": f"Bearer {self.api_key.get_secret_value()}",
            }
        )

    @property
    def secrets(self) -> tuple[SecretStr, ...]:
        """What must not appear in errors: the key, and the values of headers, which may hold another."""
        found = secrets_in({"headers": dict(self.headers)})
        return tuple(found) if self.api_key is None else (self.api_key, *found)

    def refusal(self, call: Call, status_code: int, headers: httpx.Headers, content: bytes) -> APIStatusError:
        """Return the error for an answer that is not a success; `content` is the beginning of its body."""
        return read_error(call, status_code, headers, content, secrets=self.secrets)

    def check_prompt(self, prompt: object) -> None:
        """Raise `ConfigurationError` for a prompt that the service would refuse."""
        prompt = checked_prompt(prompt)
        if self.max_prompt_chars is not None and len(prompt) > self.max_prompt_chars:
            raise ConfigurationError(
                f"the prompt is {len(prompt):,} characters long; the service takes {self.max_prompt_chars:,} "
                "(max_prompt_chars= moves this check)"
            )

    @staticmethod
    def check_indexes(index_ids: Sequence[str] | None) -> None:
        """Raise `ConfigurationError` for indexes that the service would refuse."""
        wanted = checked_indexes(index_ids)
        if wanted is None:
            return
        if not wanted or not all(wanted):
            raise ConfigurationError("index_ids is empty, or holds an empty id; pass None to use the session's own")
        if len(wanted) > MOST_INDEXES:
            raise ConfigurationError(f"a session takes {MOST_INDEXES} indexes at most; got {len(wanted)}")


def _key_from_environment() -> SecretStr | None:
    return next((SecretStr(value) for name in _KEY_NAMES if (value := os.environ.get(name, "").strip())), None)


def _headers(given: Mapping[str, str] | None) -> tuple[tuple[str, str], ...]:
    return checked_headers({**_headers_from_environment(), **dict(checked_headers(given or {}))})


def _headers_from_environment() -> dict[str, str]:
    """Read `LLAMA_CLOUD_CUSTOM_HEADERS`, one "Name: value" per line, as the official SDK does."""
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
    if not given and region is None and (named := os.environ.get("LLAMA_CLOUD_BASE_URL")):
        return checked_url(named, suffix="/api/v1", name="LLAMA_CLOUD_BASE_URL")
    return checked_url(given or REGIONS[region or "us"], suffix="/api/v1")
