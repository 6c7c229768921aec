"""The config file: defaults for what neither options nor the environment set.

It contains a key only if the user asked for that; such a key is sent only to the address that the file names.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Literal, Self

from platformdirs import user_config_path
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    ValidationError,
    model_validator,
)

from chat_sessions.cli.where.folders import replace_file
from chat_sessions.core.errors import ConfigurationError
from chat_sessions.llama_cloud.settings import MOST_INDEXES, REGIONS, Region

__all__ = ["NAMES", "SECRETS", "Config", "config_path"]


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


_Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
_Url = Annotated[str, StringConstraints(strip_whitespace=True, pattern=r"^https?://[^\s/]+")]
_Key = Annotated[SecretStr, Field(min_length=1)]


class Config(BaseModel):
    """What the file sets; None where it sets nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=lambda name: name.replace("_", "-"))

    backend: Literal["llama-cloud", "openhands"] | None = None
    base_url: _Url | None = None
    region: Region | None = None
    index: Annotated[tuple[_Text, ...], BeforeValidator(_as_list), Field(max_length=MOST_INDEXES)] | None = None
    api_key: _Key | None = None
    openhands_base_url: _Url | None = None
    openhands_api_key: _Key | None = None

    @model_validator(mode="after")
    def _one_address(self) -> Self:
        if self.base_url and self.region:
            raise ValueError("base-url and region cannot be combined: a region is an address")
        return self

    @classmethod
    def read(cls, path: Path) -> Config:
        """Read the file; a missing one sets nothing. Raises `ConfigurationError` for one that cannot be parsed."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return cls()
        except OSError as error:
            raise ConfigurationError(f"the config file {path} cannot be read: {error.strerror}") from None
        except ValidationError as error:
            raise ConfigurationError(f"the config file {path} is not usable: {_reason(error)}") from None

    def changed(self, name: str, value: object) -> Config:
        """Return the config with another value, or without the name for None. Raises `ConfigurationError`."""
        values = self._plain() | {name: value}
        try:
            return Config.model_validate({name: value for name, value in values.items() if value is not None})
        except ValidationError as error:
            raise ConfigurationError(f"cannot be set: {_reason(error)}") from None

    def write(self, path: Path) -> None:
        """Write the file, readable by its owner alone. Raises `OSError`."""
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace_file(path, json.dumps(self._plain(), indent=2) + "\n")

    @property
    def values(self) -> dict[str, str]:
        """What is set, as text; keys are masked."""
        shown: dict[str, str | SecretStr | tuple[str, ...]] = self.model_dump(by_alias=True, exclude_none=True)
        return {name: ", ".join(value) if isinstance(value, tuple) else str(value) for name, value in shown.items()}

    @property
    def llama_cloud_url(self) -> str:
        """The address that the key in the file is for."""
        return (self.base_url or REGIONS[self.region or "us"]).rstrip("/")

    @property
    def names_a_service(self) -> bool:
        """Whether a command without options may ask another service because of this file."""
        return any((self.backend, self.base_url, self.region, self.api_key))

    def _plain(self) -> dict[str, object]:
        found = self.model_dump(by_alias=True, exclude_none=True)
        return {
            name: value.get_secret_value() if isinstance(value, SecretStr) else value for name, value in found.items()
        }


NAMES = tuple(name.replace("_", "-") for name in Config.model_fields)
SECRETS = ("api-key", "openhands-api-key")


def config_path() -> Path:
    """Return the path of the config file: `CHAT_SESSIONS_CONFIG`, else in the user's config folder."""
    given = os.environ.get("CHAT_SESSIONS_CONFIG")
    return Path(given).absolute() if given else user_config_path("chat-sessions", appauthor=False) / "config.json"


_PLAINLY = {
    "string_pattern_mismatch": "must be an address that begins with http:// or https://",
    "string_too_short": "must not be empty",
    "string_type": "must be a text",
    "tuple_type": "must be a text, or a list of texts",
    "too_long": f"must have {MOST_INDEXES} entries at most",
}


def _reason(error: ValidationError) -> str:
    """Describe the first problem without the value, which may be a key."""
    first = error.errors(include_url=False, include_input=False)[0]
    name = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"{name} is not known; the names are {', '.join(NAMES)}"
    message = _PLAINLY.get(first["type"]) or first["msg"].removeprefix("Value error, ")
    message = message.replace("Input should be", "must be")
    return f"{name}: {message}" if name else message
