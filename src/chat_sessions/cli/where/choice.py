"""Which service the options mean: LlamaCloud or another Chat API, a server in this process, or OpenHands."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from chat_sessions.cli.where.agent import AgentOptions
from chat_sessions.core.errors import ConfigurationError
from chat_sessions.session import Timeouts

__all__ = ["Where"]

_CLOUD_KEYS = ("LLAMA_CLOUD_API_KEY", "LLAMA_PARSE_API_KEY")
_MODEL = ("--llm", "--llm-base-url", "--llm-key")
_BACKENDS = ("llama-cloud", "openhands")


@dataclass(frozen=True)
class Where:
    """What the options say about the service; None is what they leave open.

    - `timeout`: how many seconds to wait for an event, and to look up a turn whose stream broke.
    - `agent`: a new session's agent, for OpenHands; of the local server, its model alone.
    - `indexes`, `session_id`: what to ask.
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

    @property
    def is_openhands(self) -> bool:
        """Whether the options mean an OpenHands Agent Server. Raises `ConfigurationError` for an unknown backend."""
        if self.backend not in (None, *_BACKENDS):
            raise ConfigurationError(f"--backend {self.backend}: the backends are {' and '.join(_BACKENDS)}")
        return self.backend == "openhands"

    @property
    def key_name(self) -> str | None:
        """Where the API key comes from: "--api-key" or the name of a variable; None without a key."""
        variables = ("OPENHANDS_API_KEY",) if self.is_openhands else _CLOUD_KEYS
        found = [name for name in variables if os.environ.get(name, "").strip()]
        return "--api-key" if self.api_key else next(iter(found), None)

    @property
    def is_local(self) -> bool:
        """Whether the options mean a server in this process. Raises `ConfigurationError` for contradictions."""
        named = self.api_key or self.base_url or self.region
        if self.local and named:
            raise ConfigurationError("--local cannot be combined with --api-key, --base-url or --region")
        is_hosted = self.local is False or named or os.environ.get("LLAMA_CLOUD_BASE_URL")
        if self.local or not (is_hosted or self.key_name):
            return True
        folders = [name for name in self.indexes if Path(name).exists()]
        if folders and not is_hosted and len(folders) == len(self.indexes):
            return True
        if folders:
            raise ConfigurationError(
                f"{folders[0]} is a folder or file on this machine, but a hosted service knows only index ids; "
                "add --local to ask your own files"
            )
        if not self.key_name:
            raise ConfigurationError(
                "no API key: set LLAMA_CLOUD_API_KEY, or pass --api-key; with --local you can ask your own files "
                "without a key"
            )
        return False

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
