"""Which service the options mean: LlamaCloud or another Chat API, a server in this process, or OpenHands."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydantic import SecretStr

from chat_sessions.cli.where.agent import AgentOptions
from chat_sessions.cli.where.config_file import Config, config_path
from chat_sessions.core.errors import ConfigurationError
from chat_sessions.llama_cloud.settings import REGIONS
from chat_sessions.session import Timeouts

__all__ = ["Where"]

_CLOUD_KEYS = ("LLAMA_CLOUD_API_KEY", "LLAMA_PARSE_API_KEY")
_MODEL = ("--llm", "--llm-base-url", "--llm-key")
_BACKENDS = ("llama-cloud", "openhands")


@dataclass(frozen=True)
class Where:
    """What the options say about the service; None where they say nothing.

    - `timeout`: how many seconds to wait for an event, and to look up a turn whose stream broke.
    - `agent`: the agent of a new session; for the local server, only its model.
    - `indexes`, `session_id`: what to ask.
    - `config`: what `configured` found in the config file.
    """

    api_key: str | None = field(default=None, repr=False)
    base_url: str | None = None
    region: str | None = None
    local: bool | None = None
    backend: str | None = None
    agent: AgentOptions = field(default_factory=AgentOptions)
    timeout: float | None = None
    indexes: Sequence[str] = ()
    session_id: str | None = None
    config: Config = field(default_factory=Config)

    def configured(self) -> Where:
        """Return this, with the config file's values for what options and environment leave open.

        Raises `ConfigurationError` for a file that cannot be parsed.
        """
        if self.region is not None and self.region not in REGIONS:
            raise ConfigurationError(f"--region {self.region}: the regions are {' and '.join(REGIONS)}")
        config = Config.read(config_path())
        found = replace(self, config=config, backend=self.backend or self._configured_backend(config))
        if found.is_openhands:
            url = found.base_url or os.environ.get("OPENHANDS_BASE_URL", "").strip() or config.openhands_base_url
            is_own = config.openhands_base_url is not None and url == config.openhands_base_url
            key = config.openhands_api_key if is_own and not found.key_name else None
            return replace(found, base_url=url or None, api_key=_secret(key) or found.api_key)
        return found._with_folders(config) or found._with_address(config)

    def _configured_backend(self, config: Config) -> str | None:
        # An option that OpenHands lacks selects the other backend.
        is_other = self.local is not None or self.region is not None or bool(self.indexes)
        return "llama-cloud" if is_other and config.backend == "openhands" else config.backend

    def _with_folders(self, config: Config) -> Where | None:
        """Return this for a server on this machine if options or file name only folders, else None."""
        is_typed = bool(self.api_key or self.base_url or self.region)
        if self.local is False or is_typed or (_environment_url() and not self.local):
            return None
        stored = [name for name in config.index or () if not self.local or Path(name).exists()]
        given = self.indexes or stored
        if not self.local and not (given and all(Path(name).exists() for name in given)):
            return None
        if self.session_id is not None and not self.indexes:
            given = ()  # a session has indexes of its own
        is_chosen_by_file = not self.indexes or config.names_a_service
        return replace(self, indexes=given, local=True if is_chosen_by_file else self.local)

    def _with_address(self, config: Config) -> Where:
        """Return this with the address, the key and the indexes from the file, for a hosted service."""
        has_address = bool(self.base_url or self.region or _environment_url())
        url = self.base_url or REGIONS.get(self.region or "") or _environment_url() or config.llama_cloud_url
        key = config.api_key if url.rstrip("/") == config.llama_cloud_url and not self.key_name else None
        indexes = self.indexes
        if not indexes and self.session_id is None:
            indexes = [name for name in config.index or () if not Path(name).exists()]
        return replace(
            self,
            api_key=_secret(key) or self.api_key,
            base_url=self.base_url if has_address else config.base_url,
            region=self.region if has_address else config.region,
            indexes=indexes,
        )

    @property
    def is_openhands(self) -> bool:
        """Whether the options mean an OpenHands Agent Server. Raises `ConfigurationError` for an unknown backend."""
        if self.backend not in (None, *_BACKENDS):
            raise ConfigurationError(f"--backend {self.backend}: the backends are {' and '.join(_BACKENDS)}")
        return self.backend == "openhands"

    @property
    def key_name(self) -> str | None:
        """Where the API key comes from: "--api-key", a variable's name or "the config file"; None without a key."""
        variables = ("OPENHANDS_API_KEY",) if self.is_openhands else _CLOUD_KEYS
        found = [name for name in variables if os.environ.get(name, "").strip()]
        stored = self.config.openhands_api_key if self.is_openhands else self.config.api_key
        if self.api_key:
            return "the config file" if self.api_key == _secret(stored) else "--api-key"
        return next(iter(found), None)

    @property
    def is_local(self) -> bool:
        """Whether the options mean a server in this process. Raises `ConfigurationError` for contradictions."""
        named = self.api_key or self.base_url or self.region
        if self.local and named:
            raise ConfigurationError(f"--local cannot be combined with {' and '.join(self._hosted_options)}")
        is_hosted = self.local is False or named or os.environ.get("LLAMA_CLOUD_BASE_URL")
        if self.local or not (is_hosted or self.key_name):
            return True
        folders = [name for name in self.indexes if Path(name).exists()]
        if folders and not is_hosted and len(folders) == len(self.indexes):
            return True
        if folders:
            typed = [*self._hosted_options, *(["--cloud"] if self.local is False else [])]
            remedy = f"leave out {' and '.join(typed)}" if typed else ""
            if not typed or _environment_url():
                remedy += f"{' and ' if remedy else ''}add --local"
            own = (
                "" if self.region or not (self.base_url or _environment_url()) else "; without --index you see its own"
            )
            raise ConfigurationError(
                f"{folders[0]} is a folder or file on this machine, but a hosted service knows only index ids{own}; "
                f"{remedy} to ask your own files"
            )
        if not self.key_name:
            raise ConfigurationError(
                "no API key: set LLAMA_CLOUD_API_KEY, or pass --api-key; with --local you can ask your own files "
                "without a key"
            )
        return False

    @property
    def _hosted_options(self) -> list[str]:
        """The options, as typed, that name a hosted service or its key."""
        values = {"--api-key": self.api_key, "--base-url": self.base_url, "--region": self.region}
        stored = (_secret(self.config.api_key), self.config.base_url, self.config.region)
        return [
            option for (option, value), known in zip(values.items(), stored, strict=True) if value and value != known
        ]

    def options_to(self, url: str) -> str:
        """Return the options that make another command use the service at this address, each after a space."""
        if self.is_openhands:
            known = os.environ.get("OPENHANDS_BASE_URL", "").strip() or self.config.openhands_base_url or ""
            return " --backend openhands" + ("" if known.rstrip("/") == url else f" --base-url {url}")
        usual = os.environ.get("CHAT_SESSIONS_BACKEND", "").strip() or self.config.backend
        backend = " --backend llama-cloud" if usual == "openhands" else ""
        region = next((region for region, known in REGIONS.items() if known == url), None)
        if (_environment_url() or self.config.llama_cloud_url).rstrip("/") == url and (region or self.config.base_url):
            return backend
        return backend + (f" --region {region}" if region else f" --base-url {url}")

    @property
    def prompt_limit(self) -> int | None:
        """The longest question in characters; None if the model decides."""
        return None if self.is_openhands else 1000

    @property
    def timeouts(self) -> Timeouts | None:
        """The deadlines of a turn; None leaves them to the client."""
        wait = self.timeout
        return None if wait is None else Timeouts(first_event=wait, idle=wait, recovery=wait)

    def check(self, *, require_all: bool = False, asks: bool = True) -> None:
        """Raise `ConfigurationError` for options that the backend does not have. `asks`: a question will be asked."""
        given = self.agent.given
        if not self.is_openhands:
            others = [option for option in given if option not in _MODEL]
            if others or (given and not asks):
                raise ConfigurationError(
                    f"{(others or given)[0]} describes an OpenHands agent: add --backend openhands"
                )
            if given and not self.is_local:
                raise ConfigurationError(
                    f"{given[0]} names a model for your own files: add --local; a hosted service has its own"
                )
            return
        if self.agent.llm_base_url or self.agent.llm_key:
            raise ConfigurationError(
                "--llm-base-url and --llm-key are for the local server; for OpenHands, put them into --llm: "
                '\'{"model": "...", "base_url": "...", "api_key": "..."}\''
            )
        for option, is_given in (
            ("--index", self.indexes),
            ("--require-all", require_all),
            ("--region", self.region),
            ("--local", self.local is True),
            ("--cloud", self.local is False),
        ):
            if is_given:
                hint = "; its agent reads the files in its workspace (--workspace)" if option == "--index" else ""
                raise ConfigurationError(f"{option} cannot be combined with --backend openhands{hint}")
        if self.session_id is not None and given:
            raise ConfigurationError(
                f"{given[0]} cannot be combined with --session: it describes the agent of a new session"
            )


def _environment_url() -> str:
    return os.environ.get("LLAMA_CLOUD_BASE_URL", "").strip()


def _secret(key: SecretStr | None) -> str | None:
    return None if key is None else key.get_secret_value()
